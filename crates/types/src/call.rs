use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A flag that says "stop", shared by everybody who works on one request.
///
/// Setting it is safe from a signal handler's thread; it is never unset.
#[derive(Debug, Clone, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everybody who holds this flag to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The flag itself, for a signal handler that sets it.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

/// Why a call stopped before its work was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Interrupted {
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The time that the caller gave is over.
    #[error("deadline exceeded")]
    Deadline,
}

/// Takes the finished part of long work, from 0.0 to 1.0. It may be called from any thread and should return at once.
pub type Progress = Arc<dyn Fn(f64) + Send + Sync>;

/// What a caller says about the call itself, apart from what is to be done: until when, whether still, and who watches.
#[derive(Clone, Default)]
pub struct Call {
    deadline: Option<Instant>,
    cancellation: Cancellation,
    progress: Option<Progress>,
}

impl Call {
    /// No deadline, not cancelled, nobody watches.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a deadline from now on.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Instant::now().checked_add(timeout);
        self
    }

    /// The same with this flag.
    #[must_use]
    pub fn with_cancellation(mut self, cancellation: Cancellation) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// The same with somebody who watches.
    #[must_use]
    pub fn with_progress(mut self, progress: Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// When the caller stops waiting.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The time left; `None` without a deadline, zero when it is over.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|d| d.saturating_duration_since(Instant::now()))
    }

    /// The flag.
    #[must_use]
    pub fn cancellation(&self) -> &Cancellation {
        &self.cancellation
    }

    /// Tells whoever watches how much is done, from 0.0 to 1.0.
    pub fn report(&self, fraction: f64) {
        if let Some(progress) = &self.progress {
            progress(fraction.clamp(0.0, 1.0));
        }
    }

    /// Whether to go on.
    ///
    /// # Errors
    /// [`Interrupted`] when the caller asked to stop or the time is over.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.cancellation.is_cancelled() {
            return Err(Interrupted::Cancelled);
        }
        match self.remaining() {
            Some(Duration::ZERO) => Err(Interrupted::Deadline),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("deadline", &self.deadline)
            .field("cancellation", &self.cancellation)
            .field("progress", &self.progress.as_ref().map(|_| ".."))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_ends_by_flag_or_by_clock() {
        let call = Call::new();
        assert_eq!(call.check(), Ok(()));
        call.clone().cancellation().cancel();
        assert_eq!(call.check(), Err(Interrupted::Cancelled));
        assert_eq!(
            Call::new().with_timeout(Duration::ZERO).check(),
            Err(Interrupted::Deadline)
        );
    }
}
