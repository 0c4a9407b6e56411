//! Tells what an interrupted `luksFormat` left from everything else that a device can hold.

use std::io::{self, Read, Seek, SeekFrom};
use std::iter;
use std::ops::Range;

use strongroom_cryptsetup::Uuid;
use strongroom_endpoint_selector::{DiskLocation, EndpointError};
use strongroom_image::{ImageError, Luks1Header, Luks2Header, Magic};
use strongroom_types::{EncryptionFormat, PayloadOffset};

use crate::bounded::Bounded;
use crate::{failure, reading};

/// What a device begins with, for somebody who wants to write a header there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// The header, with a keyslot.
    Finished,
    /// What was left when the header was begun.
    Unfinished,
    /// Nothing, or something else.
    Other,
}

/// The unit in which is looked, in bytes.
const SECTOR: usize = 512;

/// Where a UUID stands in either header, and how long it is: LUKS1 on-disk format 1.2.3, figure 1; LUKS2 1.1.2, figure 2.
const UUID: Range<usize> = 168..204;

/// Where cryptsetup puts the two copies of a LUKS2 header, in bytes.
const LUKS2_COPY: u64 = 16 << 10;

/// Looks at a device that is to get the header with this UUID.
///
/// cryptsetup 2.6.1 first fills the places of the keyslots with noise, from the first to the last, then writes the header
/// without a keyslot, then the key material, then the header with the keyslot. So a header without a keyslot is unfinished, and
/// so is noise that begins with the first of these places, ends somewhere among them, and has zeros around it: one sector of
/// anything that is not noise, or that is somewhere else, belongs to somebody. Whether the payload is blank is not looked at here.
pub(crate) fn look(
    operation: &'static str,
    location: &DiskLocation,
    format: EncryptionFormat,
    uuid: Uuid,
) -> Result<Beginning, EndpointError> {
    let mut disk = reading::bounded(operation, location)?;
    look_at(operation, location, &mut disk, format, uuid)
}

/// The same of a disk that is open.
pub(crate) fn look_at(
    operation: &'static str,
    location: &DiskLocation,
    file: &mut Bounded,
    format: EncryptionFormat,
    uuid: Uuid,
) -> Result<Beginning, EndpointError> {
    let unreadable = |e| reading::unreadable(operation, location.path(), e);
    let io = |e| failure::io(operation, location.path(), e);
    match (Magic::read(file).map_err(unreadable)?, format) {
        (Magic::Luks1, EncryptionFormat::Luks1) => match Luks1Header::read(file) {
            Ok(header) => Ok(header_state(&header.uuid, uuid, header.active_keyslots())),
            Err(e @ ImageError::Read { .. }) => Err(unreadable(e)),
            Err(_) => Ok(Beginning::Other),
        },
        (Magic::Luks2, EncryptionFormat::Luks2) => match Luks2Header::read(file) {
            Ok(header) => {
                let keyslots = header.metadata.opening_keyslots().count();
                Ok(header_state(&header.uuid, uuid, keyslots))
            }
            Err(e @ ImageError::Read { .. }) => Err(unreadable(e)),
            Err(_) if first_copy_is_torn(file, uuid).map_err(io)? => Ok(Beginning::Unfinished),
            Err(_) => Ok(Beginning::Other),
        },
        (Magic::Blank, _) if noise_is_begun(file, format).map_err(io)? => Ok(Beginning::Unfinished),
        _ => Ok(Beginning::Other),
    }
}

fn header_state(found: &str, uuid: Uuid, keyslots: usize) -> Beginning {
    match (found == uuid.to_string(), keyslots) {
        (true, 0) => Beginning::Unfinished,
        (true, _) => Beginning::Finished,
        (false, _) => Beginning::Other,
    }
}

/// Whether the first of the two copies of a LUKS2 header was begun, with this UUID, and the second was not.
fn first_copy_is_torn(file: &mut (impl Read + Seek), uuid: Uuid) -> io::Result<bool> {
    let Some(begun) = read(file, &(0..LUKS2_COPY))? else {
        return Ok(false);
    };
    let Some(second) = read(file, &(LUKS2_COPY..2 * LUKS2_COPY))? else {
        return Ok(false);
    };
    Ok(begun.get(UUID) == Some(uuid.to_string().as_bytes()) && is_zero(&second))
}

/// Where cryptsetup puts key material of the size that is used here, and where the header ends, in bytes.
fn places(format: EncryptionFormat) -> (impl Iterator<Item = Range<u64>>, u64) {
    let (first, distance, count, length, end) = match format {
        // For each of 8 keyslots 4000 stripes of a key of 64 bytes, which begin at a multiple of 4096.
        EncryptionFormat::Luks1 => (4096, 258_048, 8, 256_000, PayloadOffset::LUKS1_CRYPTSETUP.get()),
        EncryptionFormat::Luks2 => {
            let (copies, end) = (2 * LUKS2_COPY, PayloadOffset::LUKS2_CRYPTSETUP.get());
            (copies, 0, 1, end - copies, end)
        }
    };
    let places = (0..count).map(move |slot| {
        let start = first + slot * distance;
        start..start + length
    });
    (places, end)
}

/// Whether there is noise, from the first place for key material on, and zeros are all the rest before the payload.
fn noise_is_begun(file: &mut (impl Read + Seek), format: EncryptionFormat) -> io::Result<bool> {
    let (places, end) = places(format);
    let (mut at, mut noise, mut ended) = (0, false, false);
    for place in places.chain(iter::once(end..end)) {
        let Some(before) = read(file, &(at..place.start))? else {
            return Ok(false);
        };
        let Some(material) = read(file, &place)? else {
            return Ok(false);
        };
        at = place.end;
        if !is_zero(&before) {
            return Ok(false);
        }
        for sector in material.chunks(SECTOR) {
            if is_zero(sector) {
                ended = true;
            } else if ended || !is_noise(sector) {
                return Ok(false);
            } else {
                noise = true;
            }
        }
    }
    Ok(noise)
}

/// These bytes; `None` when the device ends before.
fn read(file: &mut (impl Read + Seek), range: &Range<u64>) -> io::Result<Option<Vec<u8>>> {
    let length = range.end - range.start;
    file.seek(SeekFrom::Start(range.start))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 == length))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// 512 random bytes have 221 of the 256 values on average, and 200 or more in each of 200,000 sectors that were tried. Text has under
/// 100, most program code under 150.
fn is_noise(sector: &[u8]) -> bool {
    let mut seen = [false; 256];
    for byte in sector {
        if let Some(seen) = seen.get_mut(usize::from(*byte)) {
            *seen = true;
        }
    }
    seen.iter().filter(|seen| **seen).count() > 190
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::TryRng;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        rand::rngs::SysRng.try_fill_bytes(&mut bytes).unwrap();
        bytes
    }

    /// A file of 24 MiB with these pieces at these offsets.
    fn file(pieces: &[(u64, &[u8])]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(24 << 20).unwrap();
        for (offset, bytes) in pieces {
            file.write_all_at(bytes, *offset).unwrap();
        }
        file
    }

    #[test]
    fn noise_is_of_an_interrupted_format_only_where_the_first_noise_goes() {
        let slot = noise(256_000);
        let (luks1, luks2) = (EncryptionFormat::Luks1, EncryptionFormat::Luks2);
        for (format, pieces, begun) in [
            (luks1, vec![], false),
            (luks1, vec![(4096, &slot[..512])], true),
            (luks1, vec![(4096, &slot[..])], true),
            (
                luks1,
                vec![(4096, &slot[..]), (4096 + 258_048, &slot[..1024])],
                true,
            ),
            (
                luks1,
                vec![(4096, &slot[..512]), (4096 + 258_048, &slot[..512])],
                false,
            ),
            (luks1, vec![(4096, &slot[..]), (4096 + 256_000, b"x")], false),
            (luks1, vec![(4096, &slot[..]), (512, b"x")], false),
            (luks1, vec![(4096, &slot[..]), ((2 << 20) - 1, b"x")], false),
            (luks1, vec![(4096, b"text, and nothing else")], false),
            (luks1, vec![(32 << 10, &slot[..])], false),
            (luks2, vec![(32 << 10, &slot[..])], true),
            (luks2, vec![(32 << 10, &slot[..]), (4097, b"x")], false),
            (luks2, vec![(32 << 10, &slot[..]), (15 << 20, b"x")], false),
            (luks2, vec![(4096, &slot[..])], false),
        ] {
            let offsets: Vec<_> = pieces.iter().map(|(at, bytes)| (at, bytes.len())).collect();
            let found = noise_is_begun(&mut file(&pieces), format).unwrap();
            assert_eq!(found, begun, "{format} {offsets:?}");
        }
    }

    #[test]
    fn a_torn_first_copy_is_ours_only_with_its_uuid_and_without_a_second() {
        let (ours, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let uuid = ours.to_string();
        let mut first = file(&[(0, b"LUKS\xba\xbe\0\x02"), (168, uuid.as_bytes())]);
        assert!(first_copy_is_torn(&mut first, ours).unwrap());
        assert!(!first_copy_is_torn(&mut first, other).unwrap());
        first.write_all_at(b"SKUL\xba\xbe\0\x02", LUKS2_COPY).unwrap();
        assert!(!first_copy_is_torn(&mut first, ours).unwrap());
    }
}
