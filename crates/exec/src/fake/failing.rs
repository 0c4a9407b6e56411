use std::sync::atomic::{AtomicUsize, Ordering};

use super::Failure;
use crate::{CommandSpec, Completed, RunError, Runner, Watch};

/// Fails: every run, or every run after some that another runner does.
#[derive(Debug)]
pub struct FailingRunner {
    failure: Failure,
    good: AtomicUsize,
    runner: Option<Box<dyn Runner>>,
}

impl FailingRunner {
    /// Every run fails like this.
    #[must_use]
    pub fn new(failure: Failure) -> Self {
        Self {
            failure,
            good: AtomicUsize::new(0),
            runner: None,
        }
    }

    /// The first `runs` runs are done by `runner`, all others fail like this. So one finds out what a sequence of commands
    /// leaves behind wherever it breaks off.
    #[must_use]
    pub fn after(runs: usize, runner: impl Runner + 'static, failure: Failure) -> Self {
        Self {
            failure,
            good: AtomicUsize::new(runs),
            runner: Some(Box::new(runner)),
        }
    }

    /// How many runs are still done by the other runner. When it is above zero at the end of a test, nothing failed.
    #[must_use]
    pub fn left(&self) -> usize {
        self.good.load(Ordering::SeqCst)
    }
}

impl Runner for FailingRunner {
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Result<Completed, RunError> {
        let one_less = |left: usize| left.checked_sub(1);
        let good = self
            .good
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        match (&self.runner, good) {
            (Some(runner), Ok(_)) => runner.run(command, watch),
            _ => Err(self.failure.of(command)),
        }
    }
}
