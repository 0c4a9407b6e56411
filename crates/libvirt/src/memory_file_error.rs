use std::io;
use std::path::{Path, PathBuf};

use strongroom_exec::{Completed, ProgramNotFound, RunError};
use strongroom_secret::HandoverError;
use strongroom_types::Interrupted;

/// Why the file for a guest's memory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryFileError {
    /// A tool is not on this machine.
    #[error("{name} is missing; on Debian the package {package} has it")]
    MissingTool {
        /// Its name.
        name: &'static str,
        /// The package.
        package: &'static str,
        /// Where it was looked for.
        #[source]
        source: ProgramNotFound,
    },
    /// The key could not be put where the daemon reads it.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// A file or device could not be worked with.
    #[error("cannot {what} {path:?}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A path that is not UTF-8, which QEMU's options cannot say.
    #[error("{0:?} is not UTF-8, and cannot be said to QEMU")]
    NotUtf8(PathBuf),
    /// Not a file. A block device is opened by dm-crypt.
    #[error("{0:?} is no regular file")]
    NotAFile(PathBuf),
    /// The file has no LUKS1 header. QEMU opens no LUKS2.
    #[error("{0:?} has no LUKS1 header: make a raw LUKS1 image there first")]
    NotLuks(PathBuf),
    /// No keyslot opens with the key.
    #[error("the key opens no keyslot of {0:?}")]
    WrongKey(PathBuf),
    /// Somebody else has the file open.
    #[error("{0:?} is in use by another process")]
    Busy(PathBuf),
    /// The device would have given out the LUKS file itself, and memory would have been written over it in clear. Nothing was written.
    #[error("{0:?} is the LUKS file itself, and not its content")]
    InClear(PathBuf),
    /// The daemon did not get ready, or ended without a word.
    #[error("qemu-storage-daemon did not open {0:?} in time")]
    Late(PathBuf),
    /// The time was over or the caller asked to stop.
    #[error("the memory file was not waited for")]
    Interrupted(#[source] Interrupted),
    /// A tool did not run to its end.
    #[error("a tool for the memory file did not run to its end")]
    Run(#[source] RunError),
    /// Another failure.
    #[error("{what} failed: {message}")]
    Failed {
        /// Which tool.
        what: &'static str,
        /// What it said, on one line.
        message: String,
    },
}

impl MemoryFileError {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    /// What the daemon's last words mean. QEMU does not translate them.
    pub(crate) fn daemon(image: &Path, done: &Completed) -> Self {
        let message = done.message();
        if message.ends_with("Invalid password, cannot unlock any keyslot") {
            Self::WrongKey(image.to_owned())
        } else if message.contains("Failed to get \"write\" lock")
            || message.contains("Failed to get shared \"write\" lock")
        {
            Self::Busy(image.to_owned())
        } else if message.ends_with("Volume is not in LUKS format") {
            Self::NotLuks(image.to_owned())
        } else {
            Self::Failed {
                what: "qemu-storage-daemon",
                message,
            }
        }
    }
}
