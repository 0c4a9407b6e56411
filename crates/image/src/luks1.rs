use std::io::{Read, Seek};
use std::ops::Range;

use strongroom_types::{PayloadOffset, SECTOR};

use crate::cost::Total;
use crate::magic::{LUKS, Magic};
use crate::window::Window;
use crate::{CostLimit, Format, ImageError};

/// Figures 4 and 5 of the "LUKS1 On-Disk Format Specification", version 1.2.3. Places in bytes.
const LENGTH: usize = 592;
pub(crate) const CIPHER: usize = 8;
pub(crate) const MODE: usize = 40;
pub(crate) const HASH: usize = 72;
pub(crate) const PAYLOAD: usize = 104;
pub(crate) const KEY_BYTES: usize = 108;
pub(crate) const DIGEST: u64 = 112;
pub(crate) const DIGEST_LENGTH: usize = 20;
pub(crate) const DIGEST_SALT: u64 = 132;
pub(crate) const SALT_LENGTH: usize = 32;
pub(crate) const DIGEST_ITERATIONS: usize = 164;
pub(crate) const UUID: usize = 168;
pub(crate) const FIRST_SLOT: usize = 208;
pub(crate) const SLOT_LENGTH: usize = 48;
pub(crate) const ACTIVE: u32 = 0x00AC_71F3;
pub(crate) const DISABLED: u32 = 0x0000_DEAD;

/// Where the salt lies in the record of a keyslot.
pub(crate) const SALT: u64 = 8;

/// The number that every writer uses, and the only one that QEMU accepts.
pub(crate) const STRIPES: u32 = 4000;

/// What the header takes, and of what key material takes a multiple, in bytes: the unit of every writer, and the least that
/// QEMU accepts.
pub(crate) const PAGE: u64 = 4096;

/// The longest key that any cipher of the kernel takes, in bytes.
const LONGEST_KEY: u32 = 64;

/// What a LUKS1 header says. Salts, digest and key material are not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Luks1Header {
    /// The cipher, such as `aes`.
    pub cipher: String,
    /// Its mode with the initialization vectors, such as `xts-plain64`.
    pub mode: String,
    /// The hash of all key derivations, such as `sha256`.
    pub hash: String,
    /// Where the encrypted sectors begin; [`PayloadOffset::NONE`] when they are on another device.
    pub payload_offset: PayloadOffset,
    /// The length of the volume key in bytes.
    pub key_bytes: u32,
    /// PBKDF2 iterations of the digest that tells a right volume key from a wrong one.
    pub digest_iterations: u32,
    /// Which volume it is, as text.
    pub uuid: String,
    /// The eight keyslots.
    pub keyslots: [Luks1Keyslot; 8],
}

/// One of the eight keyslots of a LUKS1 header.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Luks1Keyslot {
    /// Whether a passphrase opens it.
    pub active: bool,
    /// Its PBKDF2 iterations; what a disabled slot says has no meaning.
    pub iterations: u32,
    /// Where its key material lies, in bytes from the beginning of the header; whole sectors.
    pub material: Range<u64>,
    /// Where its record lies in the header, in bytes.
    pub record: Range<u64>,
}

impl Luks1Header {
    /// Reads the header of a raw LUKS1 disk, a detached header or a header backup.
    ///
    /// The header is accepted only when QEMU and cryptsetup would accept it too: known version, names that print, key
    /// material that lies behind the header, inside the reader, before the payload, and not over other key material, where the
    /// header and each key material take whole units of 4096 bytes. The end of the payload is not looked at. 592 bytes are
    /// read.
    ///
    /// # Errors
    /// [`ImageError::Magic`], [`ImageError::Truncated`], [`ImageError::Field`] and [`ImageError::Read`].
    pub fn read(reader: &mut (impl Read + Seek)) -> Result<Self, ImageError> {
        Self::in_window(&mut Window::whole(reader, Format::Luks1)?)
    }

    pub(crate) fn in_window(window: &mut Window<'_, impl Read + Seek>) -> Result<Self, ImageError> {
        let odd = |field, found: u64, rule| ImageError::field(Format::Luks1, field, found, rule);
        let start = usize::try_from(window.length()).unwrap_or(usize::MAX).min(8);
        let start = window.bytes("magic", 0, start)?;
        if Magic::of(&start) != Magic::Luks1 {
            return Err(ImageError::Magic {
                format: Format::Luks1,
                found: Magic::of(&start).to_string(),
            });
        }
        let fields = window.fields("fixed part", 0, LENGTH)?;
        debug_assert_eq!(fields.bytes().get(..LUKS.len()), Some(&LUKS[..]));
        let payload = u64::from(fields.u32(PAYLOAD)?) * SECTOR;
        let payload_offset = PayloadOffset::new(payload)
            .map_err(|_| odd("payload offset", payload, "it is the place of a sector"))?;
        let key_bytes = fields.u32(KEY_BYTES)?;
        if !(1..=LONGEST_KEY).contains(&key_bytes) {
            return Err(odd(
                "key length in bytes",
                key_bytes.into(),
                "keys have 1 to 64 bytes",
            ));
        }
        let digest_iterations = fields.u32(DIGEST_ITERATIONS)?;
        if digest_iterations == 0 {
            return Err(odd("iterations of the digest", 0, "there is at least one"));
        }
        let mut keyslots = [const { Luks1Keyslot::NONE }; 8];
        for (number, slot) in keyslots.iter_mut().enumerate() {
            let at = FIRST_SLOT + number * SLOT_LENGTH;
            let active = match fields.u32(at)? {
                ACTIVE => true,
                DISABLED => false,
                other => {
                    return Err(odd(
                        "state of a keyslot",
                        other.into(),
                        "it is active or disabled",
                    ));
                }
            };
            let iterations = fields.u32(at + 4)?;
            if active && iterations == 0 {
                return Err(odd("iterations of a keyslot", 0, "there is at least one"));
            }
            let stripes = fields.u32(at + 44)?;
            if stripes != STRIPES {
                return Err(odd("stripes of a keyslot", stripes.into(), "there are 4000"));
            }
            let begin = u64::from(fields.u32(at + 40)?) * SECTOR;
            let length = (u64::from(key_bytes) * u64::from(stripes)).next_multiple_of(SECTOR);
            *slot = Luks1Keyslot {
                active,
                iterations,
                material: begin..begin + length,
                record: at as u64..(at + SLOT_LENGTH) as u64,
            };
        }
        check_material(&keyslots, payload, window)?;
        Ok(Self {
            cipher: fields.name("cipher", CIPHER, 32)?,
            mode: fields.name("cipher mode", MODE, 32)?,
            hash: fields.name("hash", HASH, 32)?,
            payload_offset,
            key_bytes,
            digest_iterations,
            uuid: fields.uuid(UUID)?,
            keyslots,
        })
    }

    /// Cipher and mode as the kernel spells them, such as `aes-xts-plain64`.
    #[must_use]
    pub fn cipher_spec(&self) -> String {
        format!("{}-{}", self.cipher, self.mode)
    }

    /// How many keyslots a passphrase opens.
    #[must_use]
    pub fn active_keyslots(&self) -> usize {
        self.keyslots.iter().filter(|slot| slot.active).count()
    }

    /// Where the last key material ends, in bytes from the beginning of the header.
    #[must_use]
    pub fn material_end(&self) -> u64 {
        self.keyslots
            .iter()
            .map(|slot| slot.material.end)
            .max()
            .unwrap_or_default()
    }

    /// Refuses a header whose key derivations would keep a processor busy for too long. Trying one passphrase costs the sum of
    /// what its active slots ask for, and for each of them what the digest asks for; that sum is what the limit is for.
    ///
    /// # Errors
    /// [`ImageError::Costly`].
    pub fn check_cost(&self, limit: &CostLimit) -> Result<(), ImageError> {
        let mut total = Total::within(limit);
        total.pbkdf2(
            "the volume key digest",
            self.digest_iterations,
            self.active_keyslots(),
        )?;
        for (number, slot) in self.keyslots.iter().enumerate().filter(|(_, slot)| slot.active) {
            total.pbkdf2(&format!("keyslot {number}"), slot.iterations, 1)?;
        }
        Ok(())
    }
}

impl Luks1Keyslot {
    const NONE: Self = Self {
        active: false,
        iterations: 0,
        material: 0..0,
        record: 0..0,
    };

    /// The record of this slot as it is when nothing opens it: disabled, without iterations and salt, its key material in the
    /// same place.
    #[must_use]
    pub fn disabled_record(&self) -> [u8; SLOT_LENGTH] {
        let mut record = [0; SLOT_LENGTH];
        let sector = u32::try_from(self.material.start / SECTOR).unwrap_or(u32::MAX);
        let mut put = |at: usize, number: u32| {
            for (to, from) in record.iter_mut().skip(at).zip(number.to_be_bytes()) {
                *to = from;
            }
        };
        put(0, DISABLED);
        put(40, sector);
        put(44, STRIPES);
        record
    }
}

fn check_material<R: Read + Seek>(
    keyslots: &[Luks1Keyslot; 8],
    payload: u64,
    window: &Window<'_, R>,
) -> Result<(), ImageError> {
    const FIELD: &str = "key material of a keyslot";
    let odd = |slot: &Luks1Keyslot, rule| {
        let found = format!("at bytes {} to {}", slot.material.start, slot.material.end);
        Err(ImageError::field(Format::Luks1, FIELD, found, rule))
    };
    let mut in_order: Vec<_> = keyslots.iter().collect();
    in_order.sort_by_key(|slot| slot.material.start);
    let mut taken = PAGE;
    for slot in &in_order {
        if slot.material.start < taken {
            return odd(slot, "it lies behind the header and over no other");
        }
        taken = slot.material.start + (slot.material.end - slot.material.start).next_multiple_of(PAGE);
        if payload != 0 && taken > payload {
            return odd(slot, "it ends before the payload begins");
        }
    }
    window.check(
        "key material",
        0,
        in_order.last().map_or(0, |slot| slot.material.end),
    )
}
