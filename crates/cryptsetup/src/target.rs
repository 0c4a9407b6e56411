use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use strongroom_types::EncryptionFormat;

use crate::CryptsetupError;

/// A volume: where it lies, where its header lies, and which LUKS it is.
///
/// The version is said, never guessed: what is recorded with a volume must be what its header says, else
/// every operation refuses with [`CryptsetupError::WrongFormat`]. Paths are absolute from here on, so that no
/// name is taken for an option.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    format: EncryptionFormat,
    device: PathBuf,
    header: Option<PathBuf>,
}

impl Target {
    /// The volume on this block device or in this regular file. A relative path counts from the current
    /// directory.
    ///
    /// # Errors
    /// [`CryptsetupError::Path`] for an empty path, a path with a zero byte, and when there is no current
    /// directory.
    pub fn new(format: EncryptionFormat, device: impl AsRef<Path>) -> Result<Self, CryptsetupError> {
        Ok(Self {
            format,
            device: absolute(device.as_ref())?,
            header: None,
        })
    }

    /// The same with the header in a file or device of its own. The payload then has no sign of encryption,
    /// and without the header it is noise for ever.
    ///
    /// # Errors
    /// As [`Target::new`].
    pub fn with_header(mut self, header: impl AsRef<Path>) -> Result<Self, CryptsetupError> {
        self.header = Some(absolute(header.as_ref())?);
        Ok(self)
    }

    /// Which LUKS it is.
    #[must_use]
    pub fn format(&self) -> EncryptionFormat {
        self.format
    }

    /// Where the payload is.
    #[must_use]
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// Where the header is when it is detached.
    #[must_use]
    pub fn detached_header(&self) -> Option<&Path> {
        self.header.as_deref()
    }

    /// Where the header is.
    #[must_use]
    pub fn header_device(&self) -> &Path {
        self.header.as_deref().unwrap_or(&self.device)
    }
}

/// The path from the root, without looking at what is there.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, CryptsetupError> {
    let error = |source| CryptsetupError::Path {
        path: path.to_owned(),
        source,
    };
    if path.as_os_str().as_bytes().contains(&0) {
        return Err(error(io::Error::new(io::ErrorKind::InvalidInput, "a zero byte")));
    }
    std::path::absolute(path).map_err(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn paths_are_absolute_and_otherwise_untouched() {
        let here = std::env::current_dir().unwrap();
        for name in [&b"--type"[..], b"-", b"a,b c", b"\xff\xfe\n", b"luks:x"] {
            let path = Path::new(OsStr::from_bytes(name));
            let target = Target::new(EncryptionFormat::Luks1, path).unwrap();
            assert_eq!(target.device(), here.join(path));
            assert_eq!(target.header_device(), target.device());
        }
        let detached = Target::new(EncryptionFormat::Luks2, "/v")
            .unwrap()
            .with_header("h")
            .unwrap();
        assert_eq!(detached.header_device(), here.join("h"));
    }

    #[test]
    fn what_can_be_no_path_is_refused() {
        assert!(matches!(
            Target::new(EncryptionFormat::Luks1, ""),
            Err(CryptsetupError::Path { .. })
        ));
        assert!(matches!(
            Target::new(EncryptionFormat::Luks1, "/a\0b"),
            Err(CryptsetupError::Path { .. })
        ));
    }
}
