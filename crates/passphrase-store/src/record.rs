use std::fmt;
use std::str::FromStr;

use strongroom_types::{PassphraseId, VolumeId};

use crate::KekId;
use crate::printable::Printable;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// The word that is stored and shown.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;
            /// # Errors
            /// The unknown word.
            fn from_str(text: &str) -> Result<Self, String> {
                match text { $($text => Ok(Self::$variant),)+ other => Err(other.to_owned()) }
            }
        }
    };
}

words! {
    /// What a passphrase is for. It is bound into the seal: a record whose purpose was changed does not open.
    Purpose {
        /// Opens a volume.
        Volume = "volume",
        /// Opens a backup.
        Backup = "backup",
    }
}

words! {
    /// What may refer to a passphrase, because the passphrase opens it. Kinds are ordered as their words are.
    OwnerKind {
        /// A backup.
        Backup = "backup",
        /// A copy of a LUKS header.
        HeaderBackup = "header-backup",
        /// A snapshot, inside its volume or outside.
        Snapshot = "snapshot",
        /// A template.
        Template = "template",
        /// A volume.
        Volume = "volume",
    }
}

/// Something that a passphrase opens. It is shown in one line: what does not print in its id is escaped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// What kind of thing it is.
    pub kind: OwnerKind,
    /// Its id: any text.
    pub id: String,
}

impl Owner {
    /// The thing of this kind and id.
    #[must_use]
    pub fn new(kind: OwnerKind, id: impl Into<String>) -> Self {
        Self { kind, id: id.into() }
    }

    /// A volume.
    #[must_use]
    pub fn volume(id: &VolumeId) -> Self {
        Self::new(OwnerKind::Volume, id.as_str())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, Printable(&self.id))
    }
}

/// A sealed passphrase with all that its seal is bound to. The sealed bytes have the same size whatever the passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealedRecord {
    /// Its name.
    pub id: PassphraseId,
    /// Whose it is, where several parties share a store ([`Keyring::for_tenant`](crate::Keyring::for_tenant)); empty otherwise.
    pub tenant: String,
    /// The volume that it was made for.
    pub volume: VolumeId,
    /// What it is for.
    pub purpose: Purpose,
    /// The key that sealed it.
    pub kek: KekId,
    /// Which version of that key.
    pub kek_version: u32,
    /// The sealed bytes.
    pub sealed: Vec<u8>,
}

impl SealedRecord {
    /// A record from its parts, as a backend reads them.
    #[must_use]
    pub fn new(
        id: PassphraseId,
        tenant: String,
        volume: VolumeId,
        purpose: Purpose,
        kek: KekId,
        kek_version: u32,
        sealed: Vec<u8>,
    ) -> Self {
        Self {
            id,
            tenant,
            volume,
            purpose,
            kek,
            kek_version,
            sealed,
        }
    }
}
