//! The JSON of a LUKS2 header as it is written, and what it must fulfil: "LUKS2 On-Disk Format Specification" 1.1.2, section 3.
//! Objects that are not known are left alone, as the specification asks.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use strongroom_types::SECTOR;

use crate::ImageError;
use crate::luks2_metadata::{Luks2Digest, Luks2Kdf, Luks2Keyslot, Luks2Metadata, Luks2Segment};

/// cryptsetup's own limits, `lib/luks2/luks2.h`.
const MOST_KEYSLOTS: usize = 32;
const MOST_SEGMENTS: usize = 32;
const MOST_DIGESTS: usize = 8;
const MOST_TOKENS: usize = 32;
const LARGEST_KEYSLOT_AREA: u64 = 128 << 20;

/// Numbers that JSON might not hold exactly are texts in it.
#[derive(Deserialize)]
pub(crate) struct Document {
    keyslots: BTreeMap<u32, Keyslot>,
    tokens: BTreeMap<u32, IgnoredAny>,
    segments: BTreeMap<u32, Segment>,
    digests: BTreeMap<u32, Digest>,
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    json_size: String,
    keyslots_size: String,
    requirements: Option<Requirements>,
}

#[derive(Deserialize)]
struct Requirements {
    #[serde(default)]
    mandatory: Vec<String>,
}

#[derive(Deserialize)]
struct Keyslot {
    #[serde(rename = "type")]
    kind: String,
    key_size: u32,
    area: Area,
    kdf: Option<Kdf>,
}

#[derive(Deserialize)]
struct Area {
    offset: String,
    size: String,
    encryption: Option<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Kdf {
    Pbkdf2 { hash: String, iterations: u32 },
    Argon2i { time: u32, memory: u32, cpus: u32 },
    Argon2id { time: u32, memory: u32, cpus: u32 },
}

#[derive(Deserialize)]
struct Segment {
    #[serde(rename = "type")]
    kind: String,
    offset: String,
    size: String,
    encryption: Option<String>,
    sector_size: Option<u32>,
    integrity: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Digest {
    keyslots: Vec<String>,
    segments: Vec<String>,
    #[serde(default)]
    iterations: u32,
}

fn odd(problem: impl Into<String>) -> ImageError {
    ImageError::Metadata {
        problem: problem.into(),
    }
}

fn number<N: std::str::FromStr>(what: &str, text: &str) -> Result<N, ImageError> {
    // `FromStr` takes a plus sign, the format does not.
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(odd(format!("{what} is no number: {:?}", shown(text))));
    }
    text.parse()
        .map_err(|_| odd(format!("{what} is no number that fits: {:?}", shown(text))))
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

fn numbers(what: &str, texts: &[String]) -> Result<Vec<u32>, ImageError> {
    texts.iter().map(|text| number(what, text)).collect()
}

impl Document {
    /// Reads the area behind the binary header: a JSON object, a zero byte, and zeros to the end.
    pub(crate) fn parse(area: &[u8]) -> Result<Self, ImageError> {
        let end = area
            .iter()
            .position(|b| *b == 0)
            .ok_or_else(|| odd("it does not end with a zero byte"))?;
        let (json, rest) = area.split_at(end);
        if rest.iter().any(|b| *b != 0) {
            return Err(odd("there is something behind it"));
        }
        serde_json::from_slice(json).map_err(|e| odd(shown_error(&e)))
    }

    pub(crate) fn into_metadata(self, header_size: u64) -> Result<Luks2Metadata, ImageError> {
        for (what, found, most) in [
            ("keyslots", self.keyslots.len(), MOST_KEYSLOTS),
            ("segments", self.segments.len(), MOST_SEGMENTS),
            ("digests", self.digests.len(), MOST_DIGESTS),
            ("tokens", self.tokens.len(), MOST_TOKENS),
        ] {
            if found > most {
                return Err(odd(format!("{found} {what} are more than {most}")));
            }
        }
        let keyslots_size: u64 = number("the size of the keyslots", &self.config.keyslots_size)?;
        if keyslots_size > LARGEST_KEYSLOT_AREA || !keyslots_size.is_multiple_of(4096) {
            return Err(odd(format!("the keyslots have {keyslots_size} bytes")));
        }
        let json_size: u64 = number("the size of the metadata", &self.config.json_size)?;
        if json_size.checked_add(4096) != Some(header_size) {
            return Err(odd(format!("it says {json_size} bytes of itself")));
        }
        let area = 2 * header_size..2 * header_size + keyslots_size;
        let keyslots = self
            .keyslots
            .into_iter()
            .map(|(n, slot)| Ok((n, slot.checked(n, &area)?)))
            .collect::<Result<BTreeMap<_, _>, ImageError>>()?;
        check_overlaps(&keyslots)?;
        let segments = self
            .segments
            .into_iter()
            .map(|(n, segment)| Ok((n, segment.checked(n)?)))
            .collect::<Result<BTreeMap<_, _>, ImageError>>()?;
        let mut digests = BTreeMap::new();
        for (n, digest) in self.digests {
            let digest = Luks2Digest {
                keyslots: numbers("a keyslot of a digest", &digest.keyslots)?,
                segments: numbers("a segment of a digest", &digest.segments)?,
                iterations: digest.iterations,
            };
            let known = digest.keyslots.iter().all(|k| keyslots.contains_key(k))
                && digest.segments.iter().all(|s| segments.contains_key(s));
            if !known {
                return Err(odd(format!("digest {n} names what is not there")));
            }
            digests.insert(n, digest);
        }
        Ok(Luks2Metadata {
            keyslots,
            segments,
            digests,
            tokens: self.tokens.len(),
            keyslots_size,
            requirements: self.config.requirements.map(|r| r.mandatory).unwrap_or_default(),
        })
    }
}

/// Says where, not what: an error of the JSON reader may quote the document.
fn shown_error(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Data => "a value is missing or of a wrong kind",
        _ => "no JSON",
    };
    format!("{kind}, line {} column {}", error.line(), error.column())
}

impl Keyslot {
    fn checked(self, n: u32, area: &std::ops::Range<u64>) -> Result<Luks2Keyslot, ImageError> {
        let begin: u64 = number("the offset of key material", &self.area.offset)?;
        let size: u64 = number("the size of key material", &self.area.size)?;
        let end = begin.saturating_add(size);
        if begin < area.start || end > area.end {
            return Err(odd(format!(
                "keyslot {n} lies at {begin} to {end}, outside its area"
            )));
        }
        let kdf = self.kdf.map(|kdf| {
            let (variant, passes, kibibytes, threads) = match kdf {
                Kdf::Pbkdf2 { hash, iterations } => return Luks2Kdf::Pbkdf2 { hash, iterations },
                Kdf::Argon2i { time, memory, cpus } => ("argon2i", time, memory, cpus),
                Kdf::Argon2id { time, memory, cpus } => ("argon2id", time, memory, cpus),
            };
            Luks2Kdf::Argon2 {
                variant,
                passes,
                kibibytes,
                threads,
            }
        });
        Ok(Luks2Keyslot {
            kind: self.kind,
            key_bytes: self.key_size,
            kdf,
            encryption: self.area.encryption,
            material: begin..end,
        })
    }
}

fn check_overlaps(keyslots: &BTreeMap<u32, Luks2Keyslot>) -> Result<(), ImageError> {
    let mut areas: Vec<_> = keyslots.iter().map(|(n, slot)| (&slot.material, n)).collect();
    areas.sort_by_key(|(area, _)| area.start);
    match areas
        .windows(2)
        .find(|pair| matches!(pair, [a, b] if a.0.end > b.0.start))
    {
        Some([a, b]) => Err(odd(format!("keyslots {} and {} share their place", a.1, b.1))),
        _ => Ok(()),
    }
}

impl Segment {
    fn checked(self, n: u32) -> Result<Luks2Segment, ImageError> {
        let offset: u64 = number("the offset of a segment", &self.offset)?;
        let size = match self.size.as_str() {
            "dynamic" => None,
            text => Some(number::<u64>("the size of a segment", text)?),
        };
        let whole = |bytes: u64| bytes.is_multiple_of(SECTOR);
        let unaligned = !whole(offset) || size.is_some_and(|s| s == 0 || !whole(s));
        if unaligned || offset.checked_add(size.unwrap_or(0)).is_none() {
            return Err(odd(format!("segment {n} does not lie on sectors")));
        }
        let crypt = self.kind == "crypt";
        if crypt && (self.encryption.is_none() || self.sector_size.is_none()) {
            return Err(odd(format!("segment {n} does not say how it is encrypted")));
        }
        if self
            .sector_size
            .is_some_and(|s| !matches!(s, 512 | 1024 | 2048 | 4096))
        {
            return Err(odd(format!(
                "segment {n} has sectors that are not 512 to 4096 bytes"
            )));
        }
        Ok(Luks2Segment {
            kind: self.kind,
            offset,
            size,
            encryption: self.encryption.filter(|_| crypt),
            sector_size: self.sector_size,
            integrity: self.integrity.is_some(),
        })
    }
}
