use std::fmt;
use std::time::Duration;

use strongroom_types::Call;

use crate::CommandSpec;

/// Runs commands. `SystemRunner` starts processes; the fakes record, follow a script or fail.
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

/// Who watches a running command: the caller's deadline and cancellation, and who gets its lines.
#[derive(Default, Clone, Copy)]
pub struct Watch<'w> {
    pub(crate) call: Option<&'w Call>,
    pub(crate) lines: Option<&'w (dyn Fn(&[u8]) + Sync)>,
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

    /// The same, and each piece of standard output that ends with a line feed or carriage return goes to `lines`, without
    /// its end.
    #[must_use]
    pub fn with_lines(mut self, lines: &'w (dyn Fn(&[u8]) + Sync)) -> Self {
        self.lines = Some(lines);
        self
    }
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

/// A command that ran to its end by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Completed {
    /// Its exit code.
    pub code: i32,
    /// What it printed on standard output.
    pub stdout: Vec<u8>,
    /// What it printed on standard error; the beginning and the end of it when it was much.
    pub stderr: Vec<u8>,
    /// How long it ran.
    pub duration: Duration,
}

impl Completed {
    /// For fakes: an exit code and both outputs.
    #[must_use]
    pub fn new(code: i32, stdout: impl Into<Vec<u8>>, stderr: impl Into<Vec<u8>>) -> Self {
        Self {
            code,
            stdout: stdout.into(),
            stderr: stderr.into(),
            duration: Duration::ZERO,
        }
    }

    /// Standard error as text for a message: trimmed, without control characters, at most 1,000 characters.
    #[must_use]
    pub fn message(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        text.trim()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(1000)
            .collect()
    }
}

/// Why a command did not run to its end by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The program could not be started.
    #[error("cannot start {program}")]
    Start {
        /// Its path.
        program: String,
        /// The reason.
        source: std::io::Error,
    },
    /// It was killed because its time was over.
    #[error("{program} was killed after {after:?}: deadline exceeded")]
    Deadline {
        /// Its path.
        program: String,
        /// How long it had run.
        after: Duration,
    },
    /// It was killed because the caller asked to stop.
    #[error("{program} was killed: cancelled")]
    Cancelled {
        /// Its path.
        program: String,
    },
    /// It died by a signal that was not ours.
    #[error("{program} died by signal {signal}: {message}")]
    Signal {
        /// Its path.
        program: String,
        /// The signal's number.
        signal: i32,
        /// What it last printed on standard error.
        message: String,
    },
    /// It printed more on standard output than it may, and was killed.
    #[error("{program} was killed: it printed more than {limit} bytes")]
    OutputLimit {
        /// Its path.
        program: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// Its output could not be read or its end not awaited.
    #[error("lost contact with {program}")]
    Io {
        /// Its path.
        program: String,
        /// The reason.
        source: std::io::Error,
    },
}
