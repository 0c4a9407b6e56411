//! The primitives of a LUKS1 keyslot: PBKDF2, AES-XTS with the sector's number, and the anti-forensic stripes.

use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};
use aes::{Aes128, Aes256};
use sha2::{Digest, Sha256};
use strongroom_types::SECTOR;
use xts_mode::{Xts128, get_tweak_default};
use zeroize::Zeroizing;

use crate::luks1::STRIPES;
use crate::{Format, ImageError};

/// The bytes that one hash of the diffusion gives, those of SHA-256.
const BLOCK: usize = 32;

/// PBKDF2 with HMAC-SHA-256.
pub(crate) fn stretch(secret: &[u8], salt: &[u8], iterations: u32, length: usize) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(vec![0; length]);
    pbkdf2::pbkdf2_hmac::<Sha256>(secret, salt, iterations, &mut key);
    key
}

/// AES in the mode `xts-plain64`, with a key for AES-128 or AES-256. The sectors are counted from 0.
pub(crate) enum Cipher {
    Aes128(Box<Xts128<Aes128>>),
    Aes256(Box<Xts128<Aes256>>),
}

impl Cipher {
    /// An error for a key that has neither 32 nor 64 bytes.
    pub(crate) fn new(key: &[u8]) -> Result<Self, ImageError> {
        let cipher = match key.len() {
            32 => xts(key).map(Box::new).map(Self::Aes128),
            64 => xts(key).map(Box::new).map(Self::Aes256),
            _ => None,
        };
        cipher.ok_or_else(|| ImageError::Unsupported {
            field: "key length in bytes",
            found: key.len().to_string(),
        })
    }

    /// Encrypts whole sectors.
    pub(crate) fn encrypt(&self, sectors: &mut [u8]) {
        debug_assert_eq!(sectors.len() as u64 % SECTOR, 0);
        match self {
            Self::Aes128(xts) => xts.encrypt_area(sectors, SECTOR as usize, 0, get_tweak_default),
            Self::Aes256(xts) => xts.encrypt_area(sectors, SECTOR as usize, 0, get_tweak_default),
        }
    }

    /// Decrypts whole sectors.
    pub(crate) fn decrypt(&self, sectors: &mut [u8]) {
        debug_assert_eq!(sectors.len() as u64 % SECTOR, 0);
        match self {
            Self::Aes128(xts) => xts.decrypt_area(sectors, SECTOR as usize, 0, get_tweak_default),
            Self::Aes256(xts) => xts.decrypt_area(sectors, SECTOR as usize, 0, get_tweak_default),
        }
    }
}

fn xts<C>(key: &[u8]) -> Option<Xts128<C>>
where
    C: KeyInit + BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16>,
{
    let (data, tweak) = key.split_at(key.len() / 2);
    Some(Xts128::new(
        C::new_from_slice(data).ok()?,
        C::new_from_slice(tweak).ok()?,
    ))
}

/// Puts a key into the last of the stripes, of which all others are random: it takes all of them to get it back. An error, and no
/// change, where there is no room for exactly all of them.
pub(crate) fn split(key: &[u8], stripes: &mut [u8]) -> Result<(), ImageError> {
    let (have, need) = (stripes.len() as u64, key.len() as u64 * u64::from(STRIPES));
    let mut diffused = gather(key.len(), stripes);
    xor(&mut diffused, key);
    let last = stripes.rchunks_exact_mut(key.len().max(1)).next();
    let Some(last) = last.filter(|_| have == need) else {
        return Err(ImageError::Truncated {
            format: Format::Luks1,
            what: "key material",
            need,
            have,
        });
    };
    last.copy_from_slice(&diffused);
    Ok(())
}

/// Gets the key of this length out of its stripes.
pub(crate) fn merge(length: usize, stripes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut key = gather(length, stripes);
    let last = stripes.chunks_exact(length).nth(STRIPES as usize - 1);
    xor(&mut key, last.unwrap_or_default());
    key
}

/// What all stripes but the last one come to.
fn gather(length: usize, stripes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut gathered = Zeroizing::new(vec![0; length]);
    for stripe in stripes.chunks_exact(length).take(STRIPES as usize - 1) {
        xor(&mut gathered, stripe);
        diffuse(&mut gathered);
    }
    gathered
}

fn xor(into: &mut [u8], with: &[u8]) {
    for (to, from) in into.iter_mut().zip(with) {
        *to ^= from;
    }
}

/// Replaces each block of the size of a hash by the hash of its number and itself.
fn diffuse(bytes: &mut [u8]) {
    for (number, block) in (0u32..).zip(bytes.chunks_mut(BLOCK)) {
        let mut hash: [u8; BLOCK] = Sha256::new()
            .chain_update(number.to_be_bytes())
            .chain_update(&block)
            .finalize()
            .into();
        for (to, from) in block.iter_mut().zip(hash) {
            *to = from;
        }
        zeroize::Zeroize::zeroize(&mut hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn pbkdf2_gives_what_rfc_7914_says() {
        // Section 11: PBKDF2-HMAC-SHA-256 (P="passwd", S="salt", c=1, dkLen=64) and (P="Password", S="NaCl", c=80000, dkLen=64).
        assert_eq!(
            hex(&stretch(b"passwd", b"salt", 1, 64)),
            "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc\
             49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"
        );
        assert_eq!(
            hex(&stretch(b"Password", b"NaCl", 80_000, 64)),
            "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56\
             a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d"
        );
    }

    #[test]
    fn aes_xts_gives_what_ieee_1619_says() {
        // Vector 4: AES-128, sector 0, plaintext 00 to ff twice.
        let key: Vec<u8> = [
            0x2718_2818_2845_9045_2353_6028_7471_3526_u128,
            0x3141_5926_5358_9793_2384_6264_3383_2795,
        ]
        .iter()
        .flat_map(|half| half.to_be_bytes())
        .collect();
        let plain: Vec<u8> = (0..=255u8).chain(0..=255).collect();
        let mut sector = plain.clone();
        let cipher = Cipher::new(&key).unwrap();
        cipher.encrypt(&mut sector);
        assert_eq!(
            hex(&sector[..32]),
            "27a7479befa1d476489f308cd4cfa6e2a96e4bbe3208ff25287dd3819616e89c"
        );
        cipher.decrypt(&mut sector);
        assert_eq!(sector, plain);
    }

    #[test]
    fn another_sector_has_another_ciphertext_and_256_bits_are_another_cipher() {
        let mut sectors = vec![7; 1024];
        Cipher::new(&[1; 64]).unwrap().encrypt(&mut sectors);
        assert_ne!(sectors.get(..512), sectors.get(512..));
        let mut short = vec![7; 512];
        Cipher::new(&[1; 32]).unwrap().encrypt(&mut short);
        assert_ne!(sectors.get(..512), short.get(..));
    }

    #[test]
    fn what_cannot_be_encrypted_or_split_is_an_error_and_not_left_in_clear() {
        for length in [0, 16, 48, 65] {
            match Cipher::new(&vec![1; length]) {
                Err(ImageError::Unsupported { found, .. }) => assert_eq!(found, length.to_string()),
                other => panic!("{length}: {:?}", other.map(drop)),
            }
        }
        for stripes in [0, 1, 3999, 4001] {
            let before = vec![3; 64 * stripes];
            let mut after = before.clone();
            match split(&[7; 64], &mut after) {
                Err(ImageError::Truncated { need, have, .. }) => {
                    assert_eq!((need, have), (64 * 4000, 64 * stripes as u64));
                }
                other => panic!("{stripes}: {other:?}"),
            }
            assert!(after == before, "{stripes}");
        }
    }

    #[test]
    fn a_key_comes_back_from_all_of_its_stripes_and_from_nothing_less() {
        for length in [32, 64] {
            let key: Vec<u8> = (0..length).collect();
            let mut stripes: Vec<u8> = (0..usize::from(length) * 4000)
                .map(|i| ((i * 31) >> 3) as u8)
                .collect();
            split(&key, &mut stripes).unwrap();
            assert_eq!(*merge(key.len(), &stripes), key);
            for changed in [0, 63, 100_000, stripes.len() - 1] {
                let mut damaged = stripes.clone();
                damaged[changed] ^= 1;
                assert_ne!(*merge(key.len(), &damaged), key, "{changed}");
            }
        }
    }
}
