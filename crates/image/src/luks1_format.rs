use std::io::{Seek, SeekFrom, Write};
use std::ops::RangeInclusive;

use rand::TryRng;
use rand::rngs::SysRng;
use strongroom_secret::Passphrase;
use strongroom_types::{PayloadOffset, SECTOR};
use zeroize::Zeroizing;

use crate::luks1::{
    ACTIVE, CIPHER, DIGEST, DIGEST_ITERATIONS, DIGEST_LENGTH, DIGEST_SALT, DISABLED, FIRST_SLOT, HASH,
    KEY_BYTES, MODE, PAGE, PAYLOAD, SALT, SALT_LENGTH, SLOT_LENGTH, STRIPES, UUID,
};
use crate::luks1_cipher::{Cipher, split, stretch};
use crate::magic::LUKS;
use crate::{Format, ImageError};

/// The volume key: two keys of AES-256.
const KEY_LENGTH: usize = 64;

/// What the key material of one keyslot takes, rounded up to whole pages.
const MATERIAL: u64 = (KEY_LENGTH as u64 * STRIPES as u64).next_multiple_of(PAGE);

/// The iterations of the digest, the least of the specification. What it digests is random.
const DIGESTED: u32 = 1000;

/// A new LUKS1 header with one keyslot: AES-256 in the mode `xts-plain64`, SHA-256, 4000 stripes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Luks1Format {
    uuid: String,
    iterations: u32,
    payload_offset: PayloadOffset,
}

impl Luks1Format {
    /// The iterations that a keyslot may have: from the least of the specification up to what all eight together may cost
    /// within the [limits](crate::CostLimit) that are the default.
    pub const ITERATIONS: RangeInclusive<u32> = 1000..=10_000_000;

    /// Where the last of eight keyslots ends, in bytes: the payload begins there or later.
    pub const HEADER_END: u64 = PAGE + 8 * MATERIAL;

    /// A header of this UUID, whose passphrase costs this many iterations of PBKDF2 to try, before a payload that begins at this
    /// place. A passphrase of 256 random bits needs no more than the least.
    ///
    /// # Errors
    /// [`ImageError::Field`] when there are fewer or more iterations than [`Self::ITERATIONS`], or the payload would begin before
    /// [`Self::HEADER_END`] or too far behind for its field of 32 bits.
    pub fn new(uuid: [u8; 16], iterations: u32, payload_offset: PayloadOffset) -> Result<Self, ImageError> {
        let odd = |field, found: u64, rule| Err(ImageError::field(Format::Luks1, field, found, rule));
        if !Self::ITERATIONS.contains(&iterations) {
            return odd(
                "iterations of a keyslot",
                iterations.into(),
                "there are 1000 to 10000000",
            );
        }
        let begin = payload_offset.get();
        if begin < Self::HEADER_END || u32::try_from(begin / SECTOR).is_err() {
            return odd(
                "payload offset",
                begin,
                "the payload begins behind the keyslots, and its sector is a number of 32 bits",
            );
        }
        Ok(Self {
            uuid: text(uuid),
            iterations,
            payload_offset,
        })
    }

    /// Writes the header for a volume key that is made now and known to nobody.
    ///
    /// The key material of the first keyslot is written before the header, so that what is there after a failure is no header. The places
    /// of the other keyslots are not written. Nothing is read, and nothing is synced: that the disk is one that nobody needs, and
    /// that all of this gets to stable storage, is the caller's matter.
    ///
    /// # Errors
    /// [`ImageError::Random`] before anything is written, and [`ImageError::Write`].
    pub fn write(&self, disk: &mut (impl Write + Seek), passphrase: &Passphrase) -> Result<(), ImageError> {
        let volume_key = random(KEY_LENGTH)?;
        let (salt, digest_salt) = (random(SALT_LENGTH)?, random(SALT_LENGTH)?);
        let mut stripes = random(KEY_LENGTH * STRIPES as usize)?;
        split(&volume_key, &mut stripes)?;
        let key = stretch(passphrase.expose_secret(), &salt, self.iterations, KEY_LENGTH);
        Cipher::new(&key)?.encrypt(&mut stripes);
        let digest = stretch(&volume_key, &digest_salt, DIGESTED, DIGEST_LENGTH);
        let page = self.page(&salt, &digest, &digest_salt);

        write_at(disk, "key material", PAGE, &stripes)?;
        write_at(disk, "header", 0, &page)
    }

    /// The first page: header and zeros.
    fn page(&self, salt: &[u8], digest: &[u8], digest_salt: &[u8]) -> Vec<u8> {
        let mut page = vec![0; PAGE as usize];
        let mut put = |at: usize, bytes: &[u8]| {
            for (to, from) in page.iter_mut().skip(at).zip(bytes) {
                *to = *from;
            }
        };
        let sector = |bytes: u64| u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX).to_be_bytes();
        put(0, &LUKS);
        put(LUKS.len(), &1u16.to_be_bytes());
        put(CIPHER, b"aes");
        put(MODE, b"xts-plain64");
        put(HASH, b"sha256");
        put(PAYLOAD, &sector(self.payload_offset.get()));
        put(KEY_BYTES, &(KEY_LENGTH as u32).to_be_bytes());
        put(DIGEST as usize, digest);
        put(DIGEST_SALT as usize, digest_salt);
        put(DIGEST_ITERATIONS, &DIGESTED.to_be_bytes());
        put(UUID, self.uuid.as_bytes());
        for (number, at) in (0..8).zip((FIRST_SLOT..).step_by(SLOT_LENGTH)) {
            let (state, iterations) = match number {
                0 => (ACTIVE, self.iterations),
                _ => (DISABLED, 0),
            };
            put(at, &state.to_be_bytes());
            put(at + 4, &iterations.to_be_bytes());
            if number == 0 {
                put(at + SALT as usize, salt);
            }
            put(at + 40, &sector(PAGE + number * MATERIAL));
            put(at + 44, &STRIPES.to_be_bytes());
        }
        page
    }
}

fn write_at(
    disk: &mut (impl Write + Seek),
    what: &'static str,
    at: u64,
    bytes: &[u8],
) -> Result<(), ImageError> {
    disk.seek(SeekFrom::Start(at))
        .and_then(|_| disk.write_all(bytes))
        .and_then(|()| disk.flush())
        .map_err(|source| ImageError::Write { what, source })
}

/// From the operating system.
fn random(length: usize) -> Result<Zeroizing<Vec<u8>>, ImageError> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|_| ImageError::Random)?;
    Ok(bytes)
}

/// Digits in groups of 8, 4, 4, 4 and 12.
fn text(uuid: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(uuid));
    let (mut text, mut rest) = (String::with_capacity(36), digits.as_str());
    for length in [8, 4, 4, 4, 12] {
        let (group, behind) = rest.split_at(length);
        if !text.is_empty() {
            text.push('-');
        }
        text.push_str(group);
        rest = behind;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Cursor};

    fn format() -> Luks1Format {
        let uuid = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128.to_be_bytes();
        Luks1Format::new(uuid, 1000, PayloadOffset::LUKS1_CRYPTSETUP).unwrap()
    }

    #[test]
    fn a_uuid_is_written_with_hyphens() {
        assert_eq!(format().uuid, "01234567-89ab-cdef-0123-456789abcdef");
        assert_eq!(text([0; 16]), "00000000-0000-0000-0000-000000000000");
    }

    #[test]
    fn what_no_tool_would_take_is_refused() {
        let offset = |bytes| PayloadOffset::new(bytes).unwrap();
        let end = Luks1Format::HEADER_END;
        for (iterations, payload, field) in [
            (999, end, "iterations of a keyslot"),
            (10_000_001, end, "iterations of a keyslot"),
            (1000, end - 512, "payload offset"),
            (1000, 0, "payload offset"),
            (1000, 1 << 41, "payload offset"),
        ] {
            match Luks1Format::new([1; 16], iterations, offset(payload)) {
                Err(ImageError::Field { field: found, .. }) => assert_eq!(found, field),
                other => panic!("{other:?}"),
            }
        }
        Luks1Format::new([1; 16], 1000, offset(end)).unwrap();
    }

    /// Takes so many bytes and then no more.
    struct Full(Cursor<Vec<u8>>, usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let some = bytes.len().min(self.1);
            self.1 -= some;
            match some {
                0 => Err(io::ErrorKind::StorageFull.into()),
                _ => self.0.write(&bytes[..some]),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seek for Full {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    #[test]
    fn a_disk_that_is_full_in_the_middle_has_no_header() {
        let key = Passphrase::generate().unwrap();
        for room in [0, 100, 256_000] {
            let mut disk = Full(Cursor::new(vec![0; 3 << 20]), room);
            match format().write(&mut disk, &key) {
                Err(ImageError::Write { source, .. }) => {
                    assert_eq!(source.kind(), io::ErrorKind::StorageFull)
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(disk.0.get_ref().get(..4096), Some(&[0; 4096][..]), "{room}");
        }
    }
}
