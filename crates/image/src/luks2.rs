use std::io::{Read, Seek};

use strongroom_types::PayloadOffset;

use crate::luks2_copy::{Place, RawCopy};
use crate::luks2_metadata::Luks2Metadata;
use crate::window::Window;
use crate::{CostLimit, Format, ImageError, Magic};

/// The sizes that one copy of the header may have, in bytes: "LUKS2 On-Disk Format Specification" 1.1.2, table 1. The second copy
/// lies right behind the first, so these are also the places where it can be.
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

/// What a LUKS2 header says. Salts, digests and key material are not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Luks2Header {
    /// Which volume it is, as text.
    pub uuid: String,
    /// A name that an operator gave.
    pub label: Option<String>,
    /// A second name that an operator gave.
    pub subsystem: Option<String>,
    /// How often the header has been written; the copy with the greater number counts.
    pub sequence: u64,
    /// The size of one copy, metadata included, in bytes.
    pub header_size: u64,
    /// Keyslots, segments and digests.
    pub metadata: Luks2Metadata,
    /// The first copy, at the beginning.
    pub primary: Luks2Copy,
    /// The second copy, behind the first.
    pub secondary: Luks2Copy,
}

/// The state of one of the two copies of a LUKS2 header.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Luks2Copy {
    /// Its checksum and its metadata are right.
    Whole {
        /// Its sequence number.
        sequence: u64,
    },
    /// It cannot be used.
    Damaged {
        /// What is wrong with it.
        problem: String,
    },
}

impl Luks2Header {
    /// Reads the header of a LUKS2 disk, a detached header or a header backup.
    ///
    /// Both copies are read. What counts is the whole one with the greater sequence number, the first when these are equal,
    /// as for cryptsetup; [`primary`](Self::primary) and [`secondary`](Self::secondary) say what state each is in. Without a
    /// readable first copy, the second is looked for in the nine places where it can be.
    ///
    /// At most 13 MiB are read, and at most 4 MiB of them held at a time.
    ///
    /// # Errors
    /// [`ImageError::Magic`] when neither copy is there, [`ImageError::NoWholeCopy`], [`ImageError::Read`].
    pub fn read(reader: &mut (impl Read + Seek)) -> Result<Self, ImageError> {
        let mut window = Window::whole(reader, Format::Luks2)?;
        let first = RawCopy::read(&mut window, Place::Primary, 0);
        let second = match &first {
            Ok(copy) => RawCopy::read(&mut window, Place::Secondary, copy.size),
            // Another format begins here; what looks like a second copy is a leftover.
            Err(ImageError::Magic { found, .. }) if *found == Magic::Luks1.to_string() => {
                return Err(ImageError::Magic {
                    format: Format::Luks2,
                    found: found.clone(),
                });
            }
            Err(_) => search(&mut window),
        };
        let state = |copy: &Result<RawCopy, ImageError>| match copy {
            Ok(copy) => Luks2Copy::Whole {
                sequence: copy.sequence,
            },
            Err(e) => Luks2Copy::Damaged {
                problem: e.to_string(),
            },
        };
        let (primary, secondary) = (state(&first), state(&second));
        let best = match (first, second) {
            (Ok(first), Ok(second)) if second.sequence > first.sequence => second,
            (Ok(copy), _) | (Err(_), Ok(copy)) => copy,
            (Err(first @ ImageError::Magic { .. }), Err(ImageError::Magic { .. })) => return Err(first),
            (Err(first), Err(second)) => {
                return Err(ImageError::NoWholeCopy {
                    primary: Box::new(first),
                    secondary: Box::new(second),
                });
            }
        };
        Ok(Self {
            uuid: best.uuid,
            label: best.label,
            subsystem: best.subsystem,
            sequence: best.sequence,
            header_size: best.size,
            metadata: best.metadata,
            primary,
            secondary,
        })
    }

    /// Where the encrypted sectors begin, when there is one segment: a disk that is being re-encrypted has several.
    /// [`PayloadOffset::NONE`] when they are on another device.
    #[must_use]
    pub fn payload_offset(&self) -> Option<PayloadOffset> {
        self.metadata
            .only_segment()
            .and_then(|segment| PayloadOffset::new(segment.offset).ok())
    }

    /// Where both copies and the keyslot area end, in bytes. A payload on the same device begins there or later.
    #[must_use]
    pub fn header_end(&self) -> u64 {
        2 * self.header_size + self.metadata.keyslots_size
    }

    /// Refuses a header whose key derivations would take too long or too much memory, each alone or all keyslots and digests
    /// together, as for one try of a passphrase.
    ///
    /// # Errors
    /// [`ImageError::Costly`].
    pub fn check_cost(&self, limit: &CostLimit) -> Result<(), ImageError> {
        self.metadata.check_cost(limit)
    }
}

/// Looks for a second copy in every place where it can be.
fn search<R: Read + Seek>(window: &mut Window<'_, R>) -> Result<RawCopy, ImageError> {
    let mut failure = None;
    for size in SIZES {
        match RawCopy::read(window, Place::Secondary, size) {
            Ok(copy) => return Ok(copy),
            Err(ImageError::Magic { .. } | ImageError::Truncated { .. }) => {}
            Err(e) => failure = Some(e),
        }
    }
    Err(failure.unwrap_or(ImageError::Magic {
        format: Format::Luks2,
        found: Magic::None.to_string(),
    }))
}
