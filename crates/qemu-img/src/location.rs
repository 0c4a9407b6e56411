use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use strongroom_types::DeviceSize;

use crate::Refusal;

/// Where an image lies: a file, a block device, or the beginning of one.
///
/// Every path that the file system accepts is passed on byte for byte: commas, colons, newlines, a leading dash, names
/// such as `json:{}` and bytes that are not UTF-8. A relative path is made absolute at once, with the working directory
/// of this process.
///
/// A path alone is taken for a file; [`Location::at`] looks what is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// A regular file.
    File(PathBuf),
    /// A block device.
    Block(PathBuf),
    /// The beginning of a block device. QEMU neither reads nor writes what is behind it; a device that is smaller is an error.
    Beginning {
        /// The device.
        device: PathBuf,
        /// How much of it.
        size: DeviceSize,
    },
}

impl Location {
    /// A regular file.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::File(absolute(path.as_ref()))
    }

    /// A block device.
    pub fn block(path: impl AsRef<Path>) -> Self {
        Self::Block(absolute(path.as_ref()))
    }

    /// The first bytes of a block device.
    pub fn beginning(device: impl AsRef<Path>, size: DeviceSize) -> Self {
        let device = absolute(device.as_ref());
        Self::Beginning { device, size }
    }

    /// A file or a block device, whichever is there now.
    ///
    /// # Errors
    /// The error of the file system when nothing can be seen there.
    pub fn at(path: impl AsRef<Path>) -> std::io::Result<Self> {
        let block = std::fs::metadata(path.as_ref())?.file_type().is_block_device();
        Ok(if block {
            Self::block(path)
        } else {
            Self::file(path)
        })
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Block(path) | Self::Beginning { device: path, .. } => path,
        }
    }

    /// The block driver by which QEMU opens it.
    pub(crate) fn driver(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Block(_) | Self::Beginning { .. } => "host_device",
        }
    }

    /// How much of it QEMU is to see, where that is not all.
    pub(crate) fn limit(&self) -> Option<DeviceSize> {
        match self {
            Self::Beginning { size, .. } => Some(*size),
            Self::File(_) | Self::Block(_) => None,
        }
    }

    /// The path as an argument that stands for all of it, where nothing but a path can be said.
    pub(crate) fn whole(&self) -> Result<&OsStr, Refusal> {
        if self.limit().is_some() {
            return Err(Refusal::Beginning {
                path: self.path().to_owned(),
            });
        }
        self.argument()
    }

    /// The path as an argument. It begins with a slash, so that QEMU takes no part of it for a protocol, and no option
    /// parser takes it for an option.
    pub(crate) fn argument(&self) -> Result<&OsStr, Refusal> {
        checked(self.path())
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::file(path)
    }
}

impl From<&PathBuf> for Location {
    fn from(path: &PathBuf) -> Self {
        Self::file(path)
    }
}

impl From<PathBuf> for Location {
    fn from(path: PathBuf) -> Self {
        Self::file(path)
    }
}

impl From<&str> for Location {
    fn from(path: &str) -> Self {
        Self::file(path)
    }
}

/// An empty path stays empty, and is refused when it is used.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The path as an argument, if a path can be like this.
pub(crate) fn checked(path: &Path) -> Result<&OsStr, Refusal> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.is_empty() {
        Err(Refusal::EmptyPath)
    } else if bytes.contains(&0) {
        Err(Refusal::NulInPath {
            path: path.to_owned(),
        })
    } else if bytes.first() != Some(&b'/') {
        Err(Refusal::RelativePath {
            path: path.to_owned(),
        })
    } else {
        Ok(path.as_os_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_mean_what_the_caller_means() {
        let here = std::env::current_dir().unwrap();
        for name in ["-dash", "json:{}", "nbd:host:1", "a,b"] {
            assert_eq!(
                Location::file(name).argument().unwrap(),
                here.join(name).as_os_str(),
                "{name}"
            );
        }
    }

    #[test]
    fn paths_that_cannot_be_are_refused() {
        assert!(matches!(Location::file("").argument(), Err(Refusal::EmptyPath)));
        assert!(matches!(
            Location::file("/a\0b").argument(),
            Err(Refusal::NulInPath { .. })
        ));
        assert!(matches!(
            Location::File("a".into()).argument(),
            Err(Refusal::RelativePath { .. })
        ));
    }

    #[test]
    fn looks_whether_it_is_a_block_device() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Location::at(file.path()).unwrap(), Location::file(file.path()));
        assert_eq!(
            Location::at("/nonexistent/x").unwrap_err().kind(),
            std::io::ErrorKind::NotFound
        );
    }
}
