//! What our own readers say of a disk or an image, before any tool opens it.

mod qcow2;

pub(crate) use self::qcow2::{cluster_size, snapshots};

use std::error::Error;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use strongroom_endpoint_selector::{DiskFacts, DiskLocation, EndpointError, ErrorKind};
use strongroom_image::{
    BackingFile, CostLimit, ImageError, Luks1Header, Luks2Copy, Luks2Header, Magic, Qcow2Header, open_disk,
};
use strongroom_types::{
    ByteSize, DeviceSize, DiskFormat, EncryptionFormat, Geometry, GuestSize, PayloadOffset, SECTOR,
};

use crate::bounded::Bounded;
use crate::{cipher, device, failure};

/// A path that means the same whatever the working directory is.
pub(crate) fn absolute(operation: &'static str, path: &Path) -> Result<(), EndpointError> {
    if path.is_absolute() {
        return Ok(());
    }
    let message = format!("{} is not absolute", path.display());
    Err(EndpointError::new(ErrorKind::InvalidRequest, operation, message))
}

/// Opens what is to be looked at. It is a disk of the kind that the location says; a file is no symlink, whose target may be
/// anybody's, and a device is the one that is meant.
pub(crate) fn open(operation: &'static str, location: &DiskLocation) -> Result<File, EndpointError> {
    let path = location.path();
    absolute(operation, path)?;
    let io = |e| failure::io(operation, path, e);
    let wrong = |found: &str| {
        let message = format!("{} {found}", path.display());
        EndpointError::new(ErrorKind::WrongDisk, operation, message)
    };
    match location {
        DiskLocation::Block(device) => {
            let (file, bytes) = device::open(operation, device)?;
            device::used(operation, device, bytes)?;
            Ok(file)
        }
        DiskLocation::File(_) => {
            let named = path.symlink_metadata().map_err(io)?;
            if named.is_symlink() {
                return Err(wrong(
                    "is a symlink, which may lead to somebody else's disk; a disk is the file itself",
                ));
            }
            let file = open_disk(path).map_err(|e| unreadable(operation, path, e))?;
            let opened = file.metadata().map_err(io)?;
            if !opened.is_file() {
                return Err(wrong("is not a regular file"));
            }
            same(operation, path, &named, &opened)?;
            Ok(file)
        }
    }
}

/// Opens what is to be looked at, and nothing behind the end of the disk.
pub(crate) fn bounded(operation: &'static str, location: &DiskLocation) -> Result<Bounded, EndpointError> {
    let mut file = open(operation, location)?;
    let bytes = length(operation, location.path(), &mut file)?;
    let disk = match location {
        DiskLocation::File(_) => bytes,
        DiskLocation::Block(device) => device::used(operation, device, bytes)?,
    };
    Ok(Bounded::new(file, disk))
}

/// Fails when what was looked at and what was opened are two.
pub(crate) fn same(
    operation: &'static str,
    path: &Path,
    seen: &Metadata,
    opened: &Metadata,
) -> Result<(), EndpointError> {
    if (seen.dev(), seen.ino()) == (opened.dev(), opened.ino()) {
        return Ok(());
    }
    let message = format!("{} was exchanged while it was looked at", path.display());
    Err(EndpointError::new(ErrorKind::Busy, operation, message))
}

/// Reads the header of a disk, and which image it names as its base. What is there must be what is said, but for the base, which is
/// still to be looked at.
pub(crate) fn disk(
    operation: &'static str,
    location: &DiskLocation,
    format: DiskFormat,
    encryption: Option<EncryptionFormat>,
) -> Result<(DiskFacts, Option<BackingFile>), EndpointError> {
    let mut file = bounded(operation, location)?;
    let wrong = Wrong {
        operation,
        location,
        format,
        encryption,
    };
    let header = match (format, encryption) {
        (DiskFormat::Qcow2, Some(EncryptionFormat::Luks2)) => {
            return Err(EndpointError::new(
                ErrorKind::Unsupported,
                operation,
                "qcow2 has no LUKS2; use luks1",
            ));
        }
        (DiskFormat::Qcow2, said) => qcow2::header(&wrong, &mut file, said)?,
        (DiskFormat::Raw, None) => plain_raw(&wrong, &mut file)?,
        (DiskFormat::Raw, Some(EncryptionFormat::Luks1)) => luks1(&wrong, &mut file)?,
        (DiskFormat::Raw, Some(EncryptionFormat::Luks2)) => luks2(&wrong, &mut file)?,
    };
    let whole = match format {
        DiskFormat::Raw => file.length(),
        // The file ends where its last write ended.
        DiskFormat::Qcow2 => file.length().next_multiple_of(SECTOR),
    };
    let device = DeviceSize::new(whole).map_err(|e| wrong.because(&e))?;
    let guest = match header.guest {
        Guest::Exactly(bytes) => GuestSize::new(bytes).map_err(|e| wrong.because(&e))?,
        Guest::RestOfDevice => Geometry::of_device(device, header.payload_offset)
            .map_err(|e| wrong.because(&e))?
            .guest(),
    };
    let mut facts = DiskFacts::new(location.clone(), format, guest, device);
    facts.encryption = encryption;
    facts.payload_offset = header.payload_offset;
    facts.cipher = header.cipher;
    facts.allocated = match location {
        DiskLocation::File(path) => {
            let metadata = file
                .file()
                .metadata()
                .map_err(|e| failure::io(operation, path, e))?;
            ByteSize::bytes(metadata.blocks().saturating_mul(SECTOR))
        }
        DiskLocation::Block(_) => device.bytes(),
    };
    Ok((facts, header.backing))
}

/// What a header says of a disk.
struct HeaderFacts {
    guest: Guest,
    payload_offset: PayloadOffset,
    cipher: Option<String>,
    backing: Option<BackingFile>,
}

enum Guest {
    Exactly(u64),
    RestOfDevice,
}

/// A disk that is not what was said.
struct Wrong<'a> {
    operation: &'static str,
    location: &'a DiskLocation,
    format: DiskFormat,
    encryption: Option<EncryptionFormat>,
}

impl Wrong<'_> {
    fn says(&self, found: &str) -> EndpointError {
        let said = match self.encryption {
            None => format!("plain {}", self.format),
            Some(luks) => format!("{} with {luks}", self.format),
        };
        let message = format!("{} is said to be {said}, but {found}", self.location);
        EndpointError::new(ErrorKind::WrongDisk, self.operation, message)
    }

    fn because(&self, error: &dyn Error) -> EndpointError {
        self.says(&error.to_string())
    }

    /// A header that is right in all else can say that nothing is encrypted.
    fn sound(&self, cipher: String) -> Result<String, EndpointError> {
        if cipher::is_sound(&cipher) {
            return Ok(cipher);
        }
        Err(self.says(&format!(
            "its cipher is {cipher:?}, which is not known to keep it secret"
        )))
    }

    fn header(&self, error: ImageError) -> EndpointError {
        if matches!(error, ImageError::Read { .. }) {
            return unreadable(self.operation, self.location.path(), error);
        }
        let found = match &error {
            ImageError::Magic { found, .. } => format!("is {found}"),
            other => other.to_string(),
        };
        self.says(&found).with_source(error)
    }
}

/// A plain raw disk is all content, and the content is the guest's, with one exception: a disk that begins with a LUKS header is
/// more likely an encrypted one whose record is wrong than one that its guest encrypted as a whole, and nothing that may be
/// ciphertext is handled as plain.
fn plain_raw(wrong: &Wrong<'_>, file: &mut Bounded) -> Result<HeaderFacts, EndpointError> {
    let found = Magic::read(file).map_err(|e| wrong.header(e))?;
    if found.is_luks() {
        return Err(wrong.says(&format!("has a header of {found}")));
    }
    // Without its first copy, a LUKS2 header still has its second.
    if Luks2Header::read(file).is_ok() {
        return Err(wrong.says("has the second copy of a LUKS2 header"));
    }
    Ok(HeaderFacts {
        guest: Guest::RestOfDevice,
        payload_offset: PayloadOffset::NONE,
        cipher: None,
        backing: None,
    })
}

fn luks1(wrong: &Wrong<'_>, file: &mut Bounded) -> Result<HeaderFacts, EndpointError> {
    let header = Luks1Header::read(file).map_err(|e| wrong.header(e))?;
    header
        .check_cost(&CostLimit::default())
        .map_err(|e| wrong.header(e))?;
    if header.payload_offset == PayloadOffset::NONE {
        return Err(wrong.says("has the header of another device"));
    }
    Ok(HeaderFacts {
        guest: Guest::RestOfDevice,
        payload_offset: header.payload_offset,
        cipher: Some(wrong.sound(header.cipher_spec())?),
        backing: None,
    })
}

fn luks2(wrong: &Wrong<'_>, file: &mut Bounded) -> Result<HeaderFacts, EndpointError> {
    let header = Luks2Header::read(file).map_err(|e| wrong.header(e))?;
    header
        .check_cost(&CostLimit::default())
        .map_err(|e| wrong.header(e))?;
    for copy in [&header.primary, &header.secondary] {
        if let Luks2Copy::Damaged { problem } = copy {
            let disk = wrong.location.path();
            tracing::warn!(?disk, problem, "one of two copies of a LUKS2 header is damaged");
        }
    }
    let (Some(segment), Some(payload_offset)) = (header.metadata.only_segment(), header.payload_offset())
    else {
        return Err(wrong.says("lies in several pieces; a re-encryption is not finished"));
    };
    if payload_offset.get() < header.header_end() {
        return Err(wrong.says("has a payload that overlaps its header, or the header of another device"));
    }
    let Some(cipher) = segment.encryption.clone() else {
        return Err(wrong.says("has a payload that is not encrypted"));
    };
    Ok(HeaderFacts {
        guest: segment.size.map_or(Guest::RestOfDevice, Guest::Exactly),
        payload_offset,
        cipher: Some(wrong.sound(cipher)?),
        backing: None,
    })
}

/// Which LUKS a raw disk has, as its first bytes say, or a second copy of the header where those are gone: for a disk whose
/// keyslots are to be destroyed, the rest of the header may be as damaged as it likes.
pub(crate) fn luks_version(
    operation: &'static str,
    location: &DiskLocation,
) -> Result<EncryptionFormat, EndpointError> {
    let mut file = bounded(operation, location)?;
    let path = location.path();
    match Magic::read(&mut file).map_err(|e| unreadable(operation, path, e))? {
        Magic::Luks1 => Ok(EncryptionFormat::Luks1),
        Magic::Luks2 => Ok(EncryptionFormat::Luks2),
        _ if Luks2Header::read(&mut file).is_ok() => Ok(EncryptionFormat::Luks2),
        found => {
            let message = format!("{} has no LUKS header; it is {found}", path.display());
            Err(EndpointError::new(ErrorKind::WrongDisk, operation, message))
        }
    }
}

/// Fails when no keyslot of a LUKS1 header is active. Then no key opens the disk, and QEMU would only say that this one does not.
pub(crate) fn has_keyslot(
    operation: &'static str,
    location: &DiskLocation,
    format: DiskFormat,
) -> Result<(), EndpointError> {
    let mut file = bounded(operation, location)?;
    let header = match format {
        DiskFormat::Raw => Luks1Header::read(&mut file).map(Some),
        DiskFormat::Qcow2 => Qcow2Header::read(&mut file).map(|header| header.luks.map(|luks| luks.header)),
    };
    match header.map_err(|e| unreadable(operation, location.path(), e))? {
        Some(header) if header.active_keyslots() == 0 => {
            let message = format!(
                "{location} has no active keyslot: no key opens it, only a header backup would bring it back"
            );
            Err(EndpointError::new(ErrorKind::WrongKey, operation, message))
        }
        _ => Ok(()),
    }
}

/// How many bytes there are; of a device too.
pub(crate) fn length(operation: &'static str, path: &Path, file: &mut File) -> Result<u64, EndpointError> {
    std::io::Seek::seek(file, std::io::SeekFrom::End(0)).map_err(|e| failure::io(operation, path, e))
}

/// A disk that could not be read at all.
pub(crate) fn unreadable(operation: &'static str, path: &Path, error: ImageError) -> EndpointError {
    match error {
        ImageError::Open { source, .. } | ImageError::Read { source, .. } => {
            failure::io(operation, path, source)
        }
        ImageError::NotADisk { .. } => {
            EndpointError::new(ErrorKind::WrongDisk, operation, error.to_string()).with_source(error)
        }
        other => {
            let message = format!("{}: {other}", path.display());
            EndpointError::new(ErrorKind::WrongDisk, operation, message).with_source(other)
        }
    }
}
