use std::path::PathBuf;

use strongroom_exec::{ProgramNotFound, RunError};

use crate::{Operation, Refusal};

/// Why an operation was not done.
///
/// `qemu-img` says failure with one exit code for every reason (1; `compare` 2; `check` 63 for a format that it cannot
/// check). The kinds below [`QemuImgError::Failed`] are told apart by the last words that it printed, which come from
/// QEMU's and the C library's fixed texts and are not translated, since the command runs under `LC_ALL=C`. A text that is
/// not known is `Failed`: rely on a kind to say more to a person or to retry, not to decide whether something is safe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QemuImgError {
    /// The tool is not on this machine.
    #[error("qemu-img is missing; on Debian the package qemu-utils has it")]
    MissingTool {
        /// Where it was looked for.
        #[source]
        source: ProgramNotFound,
    },
    /// The command was not run, and nothing was touched.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No keyslot opens with the given key.
    #[error("{operation}: the key opens no keyslot: {message}")]
    WrongKey {
        /// What was to be done.
        operation: Operation,
        /// What the tool said.
        message: String,
    },
    /// The image, its backing file, a snapshot or a bitmap is not there.
    #[error("{operation}: not found: {message}")]
    NotFound {
        /// What was to be done.
        operation: Operation,
        /// What the tool said.
        message: String,
    },
    /// The user that runs the tool may not.
    #[error("{operation}: permission denied: {message}")]
    Denied {
        /// What was to be done.
        operation: Operation,
        /// What the tool said.
        message: String,
    },
    /// The file system or device is full. The target, if any, is incomplete.
    #[error("{operation}: no space left: {message}")]
    NoSpace {
        /// What was to be done.
        operation: Operation,
        /// What the tool said.
        message: String,
    },
    /// Another process has the image open.
    #[error("{operation}: in use by another process: {message}")]
    Busy {
        /// What was to be done.
        operation: Operation,
        /// What the tool said.
        message: String,
    },
    /// The image, the format or the tool cannot do this.
    #[error("{operation}: not supported: {message}")]
    Unsupported {
        /// What was to be done.
        operation: Operation,
        /// What the tool said.
        message: String,
    },
    /// The image is not what its description says: another format, or encrypted where it says plain.
    #[error("{operation}: the image is not as described: {message}")]
    NotAsDescribed {
        /// What was to be done.
        operation: Operation,
        /// What the tool said.
        message: String,
    },
    /// The metadata of the image are damaged.
    #[error("{operation}: the image is damaged: {message}")]
    Damaged {
        /// What was to be done.
        operation: Operation,
        /// What the tool said.
        message: String,
    },
    /// The tool did not run to its end by itself. A target may be left incomplete, or empty.
    #[error("{operation} did not run to its end")]
    Run {
        /// What was to be done.
        operation: Operation,
        /// Why.
        #[source]
        source: RunError,
    },
    /// The answer could not be read.
    #[error("{operation}: cannot read the answer: {problem}")]
    Output {
        /// What was done.
        operation: Operation,
        /// What is wrong with it.
        problem: String,
    },
    /// The file system failed this process while it looked at an image or synced it.
    #[error("cannot {doing} {path:?}")]
    File {
        /// What was to be done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The tool reported success, and what it changed does not open as it should.
    #[error("{operation} was reported done, but {path:?} does not open with a key that it should have")]
    Unproven {
        /// What was done.
        operation: Operation,
        /// The image.
        path: PathBuf,
        /// What opening it said.
        #[source]
        source: Box<QemuImgError>,
    },
    /// Another failure.
    #[error("{operation} failed with exit code {code}: {message}")]
    Failed {
        /// What was to be done.
        operation: Operation,
        /// The exit code.
        code: i32,
        /// What the tool said.
        message: String,
    },
}
