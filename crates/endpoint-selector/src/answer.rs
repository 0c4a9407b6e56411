use std::fmt;
use std::path::PathBuf;

use strongroom_types::{
    ByteSize, DeviceSize, DiskFormat, EncryptionFormat, GuestSize, InstallationId, PayloadOffset, PoolId,
    SnapshotId,
};

use crate::{DiskLocation, FileStamp, SourceImage, VmFacts};

/// What a host answers. Each [`HostCommand`](crate::HostCommand) says which of these it gives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostAnswer {
    /// Done, and there is nothing to tell.
    Done,
    /// What the disk now is.
    Disk(DiskFacts),
    /// What was proved of the disk.
    Verified(Verification),
    /// Whether the contents are the same.
    Compared(Sameness),
    /// What the directory is.
    Directory(DirectoryFacts),
    /// The staging files that were removed.
    Swept(Vec<PathBuf>),
    /// The names in a directory.
    Names(Vec<String>),
    /// What the block device is.
    Device(DeviceFacts),
    /// The digest of a content.
    Digest(ContentDigest),
    /// How the virtual machine is.
    Vm(VmFacts),
    /// How the virtual machines are.
    Vms(Vec<VmFacts>),
}

/// What a disk is, read from the disk itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskFacts {
    /// Where it is.
    pub location: DiskLocation,
    /// How its sectors lie there.
    pub format: DiskFormat,
    /// Which LUKS it has; `None` for a plain disk.
    pub encryption: Option<EncryptionFormat>,
    /// What the guest sees.
    pub guest: GuestSize,
    /// The size of the file or device. For qcow2 it says nothing about the guest's size.
    pub device: DeviceSize,
    /// What the file takes on its file system; the device size for a block device.
    pub allocated: ByteSize,
    /// Where the encrypted sectors of a raw LUKS disk begin; none for the rest.
    pub payload_offset: PayloadOffset,
    /// Cipher and mode as LUKS writes them, such as `aes-xts-plain64`; `None` for a plain disk.
    pub cipher: Option<String>,
    /// The snapshots inside, where the format has them.
    pub snapshots: Vec<SnapshotId>,
    /// The plain image that the disk lies on; `None` when it stands alone.
    pub base: Option<BaseImage>,
    /// By what the file is known later, where the answer is to [`InspectDisk`](crate::InspectDisk) of a plain file; else `None`.
    pub stamp: Option<FileStamp>,
    /// Which format the first bytes of a plain raw file claim, such as `qcow2`, where the answer is to
    /// [`InspectDisk`](crate::InspectDisk). Whoever can write to a disk can make it claim anything: it is no reason to read the
    /// file as that format, only to ask whether raw is meant.
    pub claims: Option<&'static str>,
}

impl DiskFacts {
    /// A disk of which nothing is known beyond these: not encrypted, no snapshots, nothing allocated.
    #[must_use]
    pub fn new(location: DiskLocation, format: DiskFormat, guest: GuestSize, device: DeviceSize) -> Self {
        Self {
            location,
            format,
            encryption: None,
            guest,
            device,
            allocated: ByteSize::default(),
            payload_offset: PayloadOffset::NONE,
            cipher: None,
            snapshots: Vec::new(),
            base: None,
            stamp: None,
            claims: None,
        }
    }
}

/// A plain image that a disk lies on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct BaseImage {
    /// Its absolute path.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
}

impl BaseImage {
    /// The image at this path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, format: DiskFormat) -> Self {
        Self {
            path: path.into(),
            format,
        }
    }

    /// The same, borrowed for a request.
    #[must_use]
    pub fn source(&self) -> SourceImage<'_> {
        SourceImage::new(&self.path, self.format)
    }
}

/// The SHA-256 (FIPS 180-4) of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContentDigest {
    /// The digest.
    pub sha256: [u8; 32],
    /// Of how many bytes.
    pub bytes: GuestSize,
}

impl ContentDigest {
    /// The digest of so many bytes.
    #[must_use]
    pub fn new(sha256: [u8; 32], bytes: GuestSize) -> Self {
        Self { sha256, bytes }
    }
}

impl fmt::Display for ContentDigest {
    /// The digest in lower-case hexadecimal, as `sha256sum` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sha256.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a block device is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceFacts {
    /// The device's own path, without symlinks.
    pub path: PathBuf,
    /// Its size now, as the host knows it.
    pub size: DeviceSize,
    /// Its serial number or world-wide name, as the kernel tells it; of a loop device the path of its file. `None` when the kernel
    /// knows none.
    pub serial: Option<String>,
    /// What on this host uses it, such as a mount or a mapping; `None` when nothing does.
    pub used_by: Option<String>,
}

impl DeviceFacts {
    /// A device that nothing uses and that has no serial number.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, size: DeviceSize) -> Self {
        Self {
            path: path.into(),
            size,
            serial: None,
            used_by: None,
        }
    }
}

/// What was proved of a disk. Anything that could not be proved is an error instead.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// What the disk is.
    pub facts: DiskFacts,
    /// Each thing that was checked, as a fragment such as "two readers agree on luks1".
    pub checked: Vec<String>,
}

impl Verification {
    /// What was checked on a disk.
    #[must_use]
    pub fn new(facts: DiskFacts, checked: Vec<String>) -> Self {
        Self { facts, checked }
    }
}

/// Whether two contents are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sameness {
    /// Every byte.
    Identical,
    /// Not every byte.
    Different,
}

/// What a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectoryFacts {
    /// Its path without symlinks.
    pub path: PathBuf,
    /// Identifies the file system it is on, as long as that is mounted.
    pub file_system: u64,
    /// The kind of file system, such as `ext4`, or its magic number in hexadecimal.
    pub kind: String,
    /// All bytes of the file system.
    pub total: ByteSize,
    /// The bytes that an unprivileged user could still write.
    pub free: ByteSize,
    /// Whether a file could be made there, space permitting.
    pub writable: bool,
    /// The pool that the directory was [marked](crate::MarkDirectory) for.
    pub pool: Option<PoolId>,
    /// The installation whose pool that is, where the mark says it.
    pub owner: Option<InstallationId>,
    /// How its file system is mounted, where the host can tell.
    pub mount: Option<MountFacts>,
    /// Whether locks of files work there.
    pub locking: Locking,
    /// By how many milliseconds the clock by which the file system dates its files is before (negative) or after the host's; `None` where
    /// it was not measured.
    pub clock_skew: Option<i64>,
}

/// How a file system is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MountFacts {
    /// Where.
    pub point: PathBuf,
    /// What is mounted there, such as `/dev/sdb1` or `server:/export`.
    pub source: String,
    /// The kind of file system as the kernel names it, such as `nfs4`.
    pub kind: String,
    /// The options of the mount and of its file system, such as `ro` and `hard`.
    pub options: Vec<String>,
}

impl MountFacts {
    /// All facts of a mount.
    #[must_use]
    pub fn new(point: impl Into<PathBuf>, source: String, kind: String, options: Vec<String>) -> Self {
        Self {
            point: point.into(),
            source,
            kind,
            options,
        }
    }
}

/// Whether locks of files work on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Locking {
    /// A lock was taken and given back.
    Works,
    /// The file system has no locks: nothing keeps two hosts from opening one disk.
    Missing,
    /// It was not tried, for nothing may be written there.
    Unknown,
}

impl DirectoryFacts {
    /// A directory that is marked for no pool, and of whose mount, locks and clock nothing is known.
    #[must_use]
    pub fn new(
        path: PathBuf,
        file_system: u64,
        kind: String,
        total: ByteSize,
        free: ByteSize,
        writable: bool,
    ) -> Self {
        Self {
            path,
            file_system,
            kind,
            total,
            free,
            writable,
            pool: None,
            owner: None,
            mount: None,
            locking: Locking::Unknown,
            clock_skew: None,
        }
    }
}
