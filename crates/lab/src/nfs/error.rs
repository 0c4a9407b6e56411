use std::io;
use std::path::PathBuf;
use std::time::Duration;

use strongroom_exec::{ProgramNotFound, RunError};

/// Why the NFS server or a mount is not as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NfsError {
    /// The guest has not the program: it was booted without [`Guest::with_nfs`](crate::Guest::with_nfs).
    #[error("the guest has no NFS: boot it with Guest::with_nfs")]
    Tool {
        /// What is missing.
        source: ProgramNotFound,
    },
    /// A program did not run to its end.
    #[error("cannot {doing}")]
    Run {
        /// What was being done.
        doing: &'static str,
        /// The reason.
        source: RunError,
    },
    /// A program failed.
    #[error("cannot {doing}: exit code {code}: {message}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// Its exit code.
        code: i32,
        /// What it said.
        message: String,
    },
    /// The server did not become what it was asked to be.
    #[error("the NFS server is not {state} after {after:?}; its log:\n{log}")]
    Late {
        /// What it should have become.
        state: &'static str,
        /// How long was waited.
        after: Duration,
        /// The end of its log.
        log: String,
    },
    /// The server is not running, and what was asked needs one that is.
    #[error("the NFS server is not running; its log:\n{log}")]
    Down {
        /// The end of its log.
        log: String,
    },
    /// A path that the server's configuration or the mount table cannot hold.
    #[error("{} has characters that no export can have: letters, digits and ./_- only, from the root on", path.display())]
    Path {
        /// The path.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The reason.
        source: io::Error,
    },
}

impl NfsError {
    pub(super) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    pub(super) fn os(doing: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Io {
            doing,
            source: errno.into(),
        }
    }
}
