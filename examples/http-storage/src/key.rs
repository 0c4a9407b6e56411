use std::fmt;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use argon2::Argon2;
use hkdf::Hkdf;
use rand::TryRng;
use rand::rngs::SysRng;
use serde::{Deserialize, Deserializer, Serialize};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use crate::StorageError;

const NONCE: usize = 12;
const KEY: usize = 32;
const INFO: &[u8] = b"strongroom http storage 1: key that wraps a volume key";

/// A passphrase as it comes in the body of a request, wiped when dropped.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Secret {
    #[serde(deserialize_with = "wiped")]
    pub(crate) passphrase: Zeroizing<String>,
    /// Whether somebody thought the passphrase up, so that guessing has to be made costly.
    pub(crate) stretch: bool,
}

fn wiped<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(from).map(Zeroizing::new)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The key of a volume's blocks, as it is kept: under a key that comes from the passphrase. Random bytes in hexadecimal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WrappedKey {
    stretch: bool,
    salt: String,
    nonce: String,
    sealed: String,
}

impl WrappedKey {
    /// Makes a new key for the blocks of a volume and wraps it.
    pub(crate) fn generate(volume: &str, secret: &Secret) -> Result<Self, StorageError> {
        let mut fresh = Zeroizing::new([0; KEY + KEY + NONCE]);
        SysRng
            .try_fill_bytes(fresh.as_mut())
            .map_err(|_| StorageError::Random)?;
        let (key, rest) = fresh.split_at(KEY);
        let (salt, nonce) = rest.split_at(KEY);
        let wrapping = wrapping_key(volume, secret, secret.stretch, salt)?;
        let payload = Payload {
            msg: key,
            aad: volume.as_bytes(),
        };
        let sealed = Nonce::try_from(nonce)
            .ok()
            .and_then(|nonce| cipher(wrapping.as_slice())?.encrypt(&nonce, payload).ok())
            .ok_or_else(|| damaged(volume))?;
        Ok(Self {
            stretch: secret.stretch,
            salt: hex::encode(salt),
            nonce: hex::encode(nonce),
            sealed: hex::encode(sealed),
        })
    }

    /// The cipher for the blocks of the volume, if this is its passphrase.
    pub(crate) fn open(&self, volume: &str, secret: &Secret) -> Result<Aes256Gcm, StorageError> {
        let bytes = |text: &str| hex::decode(text).map_err(|_| damaged(volume));
        let (salt, nonce, sealed) = (bytes(&self.salt)?, bytes(&self.nonce)?, bytes(&self.sealed)?);
        let wrapping = wrapping_key(volume, secret, self.stretch, &salt)?;
        let nonce = Nonce::try_from(nonce.as_slice()).map_err(|_| damaged(volume))?;
        let payload = Payload {
            msg: &sealed,
            aad: volume.as_bytes(),
        };
        let key = cipher(wrapping.as_slice())
            .and_then(|c| c.decrypt(&nonce, payload).ok())
            .map(Zeroizing::new)
            .ok_or_else(|| StorageError::WrongKey(volume.to_owned()))?;
        cipher(&key).ok_or_else(|| damaged(volume))
    }
}

/// HKDF-SHA256 (RFC 5869) for a passphrase of 256 random bits, Argon2id (RFC 9106) with the crate's default cost for any other.
fn wrapping_key(
    volume: &str,
    secret: &Secret,
    stretch: bool,
    salt: &[u8],
) -> Result<Zeroizing<[u8; KEY]>, StorageError> {
    let mut key = Zeroizing::new([0; KEY]);
    let passphrase = secret.passphrase.as_bytes();
    if stretch {
        Argon2::default()
            .hash_password_into(passphrase, salt, key.as_mut())
            .map_err(|_| damaged(volume))?;
    } else {
        let (mut extracted, hkdf) = Hkdf::<Sha256>::extract(Some(salt), passphrase);
        extracted.as_mut_slice().zeroize();
        hkdf.expand(INFO, key.as_mut()).map_err(|_| damaged(volume))?;
    }
    Ok(key)
}

fn cipher(key: &[u8]) -> Option<Aes256Gcm> {
    <&Key<Aes256Gcm>>::try_from(key).ok().map(Aes256Gcm::new)
}

fn damaged(volume: &str) -> StorageError {
    StorageError::Damaged {
        volume: volume.to_owned(),
        what: "its wrapped key is no such thing".to_owned(),
    }
}
