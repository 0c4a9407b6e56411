use std::fmt;
use std::io::{Read, Seek, SeekFrom};

use crate::ImageError;

/// What the first bytes of a disk say. Anybody who can write to the disk can make them say anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Magic {
    /// `LUKS\xba\xbe` with version 1.
    Luks1,
    /// `LUKS\xba\xbe` with version 2.
    Luks2,
    /// `LUKS\xba\xbe` with another version, or cut off before it.
    LuksUnknown,
    /// `QFI\xfb` with version 2 or 3.
    Qcow2,
    /// `QFI\xfb` with another version, or cut off before it.
    QcowUnknown,
    /// Zeros, or nothing at all. What comes behind may be anything.
    Blank,
    /// None of these.
    None,
}

pub(crate) const LUKS: [u8; 6] = *b"LUKS\xba\xbe";
pub(crate) const LUKS2_SECONDARY: [u8; 6] = *b"SKUL\xba\xbe";
pub(crate) const QCOW: [u8; 4] = *b"QFI\xfb";

/// As many bytes as tell the formats apart.
const LENGTH: u64 = 8;

impl Magic {
    /// Reads the first eight bytes, or fewer when there are fewer.
    ///
    /// # Errors
    /// [`ImageError::Read`].
    pub fn read(reader: &mut (impl Read + Seek)) -> Result<Self, ImageError> {
        let failed = |source| ImageError::Read {
            what: "first bytes",
            source,
        };
        reader.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut bytes = Vec::new();
        reader.take(LENGTH).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Self::of(&bytes))
    }

    /// Whether it is a LUKS header, of whatever version.
    #[must_use]
    pub const fn is_luks(self) -> bool {
        matches!(self, Self::Luks1 | Self::Luks2 | Self::LuksUnknown)
    }

    /// What these bytes say, which are the first of a disk.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        if let Some(version) = bytes.strip_prefix(&LUKS) {
            match version {
                [0, 1, ..] => Self::Luks1,
                [0, 2, ..] => Self::Luks2,
                _ => Self::LuksUnknown,
            }
        } else if let Some(version) = bytes.strip_prefix(&QCOW) {
            match version {
                [0, 0, 0, 2 | 3, ..] => Self::Qcow2,
                _ => Self::QcowUnknown,
            }
        } else if bytes.iter().all(|b| *b == 0) {
            Self::Blank
        } else {
            Self::None
        }
    }
}

impl fmt::Display for Magic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Luks1 => "LUKS1",
            Self::Luks2 => "LUKS2",
            Self::LuksUnknown => "LUKS of an unknown version",
            Self::Qcow2 => "qcow2",
            Self::QcowUnknown => "qcow of an unknown version",
            Self::Blank => "blank at the beginning",
            Self::None => "of no format known here",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bytes_tell_the_formats_apart() {
        for (bytes, magic) in [
            (&b"LUKS\xba\xbe\x00\x01"[..], Magic::Luks1),
            (b"LUKS\xba\xbe\x00\x02", Magic::Luks2),
            (b"LUKS\xba\xbe\x01\x02", Magic::LuksUnknown),
            (b"LUKS\xba\xbe\x00", Magic::LuksUnknown),
            (b"QFI\xfb\x00\x00\x00\x03", Magic::Qcow2),
            (b"QFI\xfb\x00\x00\x00\x02", Magic::Qcow2),
            (b"QFI\xfb\x00\x00\x00\x01", Magic::QcowUnknown),
            (b"QFI\xfb", Magic::QcowUnknown),
            (b"", Magic::Blank),
            (b"\0\0\0\0\0\0\0\0", Magic::Blank),
            (b"LUKS\xba\xbd\x00\x01", Magic::None),
        ] {
            assert_eq!(Magic::of(bytes), magic, "{}", bytes.escape_ascii());
            assert_eq!(magic.is_luks(), bytes.starts_with(&LUKS));
        }
    }
}
