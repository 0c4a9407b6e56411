use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;

use strongroom_storage_pool::PoolError;
use strongroom_types::VolumeId;

use crate::bench::Bench;
use crate::expect::told;
use crate::failure::Failure;

/// What became of cleaning up after all checks. It is the matter of no check but those of what it calls.
#[derive(Debug, Default)]
pub(crate) struct Cleaning {
    first: Option<String>,
    failed: usize,
    hangs: bool,
}

impl Cleaning {
    /// Whether it may be called once more: one that did not end may still be at it.
    pub(crate) fn goes_on(&self) -> bool {
        !self.hangs
    }

    pub(crate) fn failed(&mut self, check: &str, problem: &str) {
        self.failed = self.failed.saturating_add(1);
        self.first
            .get_or_insert_with(|| format!("after {check}, {problem}"));
    }

    pub(crate) fn hangs(&mut self, check: &str) {
        self.hangs = true;
        self.failed(check, "it did not end, so that nothing was cleaned up any more");
    }

    /// The failure to report, once for all checks.
    pub(crate) fn told(self) -> Option<Failure> {
        let seen = match self.failed {
            1 => self.first?,
            times => format!("{}; after {times} checks in all", self.first?),
        };
        let advice = "see what the checks of delete, detach and forget_template say; volumes named check-.. may be left in the pool";
        Some(Failure::new(
            "what a check made is removed when it ends",
            seen,
            advice,
        ))
    }
}

impl Bench {
    /// Deletes a volume that a check needs no more, or whose being gone it needs; whether it is gone. A delete that fails is the matter
    /// of other checks.
    pub(crate) fn put_away(&self, volume: &VolumeId) -> bool {
        attempt("delete", || self.driver.delete(&self.cx(), volume)).is_none()
    }

    /// Removes what the check made; the first thing that went wrong.
    pub(crate) fn clean_up(&self) -> Option<String> {
        self.plan.calm();
        let mut problem = None;
        let volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        for volume in volumes.iter().rev() {
            let detached = attempt("detach", || self.driver.detach(&self.cx(), volume, &self.host));
            let deleted = attempt("delete", || self.driver.delete(&self.cx(), volume));
            problem = problem.or(detached).or(deleted);
        }
        let templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
        for template in templates.iter() {
            let forget = || self.driver.forget_template(&self.cx(), template);
            problem = problem.or(attempt("forget_template", forget));
        }
        problem
    }
}

/// Why it did not work.
fn attempt(what: &str, work: impl FnOnce() -> Result<(), PoolError>) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => None,
        Ok(Err(e)) => Some(format!("{what} failed: {}", told(&e))),
        Err(_) => Some(format!("{what} panicked")),
    }
}
