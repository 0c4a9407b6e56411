//! The LUKS2 header: its binary part by "LUKS2 On-Disk Format Specification" 1.1.2, figure 2, and its metadata as
//! `cryptsetup luksDump --dump-json-metadata` prints it.

use std::collections::BTreeMap;

use serde::Deserialize;
use strongroom_types::{EncryptionFormat, PayloadOffset};
use uuid::Uuid;

use crate::header::{text, uuid};
use crate::stretching::Stretching;
use crate::{Header, HeaderError, Kdf, Keyslot};

/// What the metadata does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uuid: Uuid,
    label: Option<String>,
}

/// Reads the binary header, whose magic and version are right.
pub(crate) fn identity(bytes: &[u8]) -> Result<Identity, HeaderError> {
    let label = text(bytes.get(24..72).unwrap_or_default(), "label")?;
    let label = Some(label).filter(|label| !label.is_empty());
    Ok(Identity {
        uuid: uuid(bytes.get(168..208).unwrap_or_default())?,
        label,
    })
}

/// The metadata, as far as it is looked at. Numbers that JSON might not hold exactly are texts in it.
#[derive(Deserialize)]
struct Metadata {
    keyslots: BTreeMap<u8, Slot>,
    segments: BTreeMap<u32, Segment>,
    digests: BTreeMap<u32, Digest>,
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    keyslots_size: String,
}

#[derive(Deserialize)]
struct Slot {
    key_size: u32,
    area: Area,
    kdf: Option<SlotKdf>,
}

#[derive(Deserialize)]
struct Area {
    size: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum SlotKdf {
    Pbkdf2 { hash: String, iterations: u32 },
    Argon2i { time: u32, memory: u32, cpus: u32 },
    Argon2id { time: u32, memory: u32, cpus: u32 },
}

#[derive(Deserialize)]
struct Segment {
    offset: String,
    encryption: String,
    sector_size: u32,
}

#[derive(Deserialize)]
struct Digest {
    keyslots: Vec<String>,
    segments: Vec<String>,
    #[serde(default)]
    iterations: u32,
    #[serde(default)]
    salt: String,
    #[serde(default)]
    digest: String,
}

/// Puts the two parts together. Keyslots that open no segment are left out.
pub(crate) fn read(identity: Identity, metadata: &[u8]) -> Result<Header, HeaderError> {
    let metadata: Metadata = serde_json::from_slice(metadata).map_err(HeaderError::Metadata)?;
    let segments = metadata.segments.len();
    let segment = match metadata.segments.into_values().next() {
        Some(segment) if segments == 1 => segment,
        _ => return Err(HeaderError::Segments { segments }),
    };
    let opens = |slot: u8| {
        let name = slot.to_string();
        metadata
            .digests
            .values()
            .any(|d| !d.segments.is_empty() && d.keyslots.contains(&name))
    };
    let mut stretching = Stretching::default();
    let mut volume_key = Vec::new();
    for digest in metadata.digests.values() {
        let tried = if digest.segments.is_empty() {
            0
        } else {
            digest.keyslots.len()
        };
        stretching.digest(digest.iterations, tried)?;
        if !digest.segments.is_empty() {
            volume_key.extend(digest.salt.bytes().chain(digest.digest.bytes()));
        }
    }
    let mut room = size("size of the keyslots", &metadata.config.keyslots_size)?;
    let mut free_keyslots = MOST_SLOTS;
    let mut largest = 1;
    let mut keyslots = BTreeMap::new();
    let mut key_bits = None;
    for (number, slot) in metadata.keyslots {
        let taken = size("size of a keyslot", &slot.area.size)?;
        room = room.saturating_sub(taken);
        largest = largest.max(taken);
        free_keyslots = free_keyslots.saturating_sub(1);
        if let Some(kdf) = slot.kdf.filter(|_| opens(number)) {
            keyslots.insert(
                number,
                Keyslot {
                    kdf: kdf.bounded(&mut stretching)?,
                },
            );
            key_bits = Some(slot.key_size.saturating_mul(8));
        }
    }
    let offset = size("segment offset", &segment.offset)?;
    let rooms = u8::try_from(room / largest).unwrap_or(MOST_SLOTS);
    Ok(Header {
        format: EncryptionFormat::Luks2,
        uuid: identity.uuid,
        label: identity.label,
        cipher: segment.encryption,
        key_bits,
        sector_size: segment.sector_size,
        payload_offset: PayloadOffset::new(offset).map_err(HeaderError::Payload)?,
        keyslots,
        free_keyslots: free_keyslots.min(rooms),
        volume_key,
        stretching,
    })
}

fn size(field: &'static str, text: &str) -> Result<u64, HeaderError> {
    text.parse().map_err(|_| HeaderError::Text { field })
}

/// cryptsetup numbers the keyslots of LUKS2 from 0 to 31.
const MOST_SLOTS: u8 = 32;

impl SlotKdf {
    fn bounded(self, all: &mut Stretching) -> Result<Kdf, HeaderError> {
        let (variant, time, memory, cpus) = match self {
            Self::Pbkdf2 { hash, iterations } => {
                all.pbkdf2("a keyslot", iterations, 1)?;
                return Ok(Kdf::Pbkdf2 { hash, iterations });
            }
            Self::Argon2i { time, memory, cpus } => ("argon2i", time, memory, cpus),
            Self::Argon2id { time, memory, cpus } => ("argon2id", time, memory, cpus),
        };
        all.argon2(time, memory)?;
        Ok(Kdf::Argon2 {
            variant: variant.to_owned(),
            iterations: time,
            kibibytes: memory,
            threads: cpus,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn me() -> Identity {
        Identity {
            uuid: Uuid::from_u128(7),
            label: Some("disk".into()),
        }
    }

    const SOUND: &str = r#"{
        "keyslots": {
            "0": {"type": "luks2", "key_size": 64, "area": {"size": "258048"}, "kdf": {"type": "argon2id", "time": 4, "memory": 65536, "cpus": 1, "salt": ""}},
            "2": {"type": "luks2", "key_size": 64, "area": {"size": "258048"}, "kdf": {"type": "pbkdf2", "hash": "sha256", "iterations": 1000, "salt": ""}},
            "5": {"type": "luks2", "key_size": 32, "area": {"size": "131072"}, "kdf": {"type": "pbkdf2", "hash": "sha256", "iterations": 1000, "salt": ""}}
        },
        "tokens": {},
        "segments": {"0": {"type": "crypt", "offset": "16777216", "size": "dynamic", "encryption": "aes-xts-plain64", "sector_size": 512}},
        "digests": {
            "0": {"type": "pbkdf2", "keyslots": ["0", "2"], "segments": ["0"], "iterations": 1000},
            "1": {"type": "pbkdf2", "keyslots": ["5"], "segments": [], "iterations": 1000}
        },
        "config": {"json_size": "12288", "keyslots_size": "16744448"}
    }"#;

    #[test]
    fn keyslots_that_open_the_payload_are_read_and_unbound_ones_are_not() {
        let header = read(me(), SOUND.as_bytes()).unwrap();
        assert_eq!(header.keyslots.keys().copied().collect::<Vec<_>>(), [0, 2]);
        let argon = Kdf::Argon2 {
            variant: "argon2id".into(),
            iterations: 4,
            kibibytes: 65536,
            threads: 1,
        };
        assert_eq!(header.keyslots.get(&0), Some(&Keyslot { kdf: argon }));
        assert_eq!(header.payload_offset, PayloadOffset::LUKS2_CRYPTSETUP);
        assert_eq!(header.free_keyslots, 29);
        assert_eq!(
            (header.key_bits, header.sector_size, header.label),
            (Some(512), 512, Some("disk".into()))
        );
    }

    #[test]
    fn metadata_that_lies_or_attacks_is_refused() {
        let with = |from: &str, to: &str| {
            assert!(SOUND.contains(from));
            read(me(), SOUND.replace(from, to).as_bytes()).unwrap_err()
        };
        assert!(matches!(
            with("16777216", "-1"),
            HeaderError::Text {
                field: "segment offset"
            }
        ));
        assert!(matches!(with("16777216", "16777217"), HeaderError::Payload(_)));
        assert!(matches!(
            with("\"memory\": 65536", "\"memory\": 4194305"),
            HeaderError::Value { .. }
        ));
        assert!(matches!(
            with("\"time\": 4", "\"time\": 4294967295"),
            HeaderError::Costly { .. }
        ));
        assert!(matches!(
            with("\"iterations\": 1000, ", "\"iterations\": 4294967295, "),
            HeaderError::Costly { .. }
        ));
        assert!(matches!(
            with(
                "\"segments\": {\"0\": {",
                "\"segments\": {\"1\": {\"offset\": \"0\", \"encryption\": \"\", \"sector_size\": 512}, \"0\": {"
            ),
            HeaderError::Segments { segments: 2 }
        ));
        assert!(matches!(
            with("\"argon2id\"", "\"scrypt\""),
            HeaderError::Metadata(_)
        ));
        assert!(matches!(
            with("\"5\": {\"type\"", "\"-5\": {\"type\""),
            HeaderError::Metadata(_)
        ));
        assert!(matches!(
            with("16744448", "many"),
            HeaderError::Text {
                field: "size of the keyslots"
            }
        ));
        assert!(matches!(read(me(), b""), Err(HeaderError::Metadata(_))));
    }

    proptest! {
        #[test]
        fn damaged_metadata_is_read_or_refused(at in 0..SOUND.len(), byte: u8) {
            let mut bytes = SOUND.as_bytes().to_vec();
            bytes[at] = byte;
            if let Ok(header) = read(me(), &bytes) {
                prop_assert!(header.keyslots.len() <= 3);
            }
        }

        #[test]
        fn any_binary_header_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            if let Ok(identity) = identity(&bytes) {
                prop_assert!(identity.label.is_none_or(|l| l.len() <= 48));
            }
        }
    }
}
