use std::io::{Read, Seek};

use strongroom_secret::Passphrase;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::luks1::{DIGEST, DIGEST_LENGTH, DIGEST_SALT, SALT, SALT_LENGTH};
use crate::luks1_cipher::{Cipher, merge, stretch};
use crate::window::Window;
use crate::{CostLimit, Format, ImageError, Luks1Header};

/// The one cipher and the one hash with which keyslots are opened here.
const CIPHER: &str = "aes-xts-plain64";
const HASH: &str = "sha256";

impl Luks1Header {
    /// Tries a passphrase on every active keyslot of a raw LUKS1 disk and says which one it opens, the first of them.
    ///
    /// Nothing is tried on a header that asks for more than `limit` allows; within it the work is not interrupted. Keyslots are
    /// opened whose cipher is `aes-xts-plain64`, with keys of 256 or 512 bits, and whose hash is `sha256`: those that `cryptsetup`
    /// and QEMU make by themselves, and this crate. The volume key is compared in constant time, wiped, and not given out. Besides the
    /// header, 256 KiB are read for each active keyslot.
    ///
    /// # Errors
    /// [`ImageError::NoKeyslot`] when nothing opens the disk, [`ImageError::WrongPassphrase`] when this does not,
    /// [`ImageError::Unsupported`] for another cipher or hash, [`ImageError::Costly`], and those of [`Luks1Header::read`].
    pub fn opened_by(
        reader: &mut (impl Read + Seek),
        passphrase: &Passphrase,
        limit: &CostLimit,
    ) -> Result<usize, ImageError> {
        let mut window = Window::whole(reader, Format::Luks1)?;
        let header = Self::in_window(&mut window)?;
        header.check_cost(limit)?;
        header.check_supported()?;
        if header.active_keyslots() == 0 {
            return Err(ImageError::NoKeyslot);
        }
        let length = header.key_bytes as usize;
        let digest = window.bytes("volume key digest", DIGEST, DIGEST_LENGTH)?;
        let digest_salt = window.bytes("salt of the digest", DIGEST_SALT, SALT_LENGTH)?;
        for (number, slot) in header.keyslots.iter().enumerate().filter(|(_, s)| s.active) {
            let salt = window.bytes("salt of a keyslot", slot.record.start + SALT, SALT_LENGTH)?;
            let material = usize::try_from(slot.material.end - slot.material.start).unwrap_or(usize::MAX);
            let mut stripes = Zeroizing::new(window.bytes("key material", slot.material.start, material)?);
            let key = stretch(passphrase.expose_secret(), &salt, slot.iterations, length);
            Cipher::new(&key)?.decrypt(&mut stripes);
            let candidate = merge(length, &stripes);
            let found = stretch(&candidate, &digest_salt, header.digest_iterations, DIGEST_LENGTH);
            if bool::from(found.ct_eq(&digest)) {
                return Ok(number);
            }
        }
        Err(ImageError::WrongPassphrase)
    }

    fn check_supported(&self) -> Result<(), ImageError> {
        if self.cipher_spec() != CIPHER {
            return Err(unsupported("cipher", self.cipher_spec()));
        }
        if self.hash != HASH {
            return Err(unsupported("hash", self.hash.clone()));
        }
        if !matches!(self.key_bytes, 32 | 64) {
            return Err(unsupported("key length in bytes", self.key_bytes.to_string()));
        }
        Ok(())
    }
}

fn unsupported(field: &'static str, found: String) -> ImageError {
    ImageError::Unsupported { field, found }
}
