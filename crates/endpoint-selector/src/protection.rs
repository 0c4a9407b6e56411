use strongroom_secret::Passphrase;
use strongroom_types::EncryptionFormat;

/// Which side of the cipher a disk is on, with the key where there is one.
///
/// There is no default and no "encrypted without a key": whoever makes or opens a disk says which of the two it is.
#[derive(Debug, Clone, Copy)]
pub enum Protection<'k> {
    /// The disk is not encrypted, and that is meant.
    Plain,
    /// The disk is encrypted with LUKS.
    Luks {
        /// Which LUKS.
        format: EncryptionFormat,
        /// What opens it, borrowed for the length of the call.
        key: &'k Passphrase,
    },
}

impl<'k> Protection<'k> {
    /// The encryption format; `None` for a plain disk.
    #[must_use]
    pub fn format(&self) -> Option<EncryptionFormat> {
        match self {
            Self::Plain => None,
            Self::Luks { format, .. } => Some(*format),
        }
    }

    /// The passphrase; `None` for a plain disk.
    #[must_use]
    pub fn key(&self) -> Option<&'k Passphrase> {
        match self {
            Self::Plain => None,
            Self::Luks { key, .. } => Some(key),
        }
    }
}
