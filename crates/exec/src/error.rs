use std::time::Duration;

/// Why a command did not run to its end by itself.
///
/// `program` is the program's path, quoted as for a shell where it is unusual. No variant says the arguments: whoever
/// wants them in a message has the command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The program could not be started: it went away, is neither an ELF file nor a script that names its interpreter
    /// (`ENOEXEC`), has a NUL byte in an argument, or is passed more descriptors than the limit of open files allows.
    #[error("cannot start {program}")]
    Start {
        /// Its path.
        program: String,
        /// The reason.
        source: std::io::Error,
    },
    /// Its time was over: it was killed, or not started at all. When somebody watches the lines, it may also have ended by
    /// itself, with lines left that it was too late to hand out.
    #[error("{program} was stopped after {after:?}: deadline exceeded")]
    Deadline {
        /// Its path.
        program: String,
        /// How long the run had taken; zero when it was not started.
        after: Duration,
    },
    /// The caller asked to stop: it was killed, or not started at all. When somebody watches the lines, it may also have
    /// ended by itself, with lines left that were not handed out any more.
    #[error("{program} was stopped: cancelled")]
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
        /// What it printed on standard error, as [`Completed::message`](crate::Completed::message) has it.
        message: String,
    },
    /// It printed more on standard output than it may, and was killed.
    #[error("{program} was stopped: it printed more than {limit} bytes")]
    OutputLimit {
        /// Its path.
        program: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// It was killed and has not ended: it waits for a device that does not answer, or has another owner than this
    /// process. What it works on may still change.
    #[error("{program} was killed and still runs as process {pid}; what it works on may still change")]
    Stuck {
        /// Its path.
        program: String,
        /// Its process number.
        pid: u32,
    },
    /// Its output could not be read or its end not awaited. It was killed.
    #[error("lost contact with {program}")]
    Io {
        /// Its path.
        program: String,
        /// The reason.
        source: std::io::Error,
    },
}
