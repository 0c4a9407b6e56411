use std::fs::File;
use std::io;
use std::path::Path;

use strongroom_endpoint_selector::{
    CreateDisk, Disk, DiskContent, DiskLocation, EndpointError, ErrorKind, HostAnswer, Protection,
    SourceImage,
};
use strongroom_secret::Origin;
use strongroom_types::{Call, DiskFormat, EncryptionFormat, Geometry, GuestSize, PayloadOffset};

use crate::source::{self, Source};
use crate::staging::Staging;
use crate::tools::{NewHeader, Tools};
use crate::{copy, digest, failure, inspect, new_luks1, overlay, reading};

const CREATE: &str = "CreateDisk";

/// The guest bytes of a qcow2 with clusters of 64 KiB, which are QEMU's default: its first table has at most 32 MiB
/// (`QCOW_MAX_L1_SIZE` of QEMU), each entry of 8 bytes stands for 512 MiB.
const LARGEST_QCOW2: u64 = 1 << 51;

/// Makes a disk file under a staging name, proves it, and gives it its own name only then.
pub(crate) fn create(tools: &Tools, call: &Call, c: &CreateDisk<'_>) -> Result<HostAnswer, EndpointError> {
    reading::absolute(CREATE, c.path)?;
    if c.path.symlink_metadata().is_ok() {
        return Err(taken(c.path));
    }
    largest(CREATE, c.format, c.guest)?;
    c.content.admit(CREATE, c.protection)?;
    let named = DiskLocation::File(c.path.to_owned());
    let source = source::of(&c.content)
        .map(|content| {
            source::openable(CREATE, &Disk::new(&named, c.format, c.protection))?;
            let source = Source::admit(tools, call, CREATE, content)?;
            source.fits(CREATE, c.guest)?;
            Ok(source)
        })
        .transpose()?;
    let base = match c.content {
        DiskContent::Overlay(base) => {
            admit_base(&base, c)?;
            Some(base)
        }
        _ => None,
    };
    let staging = Staging::beside(c.path).map_err(|e| failure::io(CREATE, c.path, e))?;
    let location = DiskLocation::File(staging.path());
    let disk = Disk::new(&location, c.format, c.protection).on(base);
    let home = c.path.parent().unwrap_or(Path::new("/"));
    let header = make(tools, call, &disk, c, home)?;
    let mut facts = match (header, source) {
        (Header::Ours, None) => new_luks1::prove(tools, call, CREATE, &disk)?,
        (_, None) => inspect::prove_for(tools, call, CREATE, &disk, home)?,
        (_, Some(source)) => {
            source.log_declassification(c.path);
            copy::copy(tools, call, CREATE, &source, &disk, true)?;
            inspect::prove_for(tools, call, CREATE, &disk, home)?
        }
    };
    if facts.guest != c.guest {
        let message = format!(
            "the disk came out with {} bytes instead of {}",
            facts.guest.get(),
            c.guest.get()
        );
        return Err(EndpointError::new(ErrorKind::Tool, CREATE, message));
    }
    if let Some(expected) = c.digest {
        digest::hold(tools, call, CREATE, &disk, expected)?;
    }
    call.check().map_err(|e| failure::interrupted(CREATE, e))?;
    staging.publish().map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => taken(c.path),
        _ => failure::io(CREATE, c.path, e),
    })?;
    facts.location = named;
    Ok(HostAnswer::Disk(facts))
}

fn taken(path: &Path) -> EndpointError {
    EndpointError::new(
        ErrorKind::AlreadyExists,
        CREATE,
        format!("{} is there already and stays", path.display()),
    )
}

/// Lets a base in only when it is a plain image that stands alone, and a disk of this format can lie on it.
fn admit_base(base: &SourceImage<'_>, c: &CreateDisk<'_>) -> Result<(), EndpointError> {
    if c.format != DiskFormat::Qcow2 {
        let message = "a raw disk lies on nothing; use qcow2";
        return Err(EndpointError::new(ErrorKind::Unsupported, CREATE, message));
    }
    let size = overlay::admit(CREATE, base)?;
    if size > c.guest.get() {
        let message = format!(
            "{} has {size} bytes, the disk only {}; ask for at least as much",
            base.path.display(),
            c.guest.get()
        );
        return Err(EndpointError::new(ErrorKind::InvalidRequest, CREATE, message));
    }
    Ok(())
}

/// Fails for a size that the format cannot hold.
pub(crate) fn largest(
    operation: &'static str,
    format: DiskFormat,
    guest: GuestSize,
) -> Result<(), EndpointError> {
    if format != DiskFormat::Qcow2 || guest.get() <= LARGEST_QCOW2 {
        return Ok(());
    }
    let message = format!(
        "{} bytes are too many for qcow2, which holds at most {LARGEST_QCOW2}; use raw",
        guest.get()
    );
    Err(EndpointError::new(ErrorKind::InvalidRequest, operation, message))
}

/// Who made the header of a disk, if it has one.
enum Header {
    Ours,
    OfTheTool,
}

fn make(
    tools: &Tools,
    call: &Call,
    disk: &Disk<'_>,
    c: &CreateDisk<'_>,
    home: &Path,
) -> Result<Header, EndpointError> {
    let (path, guest) = (disk.location.path(), c.guest);
    let made = match (disk.format, disk.protection) {
        (
            DiskFormat::Qcow2,
            Protection::Luks {
                format: EncryptionFormat::Luks2,
                ..
            },
        ) => {
            let message = "qcow2 has no LUKS2; use luks1";
            Err(EndpointError::new(ErrorKind::Unsupported, CREATE, message))
        }
        (DiskFormat::Qcow2, protection) => match &disk.base {
            None => tools.create_qcow2(CREATE, call, path, guest, protection),
            Some(base) => {
                let name = overlay::name(CREATE, base.path, home)?;
                tools.create_overlay(CREATE, call, (path, guest, protection), base, &name)
            }
        },
        (DiskFormat::Raw, Protection::Plain) => set_length(path, c.path, guest.get()).map(drop),
        (DiskFormat::Raw, Protection::Luks { format, key }) => {
            let offset = match format {
                EncryptionFormat::Luks1 => PayloadOffset::LUKS1_CRYPTSETUP,
                EncryptionFormat::Luks2 => PayloadOffset::LUKS2_CRYPTSETUP,
            };
            let geometry = Geometry::for_guest(guest, offset)
                .map_err(|e| EndpointError::new(ErrorKind::InvalidRequest, CREATE, e.to_string()))?;
            let file = set_length(path, c.path, geometry.device().get())?;
            // Whose cost is to be measured on this machine, the tool makes.
            if format == EncryptionFormat::Luks1 && key.origin() == Origin::Generated {
                new_luks1::write(tools, call, CREATE, (file, path, c.path), key)?;
                return Ok(Header::Ours);
            }
            drop(file);
            tools.format_luks(CREATE, call, disk.location, format, key, NewHeader::of_nobody())
        }
    };
    made.map(|()| Header::OfTheTool)
}

/// Makes a sparse file at `path`, which the caller knows as `named`.
fn set_length(path: &Path, named: &Path, bytes: u64) -> Result<File, EndpointError> {
    File::create_new(path)
        .and_then(|file| file.set_len(bytes).map(|()| file))
        .map_err(|e| match e.kind() {
            io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput => {
                let message = format!(
                    "{}: its file system holds no file of {bytes} bytes; ask for less, or for qcow2",
                    named.display()
                );
                EndpointError::new(ErrorKind::InvalidRequest, CREATE, message).with_source(e)
            }
            _ => failure::io(CREATE, named, e),
        })
}
