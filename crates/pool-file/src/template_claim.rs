//! Who works with the kept copy of a template, among the calls of one pool.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use strongroom_types::{Call, Interrupted, TemplateId};

/// How long a call waits before it looks again whether it was cancelled.
const LOOK: Duration = Duration::from_millis(50);

/// The templates that somebody works with.
#[derive(Debug, Default)]
pub(crate) struct TemplateClaims {
    held: Mutex<BTreeMap<TemplateId, Held>>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// One makes or removes the copy.
    Alone,
    /// So many read it.
    Shared(usize),
}

/// A claim on one template, until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim<'c> {
    claims: &'c TemplateClaims,
    template: TemplateId,
}

impl TemplateClaims {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<TemplateId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To read the copy: nobody removes it meanwhile.
    pub(crate) fn share(&self, call: &Call, template: &TemplateId) -> Result<Claim<'_>, Interrupted> {
        self.claim(call, template, |held| match held {
            None => Some(Held::Shared(1)),
            Some(Held::Shared(readers)) => Some(Held::Shared(readers + 1)),
            Some(Held::Alone) => None,
        })
    }

    /// To make or remove the copy: nobody reads it meanwhile.
    pub(crate) fn alone(&self, call: &Call, template: &TemplateId) -> Result<Claim<'_>, Interrupted> {
        self.claim(call, template, |held| match held {
            None => Some(Held::Alone),
            Some(_) => None,
        })
    }

    /// Waits until `next` lets this call in, or the call ends.
    fn claim(
        &self,
        call: &Call,
        template: &TemplateId,
        next: impl Fn(Option<Held>) -> Option<Held>,
    ) -> Result<Claim<'_>, Interrupted> {
        let mut held = self.lock();
        loop {
            call.check()?;
            if let Some(now) = next(held.get(template).copied()) {
                held.insert(template.clone(), now);
                let template = template.clone();
                return Ok(Claim {
                    claims: self,
                    template,
                });
            }
            let wait = call.remaining().map_or(LOOK, |left| left.min(LOOK));
            held = self
                .changed
                .wait_timeout(held, wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Claim<'_> {
    /// The copy is made: from now on others read it too.
    pub(crate) fn share(self) -> Self {
        self.claims.lock().insert(self.template.clone(), Held::Shared(1));
        self.claims.changed.notify_all();
        self
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut held = self.claims.lock();
        match held.get(&self.template) {
            Some(Held::Shared(readers)) if *readers > 1 => {
                let left = Held::Shared(readers - 1);
                held.insert(self.template.clone(), left);
            }
            _ => {
                held.remove(&self.template);
            }
        }
        self.claims.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn readers_share_and_whoever_removes_is_alone() {
        let (claims, template) = (TemplateClaims::default(), "t".parse().unwrap());
        let soon = || Call::new().with_timeout(Duration::from_millis(1));
        let (one, two) = (
            claims.share(&soon(), &template).unwrap(),
            claims.share(&soon(), &template).unwrap(),
        );
        assert_eq!(
            claims.alone(&soon(), &template).unwrap_err(),
            Interrupted::Deadline
        );
        claims.alone(&soon(), &"other".parse().unwrap()).unwrap();
        drop(one);
        assert_eq!(
            claims.alone(&soon(), &template).unwrap_err(),
            Interrupted::Deadline
        );
        drop(two);
        let alone = claims.alone(&soon(), &template).unwrap();
        assert_eq!(
            claims.share(&soon(), &template).unwrap_err(),
            Interrupted::Deadline
        );
        let reader = alone.share();
        drop(claims.share(&soon(), &template).unwrap());
        drop(reader);
        assert!(claims.lock().is_empty());
    }

    #[test]
    fn who_waits_is_let_in_when_the_other_is_done_and_goes_when_cancelled() {
        let (claims, template) = (TemplateClaims::default(), "t".parse().unwrap());
        let alone = claims.alone(&Call::new(), &template).unwrap();
        let cancelled = Call::new();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| claims.share(&Call::new(), &template).map(drop));
            let given_up = scope.spawn(|| claims.share(&cancelled, &template).map(drop));
            cancelled.cancellation().cancel();
            assert_eq!(given_up.join().unwrap(), Err(Interrupted::Cancelled));
            assert!(!waiting.is_finished());
            drop(alone);
            assert_eq!(waiting.join().unwrap(), Ok(()));
        });
    }
}
