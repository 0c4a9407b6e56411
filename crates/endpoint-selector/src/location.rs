use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use strongroom_types::DeviceSize;

/// Where a disk is on a host. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskLocation {
    /// A regular file.
    File(PathBuf),
    /// A block device, or the beginning of one.
    Block(BlockDevice),
}

impl DiskLocation {
    /// The file at this path.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into())
    }

    /// The whole block device at this path, whichever device that is.
    #[must_use]
    pub fn block(path: impl Into<PathBuf>) -> Self {
        Self::Block(BlockDevice::new(path))
    }

    /// The path of the file or device.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Block(device) => &device.path,
        }
    }
}

impl fmt::Display for DiskLocation {
    /// The path on one line: control characters are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.path().to_string_lossy().chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// A block device that holds a disk: which one it must be, and how much of it the disk has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct BlockDevice {
    /// Its path. It may be a symlink, as most names of devices are.
    pub path: PathBuf,
    /// Which device must be there. Every command that names the device checks this before it reads or writes anything, and
    /// another device is [`WrongDisk`](crate::ErrorKind::WrongDisk). `None`: whichever is there.
    pub identity: Option<DeviceIdentity>,
    /// How many bytes from its beginning are the disk, header included. What is behind them, because the storage rounded up, is
    /// neither read nor written. `None`: all of it.
    pub used: Option<DeviceSize>,
}

impl BlockDevice {
    /// All of the device at this path, whichever it is.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            identity: None,
            used: None,
        }
    }

    /// The same, if it is this one.
    #[must_use]
    pub fn with_identity(mut self, identity: DeviceIdentity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// The same, and only its first bytes are the disk.
    #[must_use]
    pub fn with_used(mut self, used: DeviceSize) -> Self {
        self.used = Some(used);
        self
    }
}

/// By what a block device is known to be the right one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct DeviceIdentity {
    /// Its size.
    pub size: DeviceSize,
    /// Its serial number or world-wide name, as the kernel tells it. `None`: the storage has none, and the size is all there is
    /// to go by.
    pub serial: Option<String>,
}

impl DeviceIdentity {
    /// A device of this size and with this serial number.
    #[must_use]
    pub fn new(size: DeviceSize, serial: Option<String>) -> Self {
        Self { size, serial }
    }
}
