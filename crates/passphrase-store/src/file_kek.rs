use std::path::Path;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use hkdf::Hkdf;
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::key_file::{self, KEY};
use crate::{KekError, KekId, KeyEncryptionKey};

/// A key-encryption key of 256 bits in a file that only its owner may use.
///
/// It seals each record with AES-256-GCM under a key of its own, derived with HKDF-SHA256. The formats of the file and of what
/// it seals are written down in `docs/sealed-records.md`.
///
/// The key lies in one heap buffer that is wiped on drop. There is no copying it:
///
/// ```compile_fail,E0277
/// fn copied<T: Clone>() {}
/// copied::<strongroom_passphrase_store::FileKek>();
/// ```
pub struct FileKek {
    id: KekId,
    key: Box<Zeroizing<[u8; KEY]>>,
}

/// Bytes of salt, commitment and nonce before the ciphertext.
const SALT: usize = 32;
const COMMITMENT: usize = 32;
const NONCE: usize = 12;
const INFO: &[u8] = b"strongroom sealed passphrase 1: key and commitment";
/// The only version that a key file has: another key is another file.
const VERSION: u32 = 1;

impl FileKek {
    /// Makes a new key in a new file of mode 0600. The file is there in full or not at all, and on disk when this returns. What
    /// has that name already stays as it is.
    ///
    /// # Errors
    /// [`KekError::Exists`] when anything has that name; [`KekError::File`], [`KekError::Random`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self, KekError> {
        key_file::create(path.as_ref()).map(|(id, key)| Self { id, key })
    }

    /// Opens a key file. Refuses a symlink, a file with a second name, one that others may use, one of another owner, and one
    /// of which a single byte was changed.
    ///
    /// # Errors
    /// [`KekError`], which says what to do.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, KekError> {
        key_file::open(path.as_ref()).map(|(id, key)| Self { id, key })
    }

    /// The key and the commitment for one record: HKDF-SHA256 (RFC 5869) over the key with the record's own salt.
    fn derive(&self, salt: &[u8]) -> Result<Box<Zeroizing<[u8; KEY + COMMITMENT]>>, KekError> {
        let mut both = Box::new(Zeroizing::new([0; KEY + COMMITMENT]));
        let (mut extracted, hkdf) = Hkdf::<Sha256>::extract(Some(salt), self.key.as_slice());
        extracted.as_mut_slice().zeroize();
        hkdf.expand(INFO, both.as_mut_slice())
            .map_err(|_| KekError::Unseal)?;
        Ok(both)
    }

    fn cipher(derived: &[u8; KEY + COMMITMENT]) -> Result<Aes256Gcm, KekError> {
        let key = derived
            .get(..KEY)
            .and_then(|k| <&Key<Aes256Gcm>>::try_from(k).ok())
            .ok_or(KekError::Unseal)?;
        Ok(Aes256Gcm::new(key))
    }
}

impl KeyEncryptionKey for FileKek {
    fn id(&self) -> &KekId {
        &self.id
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn seal(&self, plaintext: &[u8], additional: &[u8]) -> Result<Vec<u8>, KekError> {
        let mut fresh = [0; SALT + NONCE];
        SysRng.try_fill_bytes(&mut fresh).map_err(|_| KekError::Random)?;
        let (salt, nonce) = fresh.split_at(SALT);
        let derived = self.derive(salt)?;
        let nonce = Nonce::try_from(nonce).map_err(|_| KekError::Unseal)?;
        let sealed = Self::cipher(&derived)?
            .encrypt(
                &nonce,
                Payload {
                    msg: plaintext,
                    aad: additional,
                },
            )
            .map_err(|_| KekError::Unseal)?;
        Ok([
            salt,
            derived.get(KEY..).unwrap_or_default(),
            nonce.as_slice(),
            &sealed,
        ]
        .concat())
    }

    fn unseal(&self, version: u32, sealed: &[u8], additional: &[u8]) -> Result<Zeroizing<Vec<u8>>, KekError> {
        if version != VERSION {
            return Err(KekError::Version {
                sealed_by: version,
                have: VERSION,
            });
        }
        let (salt, rest) = sealed.split_at_checked(SALT).ok_or(KekError::Unseal)?;
        let (commitment, rest) = rest.split_at_checked(COMMITMENT).ok_or(KekError::Unseal)?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE).ok_or(KekError::Unseal)?;
        let derived = self.derive(salt)?;
        let expected = derived.get(KEY..).unwrap_or_default();
        // All bytes are compared, so that the time tells nothing about where the first difference is.
        let different = expected
            .iter()
            .zip(commitment)
            .fold(0, |all, (one, other)| all | (one ^ other));
        if different != 0 {
            return Err(KekError::Unseal);
        }
        let nonce = Nonce::try_from(nonce).map_err(|_| KekError::Unseal)?;
        Self::cipher(&derived)?
            .decrypt(
                &nonce,
                Payload {
                    msg: ciphertext,
                    aad: additional,
                },
            )
            .map(Zeroizing::new)
            .map_err(|_| KekError::Unseal)
    }
}

impl std::fmt::Debug for FileKek {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileKek")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
