use std::collections::BTreeMap;

use crate::cost::Total;
use crate::luks2_json::Document;
use crate::{CostLimit, ImageError};

/// What the JSON metadata of a LUKS2 header says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Luks2Metadata {
    /// The keyslots by number, at most 32.
    pub keyslots: BTreeMap<u32, Luks2Keyslot>,
    /// The parts of the payload by number, at most 32.
    pub segments: BTreeMap<u32, Luks2Segment>,
    /// What tells a right volume key from a wrong one, by number, at most 8.
    pub digests: BTreeMap<u32, Luks2Digest>,
    /// How many tokens there are, at most 32. Their content belongs to whoever made them and is not kept.
    pub tokens: usize,
    /// The size of the area that holds all key material, in bytes.
    pub keyslots_size: u64,
    /// What a program must understand to use the disk, such as `online-reencrypt-v2`.
    pub requirements: Vec<String>,
}

/// One keyslot of a LUKS2 header.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Luks2Keyslot {
    /// What kind: `luks2` for a passphrase, `reencrypt` while the disk is being re-encrypted.
    pub kind: String,
    /// The length of the volume key in bytes.
    pub key_bytes: u32,
    /// How a passphrase is stretched; none for a slot that no passphrase opens.
    pub kdf: Option<Luks2Kdf>,
    /// What the key material itself is encrypted with, such as `aes-xts-plain64`.
    pub encryption: Option<String>,
    /// Where its key material lies, in bytes from the beginning of the header.
    pub material: std::ops::Range<u64>,
}

/// How a passphrase is stretched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Luks2Kdf {
    /// PBKDF2.
    Pbkdf2 {
        /// The hash, such as `sha256`.
        hash: String,
        /// How often it is applied.
        iterations: u32,
    },
    /// Argon2.
    Argon2 {
        /// `argon2i` or `argon2id`.
        variant: &'static str,
        /// How often the memory is gone through.
        passes: u32,
        /// How much memory it takes, in KiB.
        kibibytes: u32,
        /// How many threads work on it.
        threads: u32,
    },
}

/// One part of the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Luks2Segment {
    /// What kind: `crypt`, or `linear` for a part that is not encrypted.
    pub kind: String,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its size in bytes; `None` when it reaches to the end of the device.
    pub size: Option<u64>,
    /// The cipher as the kernel spells it, such as `aes-xts-plain64`; `None` for a part that is not encrypted.
    pub encryption: Option<String>,
    /// The unit of encryption in bytes.
    pub sector_size: Option<u32>,
    /// Whether each sector carries a tag that detects changes.
    pub integrity: bool,
}

/// What tells a right volume key from a wrong one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Luks2Digest {
    /// The keyslots whose key it checks.
    pub keyslots: Vec<u32>,
    /// The segments that this key opens.
    pub segments: Vec<u32>,
    /// Its PBKDF2 iterations.
    pub iterations: u32,
}

impl Luks2Metadata {
    pub(crate) fn parse(json: &[u8], header_size: u64) -> Result<Self, ImageError> {
        Document::parse(json)?.into_metadata(header_size)
    }

    /// The segment, when there is exactly one.
    #[must_use]
    pub fn only_segment(&self) -> Option<&Luks2Segment> {
        let mut segments = self.segments.values();
        segments.next().filter(|_| segments.next().is_none())
    }

    /// The keyslots that open a segment. cryptsetup keeps others, which open nothing.
    pub fn opening_keyslots(&self) -> impl Iterator<Item = (u32, &Luks2Keyslot)> {
        let opens = |number: &u32| {
            self.digests
                .values()
                .any(|digest| !digest.segments.is_empty() && digest.keyslots.contains(number))
        };
        self.keyslots
            .iter()
            .filter(move |(number, slot)| slot.kdf.is_some() && opens(number))
            .map(|(number, slot)| (*number, slot))
    }

    pub(crate) fn check_cost(&self, limit: &CostLimit) -> Result<(), ImageError> {
        let mut total = Total::within(limit);
        for (number, digest) in &self.digests {
            total.pbkdf2(
                &format!("digest {number}"),
                digest.iterations,
                digest.keyslots.len(),
            )?;
        }
        for (number, slot) in &self.keyslots {
            let whose = format!("keyslot {number}");
            match &slot.kdf {
                Some(Luks2Kdf::Pbkdf2 { iterations, .. }) => total.pbkdf2(&whose, *iterations, 1)?,
                Some(Luks2Kdf::Argon2 {
                    passes,
                    kibibytes,
                    threads,
                    ..
                }) => total.argon2(&whose, *passes, *kibibytes, *threads)?,
                None => {}
            }
        }
        Ok(())
    }
}
