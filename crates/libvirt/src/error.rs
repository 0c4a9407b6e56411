use strongroom_exec::{ProgramNotFound, RunError};
use strongroom_secret::HandoverError;
use strongroom_types::{DiskTarget, Interrupted};

use crate::Refusal;

/// Why an operation was not done.
///
/// virsh says failure with one exit code for every reason. The kinds from [`LibvirtError::Unreachable`] to
/// [`LibvirtError::GuestDied`] are told apart by the last words that it printed. virsh runs under `LC_ALL=C`; a daemon that runs in
/// another language translates its own words, though not QEMU's. A text that is not known is
/// [`LibvirtError::Failed`]: rely on a kind to say more to a person or to retry, not to decide whether something is safe.
///
/// `action` is the command of virsh, and `message` what it said: one line of at most 1,000 characters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "action and message of every variant are described above"
)]
pub enum LibvirtError {
    /// The tool is not on this machine.
    #[error("virsh is missing; on Debian the package libvirt-clients has it")]
    MissingTool(#[source] ProgramNotFound),
    /// Nothing was run: what was asked would do harm, or cannot be said to libvirt.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A key could not be put where virsh reads it.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// An XML document could not be put where virsh reads it.
    #[error("cannot make an anonymous file for libvirt's XML")]
    Document(#[source] std::io::Error),
    /// The time was over or the caller asked to stop. virsh was ended; the daemon may still do what it was told.
    #[error("virsh {action} was not waited for; what it asked for may still happen")]
    Interrupted {
        action: &'static str,
        #[source]
        source: Interrupted,
    },
    /// virsh did not run to its end by itself.
    #[error("virsh {action} did not run to its end")]
    Run {
        action: &'static str,
        #[source]
        source: RunError,
    },
    /// The daemon does not answer: it does not run, or the connection broke.
    #[error("virsh {action}: libvirt's daemon cannot be reached: {message}")]
    Unreachable { action: &'static str, message: String },
    /// No such virtual machine.
    #[error("virsh {action}: no such virtual machine: {message}")]
    NoDomain { action: &'static str, message: String },
    /// The virtual machine is not running.
    #[error("virsh {action}: the virtual machine is not running: {message}")]
    NotRunning { action: &'static str, message: String },
    /// No such secret in libvirt, or one without a value. Load it first.
    #[error("virsh {action}: libvirt does not have the key: {message}")]
    NoSecret { action: &'static str, message: String },
    /// The virtual machine has no such disk.
    #[error("virsh {action}: the virtual machine has no such disk: {message}")]
    NoDisk { action: &'static str, message: String },
    /// A file or device is not there, or cannot be seen by the daemon.
    #[error("virsh {action}: a file is missing: {message}")]
    NoFile { action: &'static str, message: String },
    /// It is there already: a virtual machine that runs, a disk at the same target, a secret for the same use.
    #[error("virsh {action}: it is there already: {message}")]
    AlreadyExists { action: &'static str, message: String },
    /// No keyslot opens with the key that libvirt has.
    #[error("virsh {action}: the key opens no keyslot: {message}")]
    WrongKey { action: &'static str, message: String },
    /// There is no LUKS header where one was expected.
    #[error("virsh {action}: the disk has no LUKS header: {message}")]
    NotLuks { action: &'static str, message: String },
    /// There is no qcow2 image where one was expected.
    #[error("virsh {action}: the image is not qcow2: {message}")]
    WrongFormat { action: &'static str, message: String },
    /// A qcow2 image is plain and was described as encrypted.
    #[error("virsh {action}: the image is not encrypted, but was described so: {message}")]
    NotEncrypted { action: &'static str, message: String },
    /// A qcow2 image is encrypted and was described as plain.
    #[error("virsh {action}: the image is encrypted, but was described as plain: {message}")]
    KeyNeeded { action: &'static str, message: String },
    /// Somebody else uses the image, or another operation works on the virtual machine.
    #[error("virsh {action}: in use: {message}")]
    Busy { action: &'static str, message: String },
    /// This hypervisor, image or virtual machine cannot do it.
    #[error("virsh {action}: not supported: {message}")]
    Unsupported { action: &'static str, message: String },
    /// The daemon or the emulator may not.
    #[error("virsh {action}: permission denied: {message}")]
    Denied { action: &'static str, message: String },
    /// The file system or device is full.
    #[error("virsh {action}: no space left: {message}")]
    NoSpace { action: &'static str, message: String },
    /// QEMU ended while it worked. The guest is off.
    #[error("virsh {action}: QEMU ended, and the guest with it: {message}")]
    GuestDied { action: &'static str, message: String },
    /// QEMU's monitor refused a command.
    #[error("QEMU refused {command}: {message}")]
    Monitor {
        /// The command of QMP.
        command: String,
        /// The class of the error, such as `GenericError`.
        class: String,
        message: String,
    },
    /// The answer could not be read.
    #[error("virsh {action}: cannot read the answer: {problem}")]
    Output {
        action: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The guest has not let go of a disk: it is paused, and then was not asked, or it has not answered in time, and then may still do so.
    #[error(
        "the guest has not let go of disk {target}: a guest that is paused or has not booted does not; let it go on and try again"
    )]
    StillAttached {
        /// Which disk.
        target: DiskTarget,
    },
    /// Work on a disk ended without being done. The disk is as it was before.
    #[error("{work} of disk {target} ended without being done: {message}")]
    JobFailed {
        /// What was at work: `copy`, `merge`, `flattening`, `backup`, `change of keyslots`.
        work: &'static str,
        /// Which disk.
        target: DiskTarget,
        message: String,
    },
    /// QEMU has another disk than it was told. What was begun is undone where it still could be.
    #[error("disk {target} is not what QEMU was told: {problem}")]
    WrongNode {
        /// Which disk.
        target: DiskTarget,
        /// What it is.
        problem: String,
    },
    /// A checkpoint is not there or not whole any more: its bitmap is missing, or QEMU did not end in order. Delete it and take a full backup.
    #[error("virsh {action}: the checkpoint is not there or not whole, take a full backup: {message}")]
    BrokenCheckpoint { action: &'static str, message: String },
    /// The file for a guest's memory cannot be used.
    #[error(transparent)]
    Memory(#[from] crate::MemoryFileError),
    /// Another failure.
    #[error("virsh {action} failed with exit code {code}: {message}")]
    Failed {
        action: &'static str,
        /// The exit code.
        code: i32,
        message: String,
    },
}
