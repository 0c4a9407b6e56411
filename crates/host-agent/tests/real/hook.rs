//! A runner that lets a test do something between the steps of a command.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use strongroom_exec::{CommandSpec, Completed, RunError, Runner, SystemRunner, Watch};

type Meanwhile = dyn Fn(usize, &CommandSpec<'_>) + Send + Sync;

/// Runs commands, and something of the test's own before each, which is told the number of the command.
pub(crate) struct Hook {
    number: AtomicUsize,
    before: Box<Meanwhile>,
}

impl Hook {
    pub(crate) fn before(work: impl Fn(usize, &CommandSpec<'_>) + Send + Sync + 'static) -> Self {
        Self {
            number: AtomicUsize::new(0),
            before: Box::new(work),
        }
    }
}

impl Runner for Hook {
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Result<Completed, RunError> {
        let number = self.number.fetch_add(1, Ordering::SeqCst);
        (self.before)(number, command);
        SystemRunner::new().run(command, watch)
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").finish_non_exhaustive()
    }
}
