use std::io::{Read, Seek};
use std::path::Path;

use crate::{ImageError, Luks1Header, Luks2Header, Magic, Qcow2Header, open_disk};

/// What a disk is by its own account.
///
/// A disk whose content a guest writes, above all a plain raw one, says what the guest wants it to say: whoever knows what a
/// disk should be reads that format with its own reader instead.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disk {
    /// A qcow2 image, encrypted or not.
    Qcow2(Box<Qcow2Header>),
    /// A raw disk behind a LUKS1 header.
    Luks1(Box<Luks1Header>),
    /// A raw disk behind a LUKS2 header.
    Luks2(Box<Luks2Header>),
    /// No magic that is known here.
    Other,
}

impl Disk {
    /// Reads the header that the first bytes announce. Without any, a second LUKS2 header is looked for.
    ///
    /// # Errors
    /// [`ImageError`], when the first bytes announce a header and it is damaged, cut off or of an unknown version: such a disk
    /// is never [`Disk::Other`].
    pub fn read(reader: &mut (impl Read + Seek)) -> Result<Self, ImageError> {
        match Magic::read(reader)? {
            Magic::Luks1 => Luks1Header::read(reader).map(|h| Self::Luks1(Box::new(h))),
            Magic::Luks2 | Magic::LuksUnknown => Luks2Header::read(reader).map(|h| Self::Luks2(Box::new(h))),
            Magic::Qcow2 | Magic::QcowUnknown => Qcow2Header::read(reader).map(|h| Self::Qcow2(Box::new(h))),
            Magic::Blank | Magic::None => match Luks2Header::read(reader) {
                Ok(header) => Ok(Self::Luks2(Box::new(header))),
                Err(ImageError::Read { what, source }) => Err(ImageError::Read { what, source }),
                // What looks like a second header but is not whole is anybody's data.
                Err(_) => Ok(Self::Other),
            },
        }
    }
}

/// Opens a file or device as [`open_disk`] does and reads it as [`Disk::read`] does.
///
/// # Errors
/// Those of both.
pub fn read_disk(path: impl AsRef<Path>) -> Result<Disk, ImageError> {
    Disk::read(&mut open_disk(path)?)
}
