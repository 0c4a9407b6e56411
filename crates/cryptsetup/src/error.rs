use std::io;
use std::path::PathBuf;

use strongroom_exec::{ProgramNotFound, RunError};
use strongroom_types::{EncryptionFormat, GeometryError, Interrupted, SizeError};
use uuid::Uuid;

use crate::{Content, HeaderError, PbkdfError};

/// Why something did not happen. No variant ever carries a passphrase.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CryptsetupError {
    /// There is no cryptsetup.
    #[error("cryptsetup is needed and not installed; on Debian it is in the package cryptsetup-bin")]
    MissingTool(#[source] ProgramNotFound),
    /// The kernel here has no device-mapper, without which nothing can be opened as a mapping.
    #[error(
        "no device-mapper on this machine: {control:?} does not open; load the kernel module dm_mod, or use what needs no mapping"
    )]
    NoDeviceMapper {
        /// What was to be opened.
        control: PathBuf,
    },
    /// A path that cannot be made absolute or has a zero byte.
    #[error("{path:?} is no path of a device or file")]
    Path {
        /// The path as it was given.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Nothing is there.
    #[error("{path:?} does not exist")]
    DeviceMissing {
        /// The path.
        path: PathBuf,
    },
    /// Neither a regular file nor a block device.
    #[error("{path:?} is a {kind}; a regular file or a block device is needed")]
    NotADisk {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Somebody uses the device: it is mounted, mapped, or opened exclusively.
    #[error("{path:?} is in use; unmount or close it first")]
    Busy {
        /// The path.
        path: PathBuf,
    },
    /// The size is none of a disk.
    #[error("{path:?} cannot be a disk")]
    Size {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: SizeError,
    },
    /// Nothing would be left behind the header. cryptsetup 2.6.1 formats such a device, makes such a file
    /// larger, and exits with 0.
    #[error("{path:?} is too small")]
    TooSmall {
        /// The path.
        path: PathBuf,
        /// The sizes.
        source: GeometryError,
    },
    /// The payload would overwrite its own header.
    #[error("{path:?} is to hold both the payload and its detached header")]
    HeaderOnPayload {
        /// The path of the header.
        path: PathBuf,
    },
    /// There is something on the device, so it is not formatted.
    #[error(
        "{path:?} is not blank: {found} at byte {offset}; nothing was written; wipe it first if it may go"
    )]
    NotBlank {
        /// The path.
        path: PathBuf,
        /// What is there.
        found: Content,
        /// Where it was seen, in bytes.
        offset: u64,
    },
    /// There is no LUKS header where one should be.
    #[error("{path:?} has no LUKS header")]
    NotLuks {
        /// The path.
        path: PathBuf,
    },
    /// The header is of the other version.
    #[error("{path:?} is {found}, not {expected} as recorded")]
    WrongFormat {
        /// The path.
        path: PathBuf,
        /// What the caller has recorded.
        expected: EncryptionFormat,
        /// What the header says.
        found: EncryptionFormat,
    },
    /// The header belongs to another volume.
    #[error("{path:?} belongs to volume {found}, not to {expected}")]
    WrongVolume {
        /// The path.
        path: PathBuf,
        /// Whose header was expected.
        expected: Uuid,
        /// Whose header it is.
        found: Uuid,
    },
    /// The header is damaged, hostile or of a kind that is not handled.
    #[error("the LUKS header of {path:?} is not usable")]
    Header {
        /// The path.
        path: PathBuf,
        /// The reason.
        source: HeaderError,
    },
    /// The cost of key derivation does not go with this version of LUKS.
    #[error("the cost of key derivation does not fit")]
    Pbkdf(#[source] PbkdfError),
    /// LUKS1 has nothing of the kind. cryptsetup 2.6.1 takes such an option, does without, and exits with 0.
    #[error("{path:?} is to be LUKS1, which has no {option}; leave it out, or choose LUKS2")]
    Luks2Only {
        /// The path.
        path: PathBuf,
        /// What was asked for.
        option: &'static str,
    },
    /// The device does not consist of whole sectors of the size that was asked for.
    #[error("{path:?} has {size} bytes, which is no multiple of the sector size {sector}")]
    SectorSize {
        /// The path.
        path: PathBuf,
        /// The size of the device in bytes.
        size: u64,
        /// The size of a sector in bytes.
        sector: u64,
    },
    /// The passphrase opens no keyslot.
    #[error("the passphrase opens no keyslot of {path:?}")]
    WrongPassphrase {
        /// The path.
        path: PathBuf,
    },
    /// No keyslot is left: the volume was erased.
    #[error(
        "{path:?} has no active keyslot: no passphrase opens it, only a header backup would bring it back"
    )]
    NoKeyslot {
        /// The path.
        path: PathBuf,
    },
    /// The keyslot is not active.
    #[error("keyslot {slot} of {path:?} is not active")]
    NoSuchSlot {
        /// The path.
        path: PathBuf,
        /// The number of the keyslot.
        slot: u8,
    },
    /// Without this keyslot nothing would open the volume any more.
    #[error("keyslot {slot} is the last one of {path:?}; to make the volume unreadable for ever, erase it")]
    LastSlot {
        /// The path.
        path: PathBuf,
        /// The number of the keyslot.
        slot: u8,
    },
    /// No keyslot is free.
    #[error("all keyslots of {path:?} are taken; remove one first")]
    SlotsFull {
        /// The path.
        path: PathBuf,
    },
    /// With one more keyslot of this cost, this crate would refuse the volume's header.
    #[error(
        "one more keyslot of this cost is too much for {path:?}; choose a lower one, or remove a keyslot first"
    )]
    TooCostly {
        /// The path.
        path: PathBuf,
        /// The sum.
        source: HeaderError,
    },
    /// Two passphrases that must differ open the same keyslot.
    #[error("both passphrases open keyslot {slot} of {path:?}: they are the same")]
    SamePassphrase {
        /// The path.
        path: PathBuf,
        /// The number of the keyslot.
        slot: u8,
    },
    /// The passphrase that is to remain opens nothing but the keyslot that is to go.
    #[error("the passphrase that is to remain opens only keyslot {slot} of {path:?}, the one that is to go")]
    LockedOut {
        /// The path.
        path: PathBuf,
        /// The number of the keyslot.
        slot: u8,
    },
    /// A file is where the backup or the detached header should go.
    #[error("{path:?} exists already and stays as it is")]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The backup does not hold what the device's header is now.
    #[error("the header backup {backup:?} is not that of {device:?} as it is now; take a new one")]
    StaleBackup {
        /// The backup.
        backup: PathBuf,
        /// The device or the file of the detached header.
        device: PathBuf,
    },
    /// What was given as the backup of a header is that header.
    #[error("{path:?} is the volume's own header, and no backup of it")]
    BackupIsVolume {
        /// The path of the backup.
        path: PathBuf,
    },
    /// The volume was formatted anew after the backup was taken, with the same UUID: what was written since would be lost.
    #[error(
        "{backup:?} has another volume key than {device:?}, which was formatted anew since; nothing was written"
    )]
    OtherVolumeKey {
        /// The backup.
        backup: PathBuf,
        /// The device or the file of the detached header.
        device: PathBuf,
    },
    /// cryptsetup reported success, and looking at the result says otherwise.
    #[error("{action} of {path:?} was reported done, but {finding}")]
    Unproven {
        /// What cryptsetup was told to do.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What was found instead.
        finding: &'static str,
    },
    /// cryptsetup's exit code 1: it does not take the parameters, the device is none for this action, or it
    /// could not be written, as when a file system is full.
    #[error("cryptsetup {action} failed on {path:?}: {message}")]
    BadParameters {
        /// What cryptsetup was told to do.
        action: &'static str,
        /// The path, or the name of the mapping.
        path: PathBuf,
        /// What it said.
        message: String,
    },
    /// cryptsetup's exit code 3: there is not the memory that the key derivation of this volume takes.
    #[error("cryptsetup {action} of {path:?} ran out of memory: {message}")]
    OutOfMemory {
        /// What cryptsetup was told to do.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What it said.
        message: String,
    },
    /// An exit code that cryptsetup does not document.
    #[error("cryptsetup {action} of {path:?} exited with {code}: {message}")]
    UnexpectedExit {
        /// What cryptsetup was told to do.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The exit code.
        code: i32,
        /// What it said.
        message: String,
    },
    /// cryptsetup printed what cannot be read.
    #[error("cryptsetup {action} of {path:?} printed no {wanted}")]
    Output {
        /// What cryptsetup was told to do.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// cryptsetup did not run to its end.
    #[error("cryptsetup {action} was not completed")]
    Run {
        /// What cryptsetup was told to do.
        action: &'static str,
        /// The reason.
        source: RunError,
    },
    /// The caller's deadline or cancellation, between two runs of cryptsetup.
    #[error("stopped before {action}")]
    Interrupted {
        /// What would have come next.
        action: &'static str,
        /// The reason.
        source: Interrupted,
    },
    /// The operating system refused something.
    #[error("cannot {action} {path:?}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl CryptsetupError {
    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}
