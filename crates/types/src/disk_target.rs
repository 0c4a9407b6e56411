use std::fmt;
use std::str::FromStr;

/// The name of a virtio disk in a virtual machine: `vda` to `vdz`, then `vdaa` to `vdzz`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub struct DiskTarget(String);

impl DiskTarget {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DiskTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A text that is no name of a virtio disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a virtio disk: vd and one or two letters, such as vda")]
pub struct ParseDiskTargetError(String);

impl FromStr for DiskTarget {
    type Err = ParseDiskTargetError;
    fn from_str(text: &str) -> Result<Self, ParseDiskTargetError> {
        let letters = text.strip_prefix("vd").unwrap_or_default();
        if (1..=2).contains(&letters.len()) && letters.bytes().all(|b| b.is_ascii_lowercase()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseDiskTargetError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for DiskTarget {
    type Error = ParseDiskTargetError;
    fn try_from(text: String) -> Result<Self, ParseDiskTargetError> {
        text.parse()
    }
}

impl From<DiskTarget> for String {
    fn from(target: DiskTarget) -> Self {
        target.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtio_names_are_taken_and_others_are_not() {
        for text in ["vda", "vdz", "vdaa", "vdzz"] {
            assert_eq!(text.parse::<DiskTarget>().unwrap().as_str(), text);
        }
        for text in ["", "vd", "sda", "vdA", "vdaaa", "vd1", "vda ", "xvda", "vd/"] {
            assert_eq!(
                text.parse::<DiskTarget>(),
                Err(ParseDiskTargetError(text.to_owned()))
            );
        }
    }
}
