use std::fmt;
use std::str::FromStr;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseIdError {
    /// The text was empty or longer than 64 bytes.
    #[error("an id has 1 to 64 characters, this has {0}")]
    Length(usize),
    /// The text has a character that ids do not have.
    #[error(
        "an id consists of a-z, 0-9, '-' and '_', and begins with a letter or digit; found {0:?} at position {1}"
    )]
    Character(char, usize),
}

/// Ids become file names on file systems that fold case, parts of object names in QEMU and keys in a database. The
/// common subset of what all of them keep apart is small, so the check is strict.
fn check(text: &str) -> Result<(), ParseIdError> {
    if text.is_empty() || text.len() > 64 {
        return Err(ParseIdError::Length(text.chars().count()));
    }
    for (position, c) in text.chars().enumerate() {
        let inner = position > 0 && matches!(c, '-' | '_');
        if !(c.is_ascii_lowercase() || c.is_ascii_digit() || inner) {
            return Err(ParseIdError::Character(c, position));
        }
    }
    Ok(())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1 to 64 characters of `a-z`, `0-9`, `-` and `_`, beginning with a letter or digit: safe as a file name on
        /// file systems that fold case.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
        pub struct $name(String);

        impl $name {
            /// A new id that no other has: a random UUID (version 4).
            #[must_use]
            pub fn random() -> Self {
                Self(uuid::Uuid::new_v4().to_string())
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                check(text).map(|()| Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;
            fn try_from(text: String) -> Result<Self, ParseIdError> {
                check(&text).map(|()| Self(text))
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

id!(
    /// Names a volume.
    VolumeId
);
id!(
    /// Names a snapshot of a volume.
    SnapshotId
);
id!(
    /// Names a template: an image from which volumes are made.
    TemplateId
);
id!(
    /// Names a storage pool.
    PoolId
);
id!(
    /// Names a host that does storage work or runs virtual machines.
    HostId
);
id!(
    /// Names a group of hosts that share storage.
    ClusterId
);
id!(
    /// Names a group of clusters.
    ZoneId
);
id!(
    /// Names a disk offering.
    OfferingId
);
id!(
    /// Names a passphrase in a store. It says nothing about the passphrase itself.
    PassphraseId
);
id!(
    /// Names an installation: one set of records of volumes and keys.
    InstallationId
);
id!(
    /// Names a piece of recorded work.
    JobId
);
id!(
    /// Names a virtual machine.
    VmId
);
id!(
    /// Names an instant of a virtual machine's disks, after which changes are known.
    CheckpointId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_names_and_uuids() {
        for text in [
            "a",
            "vol-1",
            "0a_b",
            "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
            &"x".repeat(64),
        ] {
            assert_eq!(text.parse::<VolumeId>().unwrap().as_str(), text);
        }
        assert_ne!(VolumeId::random(), VolumeId::random());
    }

    #[test]
    fn refuses_what_a_file_system_or_qemu_could_misread() {
        for text in [
            "",
            "-rf",
            "_x",
            "A",
            "a/b",
            "..",
            "a,b",
            "json:{",
            "a\n",
            "ä",
            "a b",
            "a\0",
            &"x".repeat(65),
        ] {
            text.parse::<VolumeId>().unwrap_err();
        }
        assert_eq!(
            "volA".parse::<PoolId>().unwrap_err(),
            ParseIdError::Character('A', 3)
        );
        assert_eq!("".parse::<PoolId>().unwrap_err(), ParseIdError::Length(0));
    }
}
