use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::KekError;

/// Names a key-encryption key: 1 to 128 printable ASCII characters without spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KekId(String);

impl KekId {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KekId {
    type Err = KekError;

    fn from_str(text: &str) -> Result<Self, KekError> {
        let legal = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if legal {
            Ok(Self(text.to_owned()))
        } else {
            Err(KekError::Id { length: text.len() })
        }
    }
}

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A key that seals passphrases: a file, a token, a service.
///
/// Required of implementors: what is sealed opens only with the same key, the same version and the same additional data,
/// every other combination is an error; sealed bytes of equally long plaintexts are equally long; no key material and no
/// plaintext in errors or `Debug`.
pub trait KeyEncryptionKey: Send + Sync + fmt::Debug {
    /// Which key it is.
    fn id(&self) -> &KekId;

    /// The version that seals.
    fn version(&self) -> u32;

    /// Seals `plaintext` so that it opens only with the same `additional` data.
    ///
    /// # Errors
    /// [`KekError`] when the key cannot be used now.
    fn seal(&self, plaintext: &[u8], additional: &[u8]) -> Result<Vec<u8>, KekError>;

    /// Opens what [`seal`](Self::seal) made under this version.
    ///
    /// # Errors
    /// [`KekError::Unseal`] when the bytes were changed or sealed otherwise.
    fn unseal(&self, version: u32, sealed: &[u8], additional: &[u8]) -> Result<Zeroizing<Vec<u8>>, KekError>;
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<K: KeyEncryptionKey + ?Sized> KeyEncryptionKey for $pointer {
            fn id(&self) -> &KekId {
                (**self).id()
            }
            fn version(&self) -> u32 {
                (**self).version()
            }
            fn seal(&self, plaintext: &[u8], additional: &[u8]) -> Result<Vec<u8>, KekError> {
                (**self).seal(plaintext, additional)
            }
            fn unseal(&self, version: u32, sealed: &[u8], additional: &[u8]) -> Result<Zeroizing<Vec<u8>>, KekError> {
                (**self).unseal(version, sealed, additional)
            }
        }
    )+};
}
forward!(&K, Box<K>, std::sync::Arc<K>);
