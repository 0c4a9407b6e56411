use std::path::Path;

use strongroom_types::DiskFormat;

use crate::{DiskLocation, FileStamp, Protection};

/// A disk that exists, and what opens it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Disk<'a> {
    /// Where it is.
    pub location: &'a DiskLocation,
    /// How its sectors lie there. It is said, never probed.
    pub format: DiskFormat,
    /// Which side of the cipher it is on.
    pub protection: Protection<'a>,
    /// The plain image that a qcow2 disk lies on and reads where it has nothing of its own. A disk whose header names another
    /// one, or none, is [`WrongDisk`](crate::ErrorKind::WrongDisk). `None`: the disk stands alone.
    pub base: Option<SourceImage<'a>>,
}

impl<'a> Disk<'a> {
    /// A disk that stands alone.
    #[must_use]
    pub fn new(location: &'a DiskLocation, format: DiskFormat, protection: Protection<'a>) -> Self {
        Self {
            location,
            format,
            protection,
            base: None,
        }
    }

    /// The same, on this plain image if there is one.
    #[must_use]
    pub fn on(mut self, base: Option<SourceImage<'a>>) -> Self {
        self.base = base;
        self
    }
}

/// A plain image to take content from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceImage<'a> {
    /// Its absolute path.
    pub path: &'a Path,
    /// Its format. It is said, never probed.
    pub format: DiskFormat,
    /// Which file must be there. A host that takes content from one with another stamp refuses it as
    /// [`UntrustedImage`](crate::ErrorKind::UntrustedImage), and says what changed. `None`: whichever is there.
    pub stamp: Option<FileStamp>,
}

impl<'a> SourceImage<'a> {
    /// The image at this path, whichever file it is.
    #[must_use]
    pub fn new(path: &'a Path, format: DiskFormat) -> Self {
        Self {
            path,
            format,
            stamp: None,
        }
    }

    /// The same, if it is the file that had this stamp.
    #[must_use]
    pub fn stamped(mut self, stamp: Option<FileStamp>) -> Self {
        self.stamp = stamp;
        self
    }
}
