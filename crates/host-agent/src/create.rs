use std::fs::File;
use std::io;
use std::path::Path;

use strongroom_endpoint_selector::{
    CreateDisk, Disk, DiskContent, DiskLocation, EndpointError, ErrorKind, HostAnswer, Protection,
    SourceImage,
};
use strongroom_types::{Call, DiskFormat, EncryptionFormat, Geometry, GuestSize, PayloadOffset};

use crate::staging::Staging;
use crate::tools::{NewHeader, Tools};
use crate::{failure, inspect, reading, template};

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
    if let DiskContent::Template(source) = c.content {
        admit(&source, c.guest)?;
        if c.protection.format() == Some(EncryptionFormat::Luks2) {
            let message =
                "QEMU does not open LUKS2, so nothing can be copied into it without device-mapper; use luks1";
            return Err(EndpointError::new(ErrorKind::Unsupported, CREATE, message));
        }
    }
    let staging = Staging::beside(c.path).map_err(|e| failure::io(CREATE, c.path, e))?;
    let location = DiskLocation::File(staging.path());
    let disk = Disk::new(&location, c.format, c.protection);
    make(tools, call, &disk, c)?;
    if let DiskContent::Template(source) = c.content {
        tools.copy_into(CREATE, call, &disk, &source, true)?;
    }
    let mut facts = inspect::prove(tools, call, CREATE, &disk)?;
    if facts.guest != c.guest {
        let message = format!(
            "the disk came out with {} bytes instead of {}",
            facts.guest.get(),
            c.guest.get()
        );
        return Err(EndpointError::new(ErrorKind::Tool, CREATE, message));
    }
    call.check().map_err(|e| failure::interrupted(CREATE, e))?;
    staging.publish().map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => taken(c.path),
        _ => failure::io(CREATE, c.path, e),
    })?;
    facts.location = DiskLocation::File(c.path.to_owned());
    Ok(HostAnswer::Disk(facts))
}

fn taken(path: &Path) -> EndpointError {
    EndpointError::new(
        ErrorKind::AlreadyExists,
        CREATE,
        format!("{} is there already and stays", path.display()),
    )
}

/// Lets a template in only when it is a plain image that says no more than it is.
fn admit(source: &SourceImage<'_>, guest: GuestSize) -> Result<(), EndpointError> {
    let size = template::admit(CREATE, source)?;
    if size > guest.get() {
        let message = format!(
            "the template {} has {size} bytes, the disk only {}; ask for at least the template's size",
            source.path.display(),
            guest.get()
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

fn make(tools: &Tools, call: &Call, disk: &Disk<'_>, c: &CreateDisk<'_>) -> Result<(), EndpointError> {
    let (path, guest) = (disk.location.path(), c.guest);
    match (disk.format, disk.protection) {
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
        (DiskFormat::Qcow2, protection) => tools.create_qcow2(CREATE, call, path, guest, protection),
        (DiskFormat::Raw, Protection::Plain) => set_length(path, c.path, guest.get()),
        (DiskFormat::Raw, Protection::Luks { format, key }) => {
            let offset = match format {
                EncryptionFormat::Luks1 => PayloadOffset::LUKS1_CRYPTSETUP,
                EncryptionFormat::Luks2 => PayloadOffset::LUKS2_CRYPTSETUP,
            };
            let geometry = Geometry::for_guest(guest, offset)
                .map_err(|e| EndpointError::new(ErrorKind::InvalidRequest, CREATE, e.to_string()))?;
            set_length(path, c.path, geometry.device().get())?;
            tools.format_luks(CREATE, call, disk.location, format, key, NewHeader::of_nobody())
        }
    }
}

/// Makes a sparse file at `path`, which the caller knows as `named`.
fn set_length(path: &Path, named: &Path, bytes: u64) -> Result<(), EndpointError> {
    File::create_new(path)
        .and_then(|file| file.set_len(bytes))
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
