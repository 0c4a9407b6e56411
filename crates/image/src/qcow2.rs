use std::ffi::OsString;
use std::io::{Read, Seek};
use std::os::unix::ffi::OsStringExt;

use crate::qcow2_extensions::Extensions;
use crate::qcow2_tables::{Table, check_tables};
use crate::window::{Fields, Window};
use crate::{CostLimit, Format, ImageError, Luks1Header, Magic, Qcow2Features};

/// Places in the header, in bytes; docs/interop/qcow2.rst of QEMU, section "Header".
const VERSION: usize = 4;
const BACKING_OFFSET: usize = 8;
const BACKING_LENGTH: usize = 16;
const CLUSTER_BITS: usize = 20;
const SIZE: usize = 24;
const CRYPT_METHOD: usize = 32;
const REFCOUNT_ORDER: usize = 96;
const HEADER_LENGTH: usize = 100;
const COMPRESSION_TYPE: usize = 104;
const LENGTH_OF_VERSION_2: u32 = 72;
const LENGTH_OF_VERSION_3: u32 = 104;

/// The longest name of a backing file that QEMU reads, in bytes.
const LONGEST_NAME: u32 = 1023;

/// What a qcow2 header says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Qcow2Header {
    /// 2 (compat 0.10) or 3 (compat 1.1).
    pub version: u32,
    /// What a guest sees, in bytes. The format allows zero, and sizes that are no multiple of 512.
    pub size: u64,
    /// The size of a cluster in bytes: a power of two, 512 bytes to 2 MiB.
    pub cluster_size: u64,
    /// The width of a reference count in bits: a power of two, 1 to 64.
    pub refcount_bits: u32,
    /// The feature bits.
    pub features: Qcow2Features,
    /// How compressed clusters are compressed, should there be any.
    pub compression: Compression,
    /// The image below this one.
    pub backing: Option<BackingFile>,
    /// The file that holds the guest's data instead of this one.
    pub data_file: Option<DataFile>,
    /// How guest data is encrypted.
    pub encryption: Encryption,
    /// The LUKS1 header inside, when `encryption` is [`Encryption::Luks`], and only then.
    pub luks: Option<EmbeddedLuks>,
    /// The number of snapshots inside, at most 65,536.
    pub snapshots: u32,
}

/// How guest data of a qcow2 image is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Encryption {
    /// Not at all.
    None,
    /// With AES in CBC mode and a key that is the passphrase itself. It is broken, and QEMU only converts it.
    LegacyAes,
    /// With LUKS1.
    Luks,
}

/// How clusters are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Deflate, without a zlib header.
    Zlib,
    /// Zstandard.
    Zstd,
}

/// A name of an image below this one. It may be anything that QEMU takes for a name, `json:` and `nbd:` included.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackingFile {
    /// The name.
    pub name: OsString,
    /// Its format, where the header says one.
    pub format: Option<OsString>,
}

/// A file that holds the guest's data.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataFile {
    /// Its name, where the header says one.
    pub name: Option<OsString>,
}

/// The LUKS1 header inside a qcow2 image.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EmbeddedLuks {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// What is kept for it, key material included, in bytes.
    pub length: u64,
    /// What it says. Its places count from `offset`; its payload offset means nothing in qcow2.
    pub header: Luks1Header,
}

impl Qcow2Header {
    /// Reads the header of a qcow2 image, its extensions, and the LUKS header inside.
    ///
    /// The header is accepted only when QEMU would accept it too and each table that it names lies inside the reader and over no
    /// other one. The tables themselves are not read. At most one cluster, which is 2 MiB, and 1 KiB are read.
    ///
    /// An image that is accepted may still have a backing file, a data file or another encryption: look before you open it.
    ///
    /// # Errors
    /// [`ImageError::Magic`], [`ImageError::Truncated`], [`ImageError::Field`], [`ImageError::Features`] and
    /// [`ImageError::Read`].
    pub fn read(reader: &mut (impl Read + Seek)) -> Result<Self, ImageError> {
        let mut window = Window::whole(reader, Format::Qcow2)?;
        let start = window.bytes("magic", 0, usize::try_from(window.length().min(8)).unwrap_or(8))?;
        if !matches!(Magic::of(&start), Magic::Qcow2) {
            return Err(ImageError::Magic {
                format: Format::Qcow2,
                found: Magic::of(&start).to_string(),
            });
        }
        let begin = window.fields("fixed part", 0, LENGTH_OF_VERSION_2 as usize)?;
        let cluster_bits = begin.u32(CLUSTER_BITS)?;
        if !(9..=21).contains(&cluster_bits) {
            return Err(odd(
                "cluster bits",
                cluster_bits,
                "clusters have 512 bytes to 2 MiB",
            ));
        }
        let cluster_size = 1u64 << cluster_bits;
        let first = window.fields("first cluster", 0, 1 << cluster_bits)?;
        let version = first.u32(VERSION)?;
        let header_length = header_length(&first, version, cluster_size)?;
        let features = Qcow2Features::read(&first, version)?;
        if features.extended_l2 && cluster_bits < 14 {
            return Err(odd(
                "cluster bits",
                cluster_bits,
                "extended L2 entries need clusters of 16 KiB",
            ));
        }
        let refcount_order = if version < 3 {
            4
        } else {
            first.u32(REFCOUNT_ORDER)?
        };
        if refcount_order > 6 {
            return Err(odd(
                "refcount order",
                refcount_order,
                "reference counts have 1 to 64 bits",
            ));
        }
        let compression = compression(&first, header_length, &features)?;
        let place = backing_place(&first, header_length, cluster_size)?;
        let extensions_end = place.map_or(cluster_size, |(offset, _)| offset.into());
        let extensions = Extensions::read(&first, header_length, extensions_end)?;
        let encryption = encryption(&first, &extensions)?;
        let size = first.u64(SIZE)?;
        if size > i64::MAX as u64 {
            return Err(odd("size", size, "a file offset has 63 bits"));
        }
        let tables = Table::of_header(&first, cluster_bits, size, features.extended_l2, extensions.luks)?;
        check_tables(&tables, cluster_size, window.length())?;
        let luks = match extensions.luks {
            Some((offset, length)) if encryption == Encryption::Luks => Some(EmbeddedLuks {
                offset,
                length,
                header: Luks1Header::in_window(&mut window.part(
                    "LUKS header",
                    offset,
                    length,
                    Format::Luks1,
                )?)?,
            }),
            _ => None,
        };
        let backing = match place {
            Some((offset, length)) if length > 0 => Some(BackingFile {
                name: OsString::from_vec(first.slice(offset as usize, length as usize)?.to_vec()),
                format: extensions.backing_format,
            }),
            _ => None,
        };
        Ok(Self {
            version,
            size,
            cluster_size,
            refcount_bits: 1 << refcount_order,
            data_file: features.data_file.then_some(DataFile {
                name: extensions.data_file,
            }),
            features,
            compression,
            backing,
            encryption,
            luks,
            snapshots: Table::snapshots(&first)?,
        })
    }

    /// Refuses a LUKS header inside whose key derivations would take too long.
    ///
    /// # Errors
    /// [`ImageError::Costly`].
    pub fn check_cost(&self, limit: &CostLimit) -> Result<(), ImageError> {
        self.luks
            .as_ref()
            .map_or(Ok(()), |luks| luks.header.check_cost(limit))
    }
}

pub(crate) fn odd(field: &'static str, found: impl std::fmt::Display, rule: &'static str) -> ImageError {
    ImageError::field(Format::Qcow2, field, found, rule)
}

fn header_length(first: &Fields, version: u32, cluster_size: u64) -> Result<u32, ImageError> {
    if version < 3 {
        return Ok(LENGTH_OF_VERSION_2);
    }
    let length = first.u32(HEADER_LENGTH)?;
    if length < LENGTH_OF_VERSION_3 || u64::from(length) > cluster_size || length % 8 != 0 {
        return Err(odd(
            "header length",
            length,
            "it is a multiple of 8, 104 bytes to a cluster",
        ));
    }
    Ok(length)
}

fn compression(
    first: &Fields,
    header_length: u32,
    features: &Qcow2Features,
) -> Result<Compression, ImageError> {
    let [found] = match header_length {
        0..=LENGTH_OF_VERSION_3 => [0],
        _ => first.array(COMPRESSION_TYPE)?,
    };
    match (found, features.compression_type) {
        (0, false) => Ok(Compression::Zlib),
        (1, true) => Ok(Compression::Zstd),
        (0 | 1, _) => Err(odd(
            "compression type",
            found,
            "it says the same as the feature bit",
        )),
        _ => Err(odd("compression type", found, "it is zlib (0) or zstd (1)")),
    }
}

/// Where the name of the backing file lies and how long it is.
fn backing_place(
    first: &Fields,
    header_length: u32,
    cluster_size: u64,
) -> Result<Option<(u32, u32)>, ImageError> {
    let (offset, length) = (first.u64(BACKING_OFFSET)?, first.u32(BACKING_LENGTH)?);
    if offset == 0 {
        return Ok(None);
    }
    let end = offset.saturating_add(length.into());
    let narrow = u32::try_from(offset).ok().filter(|o| *o >= header_length);
    match narrow {
        Some(offset) if end <= cluster_size && length <= LONGEST_NAME => Ok(Some((offset, length))),
        _ => Err(odd(
            "place of the backing file's name",
            format_args!("{length} bytes at {offset}"),
            "it is at most 1023 bytes behind the header in the first cluster",
        )),
    }
}

fn encryption(first: &Fields, extensions: &Extensions) -> Result<Encryption, ImageError> {
    let found = first.u32(CRYPT_METHOD)?;
    match (found, extensions.luks) {
        (0, None) => Ok(Encryption::None),
        (1, None) => Ok(Encryption::LegacyAes),
        (2, Some(_)) => Ok(Encryption::Luks),
        (2, None) => Err(odd(
            "crypt method",
            "LUKS",
            "there is no pointer to a LUKS header",
        )),
        (0 | 1, Some(_)) => Err(odd("crypt method", found, "there is a pointer to a LUKS header")),
        _ => Err(odd("crypt method", found, "it is none (0), AES (1) or LUKS (2)")),
    }
}
