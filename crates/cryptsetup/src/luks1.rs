//! The LUKS1 header, by "LUKS1 On-Disk Format Specification" 1.2.3, figures 4 and 5. All numbers are big-endian.

use std::collections::BTreeMap;

use strongroom_types::{EncryptionFormat, PayloadOffset, SECTOR};

use crate::header::{text, uuid};
use crate::stretching::Stretching;
use crate::{Header, HeaderError, Kdf, Keyslot};

/// The length of the header in bytes.
pub(crate) const LENGTH: usize = 592;
const FIRST_SLOT: usize = 208;
const SLOT_LENGTH: usize = 48;
const SLOTS: u8 = 8;
const ACTIVE: u32 = 0x00AC_71F3;
const DISABLED: u32 = 0x0000_DEAD;
/// The longest key that any cipher of the kernel takes is 64 bytes; QEMU and cryptsetup write no longer one.
const LONGEST_KEY: u32 = 64;

/// Reads a header whose magic and version are right.
pub(crate) fn read(bytes: &[u8; LENGTH]) -> Result<Header, HeaderError> {
    let hash = text(part(bytes, 72, 32), "hash")?;
    let cipher = format!(
        "{}-{}",
        text(part(bytes, 8, 32), "cipher")?,
        text(part(bytes, 40, 32), "cipher mode")?
    );
    let payload = u64::from(number(bytes, 104)) * SECTOR;
    let payload_offset = PayloadOffset::new(payload).map_err(HeaderError::Payload)?;
    let key_bytes = number(bytes, 108);
    if !(1..=LONGEST_KEY).contains(&key_bytes) {
        return Err(HeaderError::Value {
            field: "key length in bytes",
            found: key_bytes.into(),
        });
    }
    let mut keyslots = BTreeMap::new();
    let mut free_keyslots = 0;
    let mut stretching = Stretching::default();
    for slot in 0..SLOTS {
        let at = FIRST_SLOT + usize::from(slot) * SLOT_LENGTH;
        match number(bytes, at) {
            ACTIVE => {
                let iterations = number(bytes, at + 4);
                stretching.pbkdf2("a keyslot", iterations, 1)?;
                keyslots.insert(
                    slot,
                    Keyslot {
                        kdf: Kdf::Pbkdf2 {
                            hash: hash.clone(),
                            iterations,
                        },
                    },
                );
            }
            DISABLED => free_keyslots += 1,
            other => {
                return Err(HeaderError::Value {
                    field: "keyslot state",
                    found: other.into(),
                });
            }
        }
    }
    stretching.digest(number(bytes, 164), keyslots.len())?;
    Ok(Header {
        format: EncryptionFormat::Luks1,
        uuid: uuid(part(bytes, 168, 40))?,
        label: None,
        cipher,
        key_bits: Some(key_bytes * 8),
        sector_size: 512,
        payload_offset,
        keyslots,
        free_keyslots,
        volume_key: part(bytes, 112, 52).to_vec(),
        stretching,
    })
}

/// Where the last keyslot ends, in bytes: what a backup of the header must hold.
pub(crate) fn keyslots_end(bytes: &[u8; LENGTH]) -> u64 {
    let key_bytes = u64::from(number(bytes, 108));
    let ends = (0..usize::from(SLOTS)).map(|slot| {
        let at = FIRST_SLOT + slot * SLOT_LENGTH;
        u64::from(number(bytes, at + 40)) * SECTOR + key_bytes * u64::from(number(bytes, at + 44))
    });
    ends.max().unwrap_or_default()
}

fn part(bytes: &[u8; LENGTH], at: usize, length: usize) -> &[u8] {
    bytes.get(at..at + length).unwrap_or_default()
}

fn number(bytes: &[u8; LENGTH], at: usize) -> u32 {
    part(bytes, at, 4)
        .try_into()
        .map(u32::from_be_bytes)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sound() -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
        put(0, b"LUKS\xba\xbe\x00\x01");
        put(8, b"aes");
        put(40, b"xts-plain64");
        put(72, b"sha256");
        put(104, &4096u32.to_be_bytes());
        put(108, &64u32.to_be_bytes());
        put(164, &1000u32.to_be_bytes());
        put(168, b"11111111-2222-3333-4444-555555555555");
        for slot in 0..8 {
            put(FIRST_SLOT + slot * SLOT_LENGTH, &DISABLED.to_be_bytes());
        }
        put(FIRST_SLOT + 7 * SLOT_LENGTH + 40, &3528u32.to_be_bytes());
        put(FIRST_SLOT + 7 * SLOT_LENGTH + 44, &4000u32.to_be_bytes());
        put(FIRST_SLOT + 3 * SLOT_LENGTH, &ACTIVE.to_be_bytes());
        put(FIRST_SLOT + 3 * SLOT_LENGTH + 4, &1234u32.to_be_bytes());
        bytes
    }

    #[test]
    fn a_sound_header_reads_as_the_specification_lays_it_out() {
        let header = read(&sound()).unwrap();
        assert_eq!(header.cipher, "aes-xts-plain64");
        assert_eq!(header.key_bits, Some(512));
        assert_eq!(header.payload_offset, PayloadOffset::LUKS1_CRYPTSETUP);
        assert_eq!(header.uuid.to_string(), "11111111-2222-3333-4444-555555555555");
        let kdf = Kdf::Pbkdf2 {
            hash: "sha256".into(),
            iterations: 1234,
        };
        assert_eq!(header.free_keyslots, 7);
        assert_eq!(keyslots_end(&sound()), 3528 * 512 + 64 * 4000);
        assert_eq!(header.keyslots, BTreeMap::from([(3, Keyslot { kdf })]));
    }

    #[test]
    fn each_damage_has_its_own_error() {
        let with = |at: usize, what: &[u8]| {
            let mut bytes = sound();
            bytes[at..at + what.len()].copy_from_slice(what);
            read(&bytes).unwrap_err()
        };
        assert!(matches!(with(8, b"\xff"), HeaderError::Text { field: "cipher" }));
        assert!(matches!(with(72, b"\x1b"), HeaderError::Text { field: "hash" }));
        assert!(matches!(
            with(108, &[0; 4]),
            HeaderError::Value {
                field: "key length in bytes",
                found: 0
            }
        ));
        assert!(matches!(with(108, &[255; 4]), HeaderError::Value { .. }));
        assert!(matches!(with(168, b"x"), HeaderError::Uuid(_)));
        assert!(matches!(
            with(FIRST_SLOT, &[1; 4]),
            HeaderError::Value {
                field: "keyslot state",
                ..
            }
        ));
        let bomb = with(FIRST_SLOT + 3 * SLOT_LENGTH + 4, &[255; 4]);
        assert!(matches!(
            bomb,
            HeaderError::Costly {
                iterations: 0xffff_ffff,
                ..
            }
        ));
        assert!(matches!(with(164, &[255; 4]), HeaderError::Costly { .. }));
        let mut bytes = sound();
        for slot in 0..8 {
            let at = FIRST_SLOT + slot * SLOT_LENGTH;
            bytes[at..at + 4].copy_from_slice(&ACTIVE.to_be_bytes());
            bytes[at + 4..at + 8].copy_from_slice(&12_499_000u32.to_be_bytes());
        }
        assert_eq!(read(&bytes).unwrap().keyslots.len(), 8);
        bytes[167] += 1;
        let together = read(&bytes).unwrap_err();
        assert!(matches!(
            together,
            HeaderError::Costly {
                whose: "one try on every keyslot",
                iterations: 100_000_008
            }
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), LENGTH)) {
            let bytes: [u8; LENGTH] = bytes.try_into().unwrap();
            let _ = read(&bytes);
        }

        #[test]
        fn a_damaged_sound_header_is_read_or_refused(at in 0..LENGTH, byte: u8) {
            let mut bytes = sound();
            bytes[at] = byte;
            if let Ok(header) = read(&bytes) {
                prop_assert!(header.key_bits <= Some(512) && header.keyslots.len() <= 8);
            }
        }
    }
}
