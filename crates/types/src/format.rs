use std::fmt;
use std::str::FromStr;

/// A text that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown format {found:?}; known are {known}")]
pub struct ParseFormatError {
    found: String,
    known: &'static str,
}

macro_rules! named {
    ($name:ident, $known:literal, $($variant:ident = $text:literal),+) => {
        impl $name {
            /// The name that is stored and shown.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl FromStr for $name {
            type Err = ParseFormatError;
            fn from_str(text: &str) -> Result<Self, ParseFormatError> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(ParseFormatError { found: text.to_owned(), known: $known }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

/// How the sectors of a disk lie in its file or device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum DiskFormat {
    /// Sector after sector. When encrypted, the LUKS header comes first.
    Raw,
    /// QEMU's copy-on-write format. When encrypted, the LUKS header lies inside the file, and the metadata is plain.
    Qcow2,
}
named!(DiskFormat, "raw, qcow2", Raw = "raw", Qcow2 = "qcow2");

/// Which LUKS a volume is encrypted with. It is recorded with the volume and never guessed.
///
/// Each tool's own word for it stays in that tool's crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum EncryptionFormat {
    /// LUKS version 1: what QEMU opens, raw and inside qcow2.
    Luks1,
    /// LUKS version 2: what dm-crypt and librbd open. QEMU itself does not.
    Luks2,
}
named!(EncryptionFormat, "luks1, luks2", Luks1 = "luks1", Luks2 = "luks2");

impl EncryptionFormat {
    /// Whether QEMU opens a disk of this kind by itself.
    #[must_use]
    pub const fn opens_in_qemu(self) -> bool {
        matches!(self, Self::Luks1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_strangers_are_refused() {
        for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
            assert_eq!(format.as_str().parse(), Ok(format));
        }
        for format in [EncryptionFormat::Luks1, EncryptionFormat::Luks2] {
            assert_eq!(format.as_str().parse(), Ok(format));
        }
        let e = "luks".parse::<EncryptionFormat>().unwrap_err();
        assert_eq!(e.to_string(), "unknown format \"luks\"; known are luks1, luks2");
    }
}
