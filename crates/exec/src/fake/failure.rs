use std::io;
use std::time::Duration;

use crate::{CommandSpec, RunError};

/// A process number that can be given to `kill` and is nobody's.
const NOBODY: u32 = i32::MAX.unsigned_abs();

/// How a run fails: the variants of [`RunError`] as values that can be copied, so that one of them answers many runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// [`RunError::Start`] with an error of this kind.
    Start(io::ErrorKind),
    /// [`RunError::Deadline`].
    Deadline,
    /// [`RunError::Cancelled`].
    Cancelled,
    /// [`RunError::Signal`].
    Signal {
        /// The signal's number.
        signal: i32,
        /// What the program said last.
        message: String,
    },
    /// [`RunError::OutputLimit`] with the command's limit.
    OutputLimit,
    /// [`RunError::Stuck`] with the process number 2,147,483,647: no process has it, since Linux gives none above 4,194,304,
    /// so that code under test may send it signals.
    Stuck,
    /// [`RunError::Io`] with an error of this kind.
    Io(io::ErrorKind),
}

impl Failure {
    /// The failure of this command.
    #[must_use]
    pub fn of(&self, command: &CommandSpec<'_>) -> RunError {
        let program = command.program().to_string();
        match self {
            Self::Start(kind) => RunError::Start {
                program,
                source: (*kind).into(),
            },
            Self::Deadline => RunError::Deadline {
                program,
                after: Duration::ZERO,
            },
            Self::Cancelled => RunError::Cancelled { program },
            Self::Signal { signal, message } => RunError::Signal {
                program,
                signal: *signal,
                message: message.clone(),
            },
            Self::OutputLimit => RunError::OutputLimit {
                program,
                limit: command.stdout_limit(),
            },
            Self::Stuck => RunError::Stuck { program, pid: NOBODY },
            Self::Io(kind) => RunError::Io {
                program,
                source: (*kind).into(),
            },
        }
    }
}
