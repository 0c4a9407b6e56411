//! One copy of the LUKS2 header: the binary part by "LUKS2 On-Disk Format Specification" 1.1.2, figure 2, its checksum, and the
//! JSON behind it.

use std::io::{Read, Seek};

use sha2::{Digest, Sha256};

use crate::luks2::SIZES;
use crate::luks2_metadata::Luks2Metadata;
use crate::magic::LUKS2_SECONDARY;
use crate::window::{Fields, Window};
use crate::{Format, ImageError, Magic};

/// The length of the binary part, and places in it, in bytes.
const BINARY: usize = 4096;
const VERSION: usize = 6;
const SIZE: usize = 8;
const SEQUENCE: usize = 16;
const LABEL: usize = 24;
const ALGORITHM: usize = 72;
const UUID: usize = 168;
const SUBSYSTEM: usize = 208;
const OFFSET: usize = 256;
const CHECKSUM: usize = 448;
const CHECKSUM_LENGTH: usize = 64;

/// Which of the two copies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Primary,
    Secondary,
}

impl Place {
    fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }
}

/// A copy whose checksum and metadata are right.
pub(crate) struct RawCopy {
    pub(crate) uuid: String,
    pub(crate) label: Option<String>,
    pub(crate) subsystem: Option<String>,
    pub(crate) sequence: u64,
    pub(crate) size: u64,
    pub(crate) metadata: Luks2Metadata,
}

impl RawCopy {
    /// Reads the copy at `offset`. A second copy lies where its own size says.
    pub(crate) fn read<R: Read + Seek>(
        window: &mut Window<'_, R>,
        place: Place,
        offset: u64,
    ) -> Result<Self, ImageError> {
        let odd = |field, found: u64, rule| Err(ImageError::field(Format::Luks2, field, found, rule));
        let there = window.length().saturating_sub(offset).min(8);
        let start = window.bytes("magic", offset, usize::try_from(there).unwrap_or(0))?;
        let (right, found) = match place {
            Place::Primary => (Magic::of(&start) == Magic::Luks2, Magic::of(&start)),
            Place::Secondary => (start.starts_with(&LUKS2_SECONDARY), Magic::None),
        };
        if !right {
            return Err(ImageError::Magic {
                format: Format::Luks2,
                found: found.to_string(),
            });
        }
        let fields = window.fields("binary header", offset, BINARY)?;
        let version = fields.u16(VERSION)?;
        if version != 2 {
            return odd("version", version.into(), "it is 2");
        }
        let size = fields.u64(SIZE)?;
        if !SIZES.contains(&size) {
            return odd("header size", size, "it is 16 KiB to 4 MiB, a power of two");
        }
        if fields.u64(OFFSET)? != offset || (place == Place::Secondary && size != offset) {
            return odd(
                "header offset",
                fields.u64(OFFSET)?,
                "it says where the header lies",
            );
        }
        let length = usize::try_from(size).unwrap_or(usize::MAX) - BINARY;
        let json = window.bytes("metadata", offset + BINARY as u64, length)?;
        check(&fields, &json, place)?;
        Ok(Self {
            uuid: fields.uuid(UUID)?,
            label: fields.label("label", LABEL, 48)?,
            subsystem: fields.label("subsystem", SUBSYSTEM, 48)?,
            sequence: fields.u64(SEQUENCE)?,
            size,
            metadata: Luks2Metadata::parse(&json, size)?,
        })
    }
}

/// Checks the checksum: of the binary part with the checksum itself as zeros, and of all that is kept for the metadata.
fn check(fields: &Fields, json: &[u8], place: Place) -> Result<(), ImageError> {
    let algorithm = fields.name("checksum algorithm", ALGORITHM, 32)?;
    if algorithm != "sha256" {
        return Err(ImageError::field(
            Format::Luks2,
            "checksum algorithm",
            algorithm,
            "this reader knows sha256, which cryptsetup uses",
        ));
    }
    let before = fields.slice(0, CHECKSUM)?;
    let rest = CHECKSUM + CHECKSUM_LENGTH;
    let after = fields.slice(rest, BINARY - rest)?;
    let sum = Sha256::new()
        .chain_update(before)
        .chain_update([0; CHECKSUM_LENGTH])
        .chain_update(after)
        .chain_update(json)
        .finalize();
    if fields.slice(CHECKSUM, sum.len())? != &sum[..] {
        return Err(ImageError::Checksum { copy: place.as_str() });
    }
    Ok(())
}
