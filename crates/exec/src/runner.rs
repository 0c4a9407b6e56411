use std::fmt;
use std::time::Instant;

use strongroom_types::{Call, Interrupted};

use crate::{CommandSpec, Completed, RunError};

/// Runs commands. [`SystemRunner`](crate::SystemRunner) starts processes; those in [`fake`](crate::fake) record, follow a
/// script or fail.
pub trait Runner: Send + Sync + fmt::Debug {
    /// Runs the command to its end.
    ///
    /// A program that exits by itself is a [`Completed`] whatever its exit code: what a code means is the program's own
    /// matter.
    ///
    /// # Errors
    /// [`RunError`] when it could not be started, was killed, was interrupted or printed more than it may.
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Result<Completed, RunError>;
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<R: Runner + ?Sized> Runner for $pointer {
            fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Result<Completed, RunError> {
                (**self).run(command, watch)
            }
        }
    )+};
}
forward!(&R, Box<R>, std::sync::Arc<R>);

type LineReader<'w> = dyn Fn(&[u8]) + Sync + 'w;

/// Who watches a running command: the caller's deadline and cancellation, and who gets its lines.
#[derive(Default, Clone, Copy)]
pub struct Watch<'w> {
    pub(crate) call: Option<&'w Call>,
    pub(crate) lines: Option<&'w LineReader<'w>>,
}

impl<'w> Watch<'w> {
    /// Nobody.
    #[must_use]
    pub fn nobody() -> Self {
        Self::default()
    }

    /// The deadline and cancellation of this call apply.
    #[must_use]
    pub fn call(call: &'w Call) -> Self {
        Self {
            call: Some(call),
            lines: None,
        }
    }

    /// The same, and each piece of standard output that ends with a line feed, a carriage return or the output's end goes
    /// to `lines`, without its end, as soon as it is there. Of a piece longer than [`LINE_LIMIT`](crate::LINE_LIMIT) only
    /// so much. After a line that ends with both, `\r\n`, comes an empty one.
    ///
    /// `lines` is called by the thread that runs the command and should return at once: deadline and cancellation, and the
    /// command's own limit, are looked at before each line and not while it works on one. When they are over, no more
    /// lines are handed out and the run is an error, though the command may have ended by itself. When `lines` panics, the
    /// command is killed and the panic goes on to the caller.
    #[must_use]
    pub fn with_lines(mut self, lines: &'w (dyn Fn(&[u8]) + Sync)) -> Self {
        self.lines = Some(lines);
        self
    }

    /// For runners of your own: gives a line to whoever watches the lines.
    pub fn line(&self, line: &[u8]) {
        if let Some(lines) = self.lines {
            lines(line);
        }
    }

    /// For runners of your own: when the caller stops waiting.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.call.and_then(Call::deadline)
    }

    /// For runners of your own: whether to go on.
    ///
    /// # Errors
    /// [`Interrupted`] when the caller asked to stop or the time is over.
    pub fn check(&self) -> Result<(), Interrupted> {
        self.call.map_or(Ok(()), Call::check)
    }
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}
