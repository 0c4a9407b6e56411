//! Which of the two copies of a LUKS2 header counts, by "LUKS2 On-Disk Format Specification" 1.1.2, chapter 2: the whole one
//! with the greater sequence number, the first when these are equal.

use sha2::{Digest, Sha256};

use crate::CryptsetupError;
use crate::content::LUKS_MAGIC;
use crate::disk::Disk;
use crate::luks2::{Identity, identity};

/// The length of the binary part of a copy, and places in it, in bytes.
pub(crate) const BINARY: usize = 4096;
const VERSION: u64 = 2;
const ALGORITHM: &[u8] = b"sha256\0";
const CHECKSUM: usize = 448;
const CHECKSUM_LENGTH: usize = 64;

pub(crate) const SECOND_MAGIC: &[u8; 6] = b"SKUL\xba\xbe";

/// The sizes that a copy may have, which are the places where a second copy can be.
pub(crate) const SIZES: [u64; 9] = [
    16 << 10,
    32 << 10,
    64 << 10,
    128 << 10,
    256 << 10,
    512 << 10,
    1 << 20,
    2 << 20,
    4 << 20,
];

/// A copy whose checksum is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderCopy {
    pub(crate) identity: Identity,
    sequence: u64,
    size: u64,
}

/// What is left of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// The copy that counts.
    Whole(HeaderCopy),
    /// At least one copy is there, and none is whole.
    Damaged,
    /// No copy is there.
    Nothing,
}

/// Looks for the copy that counts. The second one is where the first says, or in one of the nine places.
pub(crate) fn counting(disk: &Disk) -> Result<Found, CryptsetupError> {
    let first = copy_at(disk, LUKS_MAGIC, 0)?;
    let places = match &first {
        Found::Whole(copy) => vec![copy.size],
        Found::Damaged | Found::Nothing => SIZES.to_vec(),
    };
    let mut second = Found::Nothing;
    for place in places {
        match copy_at(disk, SECOND_MAGIC, place)? {
            Found::Nothing => {}
            Found::Damaged => second = Found::Damaged,
            whole @ Found::Whole(_) => {
                second = whole;
                break;
            }
        }
    }
    Ok(match (first, second) {
        (Found::Whole(first), Found::Whole(second)) if second.sequence > first.sequence => {
            Found::Whole(second)
        }
        (Found::Whole(copy), _) | (_, Found::Whole(copy)) => Found::Whole(copy),
        (Found::Nothing, Found::Nothing) => Found::Nothing,
        _ => Found::Damaged,
    })
}

fn copy_at(disk: &Disk, magic: &[u8; 6], offset: u64) -> Result<Found, CryptsetupError> {
    let mut start = [0; 16];
    let have = disk.read_at(offset, &mut start)?;
    let [m0, m1, m2, m3, m4, m5, v0, v1, size @ ..] = start;
    let version = u64::from(u16::from_be_bytes([v0, v1]));
    if have < start.len() || [m0, m1, m2, m3, m4, m5] != *magic || version != VERSION {
        return Ok(Found::Nothing);
    }
    let size = u64::from_be_bytes(size);
    if !SIZES.contains(&size) || (offset != 0 && size != offset) {
        return Ok(Found::Damaged);
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
    if disk.read_at(offset, &mut bytes)? != bytes.len() {
        return Ok(Found::Damaged);
    }
    Ok(whole(&bytes, size, offset).map_or(Found::Damaged, Found::Whole))
}

fn whole(bytes: &[u8], size: u64, offset: u64) -> Option<HeaderCopy> {
    let sum = Sha256::new()
        .chain_update(bytes.get(..CHECKSUM)?)
        .chain_update([0; CHECKSUM_LENGTH])
        .chain_update(bytes.get(CHECKSUM + CHECKSUM_LENGTH..)?)
        .finalize();
    let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let is_right = bytes.get(72..)?.starts_with(ALGORITHM)
        && bytes.get(CHECKSUM..)?.starts_with(&sum)
        && number(256)? == offset;
    is_right
        .then(|| identity(bytes).ok())
        .flatten()
        .and_then(|identity| {
            Some(HeaderCopy {
                identity,
                sequence: number(16)?,
                size,
            })
        })
}
