use std::collections::BTreeMap;

use strongroom_types::{DeviceSize, EncryptionFormat, Geometry, GeometryError, PayloadOffset, SizeError};
use uuid::Uuid;

use crate::CryptsetupError;
use crate::content::LUKS_MAGIC;
use crate::disk::{Disk, Sharing};
use crate::luks2_copy::{Found, counting};
use crate::stretching::Stretching;
use crate::target::Target;

/// What a LUKS header says, of either version. It holds nothing secret, and shows neither salts nor digests nor key
/// material.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The version.
    pub format: EncryptionFormat,
    /// Which volume it is.
    pub uuid: Uuid,
    /// The label of a LUKS2 header, when it has one.
    pub label: Option<String>,
    /// The cipher as the kernel spells it, such as `aes-xts-plain64`.
    pub cipher: String,
    /// The length of the volume key in bits. A LUKS2 header without keyslots does not say.
    pub key_bits: Option<u32>,
    /// The unit of encryption in bytes.
    pub sector_size: u32,
    /// Where the payload begins; [`PayloadOffset::NONE`] when the header is detached.
    pub payload_offset: PayloadOffset,
    /// The keyslots that open the volume, by number. None after an erase.
    pub keyslots: BTreeMap<u8, Keyslot>,
    /// For how many more keyslots there is room.
    pub free_keyslots: u8,
    /// What tells one volume key from another: the salted digests of it.
    pub(crate) volume_key: Vec<u8>,
    /// What one try of a passphrase costs.
    pub(crate) stretching: Stretching,
}

/// One way to open a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keyslot {
    /// What it costs to try a passphrase on it.
    pub kdf: Kdf,
}

/// How a passphrase is stretched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kdf {
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
        variant: String,
        /// How often the memory is gone through.
        iterations: u32,
        /// How much memory it takes, in KiB.
        kibibytes: u32,
        /// How many threads work on it.
        threads: u32,
    },
}

/// Why a header is not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The device or file ends inside the header.
    #[error("it ends after {have} of {need} bytes")]
    Truncated {
        /// How many bytes there are.
        have: u64,
        /// How many are needed.
        need: u64,
    },
    /// A version that nobody has defined.
    #[error("it is of version {0}, known are 1 and 2")]
    Version(u16),
    /// A field that is to hold a text does not.
    #[error("its {field} is not a text")]
    Text {
        /// The field.
        field: &'static str,
    },
    /// The UUID is none.
    #[error("its UUID is none")]
    Uuid(#[source] uuid::Error),
    /// A field has a value that it cannot have.
    #[error("its {field} is {found}")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        found: u64,
    },
    /// Key derivations that would keep a processor busy for minutes, one alone or those of all keyslots together, or take more
    /// memory than cryptsetup ever would: an attack by whoever wrote the header.
    #[error("{whose} asks for a key derivation with {iterations} iterations, more than anybody chooses")]
    Costly {
        /// Which key derivation.
        whose: &'static str,
        /// How many iterations.
        iterations: u64,
    },
    /// The payload cannot begin there.
    #[error("its payload cannot begin where it says")]
    Payload(#[source] SizeError),
    /// The metadata of LUKS2 is not what the format says.
    #[error("its metadata is not that of LUKS2")]
    Metadata(#[source] serde_json::Error),
    /// A volume that is being encrypted anew, or lies in several pieces.
    #[error("it has {segments} segments; a volume that is not being re-encrypted has one")]
    Segments {
        /// How many.
        segments: usize,
    },
    /// Neither copy of a LUKS2 header has the checksum that it should have.
    #[error("neither copy of it is whole")]
    NoWholeCopy,
    /// The metadata of LUKS2 does not pass cryptsetup's own checks.
    #[error("cryptsetup refuses its metadata: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
}

impl Header {
    /// What a guest sees of a device of this size.
    ///
    /// # Errors
    /// [`GeometryError::NoRoom`] when nothing is left behind the header.
    pub fn geometry(&self, device: DeviceSize) -> Result<Geometry, GeometryError> {
        Geometry::of_device(device, self.payload_offset)
    }
}

/// The version of a LUKS header: what its first eight bytes say, or that of a second copy where there is no first one.
pub(crate) fn version_of(disk: &Disk) -> Result<EncryptionFormat, CryptsetupError> {
    let path = || disk.path().to_owned();
    let ([m0, m1, m2, m3, m4, m5, v0, v1], have) = disk.beginning::<8>()?;
    if [m0, m1, m2, m3, m4, m5] != *LUKS_MAGIC || have < 6 {
        // Nobody else leaves a whole second copy, which cryptsetup opens the volume by.
        return match counting(disk)? {
            Found::Whole(_) => Ok(EncryptionFormat::Luks2),
            Found::Damaged | Found::Nothing => Err(CryptsetupError::NotLuks { path: path() }),
        };
    }
    if have < 8 {
        return Err(CryptsetupError::Header {
            path: path(),
            source: HeaderError::Truncated {
                have: have as u64,
                need: 8,
            },
        });
    }
    match u16::from_be_bytes([v0, v1]) {
        1 => Ok(EncryptionFormat::Luks1),
        2 => Ok(EncryptionFormat::Luks2),
        other => Err(CryptsetupError::Header {
            path: path(),
            source: HeaderError::Version(other),
        }),
    }
}

/// The open header device of a target whose header is of the version that the caller has recorded.
pub(crate) fn expect_version(target: &Target, sharing: Sharing) -> Result<Disk, CryptsetupError> {
    let disk = Disk::open(target.header_device(), sharing)?;
    let found = version_of(&disk)?;
    if found == target.format() {
        Ok(disk)
    } else {
        Err(CryptsetupError::WrongFormat {
            path: disk.path().to_owned(),
            expected: target.format(),
            found,
        })
    }
}

/// The text of a field that ends with the first zero byte.
pub(crate) fn text(bytes: &[u8], field: &'static str) -> Result<String, HeaderError> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    match std::str::from_utf8(text) {
        Ok(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(HeaderError::Text { field }),
    }
}

/// The UUID of a field of 40 bytes, written with hyphens as LUKS has it.
pub(crate) fn uuid(bytes: &[u8]) -> Result<Uuid, HeaderError> {
    Uuid::try_parse(&text(bytes, "UUID")?).map_err(HeaderError::Uuid)
}
