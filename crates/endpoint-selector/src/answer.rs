use std::path::PathBuf;

use strongroom_types::{
    ByteSize, DeviceSize, DiskFormat, EncryptionFormat, GuestSize, PayloadOffset, SnapshotId,
};

use crate::DiskLocation;

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
    /// Whether a file could be made there.
    pub writable: bool,
}

impl DirectoryFacts {
    /// All facts of a directory.
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
        }
    }
}
