use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The name of an open volume: what stands behind `/dev/mapper/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MappingName(String);

/// Why a text is not the name of a mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MappingNameError {
    /// No characters.
    #[error("the name of the mapping is empty")]
    Empty,
    /// More than [`MappingName::MAX`] bytes.
    #[error("the name of the mapping has {0} bytes, device-mapper takes {max}", max = MappingName::MAX)]
    Long(usize),
    /// A character that device-mapper would write in another way, so that the node had another name.
    #[error(
        "the name of the mapping has {found:?} at byte {position}; letters, digits and #+-.:=@_ are allowed"
    )]
    Character {
        /// The character.
        found: char,
        /// Its position in bytes.
        position: usize,
    },
    /// A name that means something else: an option, a directory or device-mapper's own node.
    #[error("{0:?} is reserved; begin the name with a letter or digit")]
    Reserved(String),
}

impl MappingName {
    /// The largest number of bytes that the kernel takes.
    pub const MAX: usize = 127;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the open volume is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/dev/mapper").join(&self.0)
    }
}

impl FromStr for MappingName {
    type Err = MappingNameError;

    fn from_str(text: &str) -> Result<Self, MappingNameError> {
        if text.is_empty() {
            return Err(MappingNameError::Empty);
        }
        if text.len() > Self::MAX {
            return Err(MappingNameError::Long(text.len()));
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || "#+-.:=@_".contains(c);
        if let Some((position, found)) = text.char_indices().find(|(_, c)| !legal(*c)) {
            return Err(MappingNameError::Character { found, position });
        }
        if text.starts_with('-') || matches!(text, "." | ".." | "control") {
            return Err(MappingNameError::Reserved(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for MappingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_device_mapper_keeps_as_it_is() {
        let name: MappingName = "vol-7f2c.0:=@_#+".parse().unwrap();
        assert_eq!(name.path(), PathBuf::from("/dev/mapper/vol-7f2c.0:=@_#+"));
        assert_eq!("".parse::<MappingName>(), Err(MappingNameError::Empty));
        assert_eq!(
            "v".repeat(128).parse::<MappingName>(),
            Err(MappingNameError::Long(128))
        );
        for (text, found) in [
            ("a/b", '/'),
            ("a b", ' '),
            ("a\nb", '\n'),
            ("a,b", ','),
            ("aüb", 'ü'),
        ] {
            assert_eq!(
                text.parse::<MappingName>(),
                Err(MappingNameError::Character { found, position: 1 })
            );
        }
        for text in ["-v", "--help", ".", "..", "control"] {
            assert_eq!(
                text.parse::<MappingName>(),
                Err(MappingNameError::Reserved(text.to_owned()))
            );
        }
    }
}
