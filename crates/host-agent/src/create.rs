use std::fs::File;
use std::path::Path;

use strongroom_endpoint_selector::{
    CreateDisk, Disk, DiskContent, DiskLocation, EndpointError, ErrorKind, FormatDevice, HostAnswer,
    Protection, SourceImage,
};
use strongroom_types::{Call, DiskFormat, EncryptionFormat, Geometry, GuestSize, PayloadOffset};

use crate::staging::Staging;
use crate::tools::Tools;
use crate::{failure, inspect, reading, template};

const CREATE: &str = "CreateDisk";

/// Makes a disk file under a staging name, proves it, and gives it its own name only then.
pub(crate) fn create(tools: &Tools, call: &Call, c: &CreateDisk<'_>) -> Result<HostAnswer, EndpointError> {
    reading::absolute(CREATE, c.path)?;
    if c.path.symlink_metadata().is_ok() {
        return Err(taken(c.path));
    }
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
    let disk = Disk {
        location: &location,
        format: c.format,
        protection: c.protection,
    };
    make(tools, call, &disk, c.guest)?;
    if let DiskContent::Template(source) = c.content {
        tools.copy_into(CREATE, call, &disk, &source)?;
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
        std::io::ErrorKind::AlreadyExists => taken(c.path),
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

fn make(tools: &Tools, call: &Call, disk: &Disk<'_>, guest: GuestSize) -> Result<(), EndpointError> {
    let path = disk.location.path();
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
        (DiskFormat::Raw, Protection::Plain) => set_length(path, guest.get()),
        (DiskFormat::Raw, Protection::Luks { format, key }) => {
            let offset = match format {
                EncryptionFormat::Luks1 => PayloadOffset::LUKS1_CRYPTSETUP,
                EncryptionFormat::Luks2 => PayloadOffset::LUKS2_CRYPTSETUP,
            };
            let geometry = Geometry::for_guest(guest, offset)
                .map_err(|e| EndpointError::new(ErrorKind::InvalidRequest, CREATE, e.to_string()))?;
            set_length(path, geometry.device().get())?;
            tools.format_luks(CREATE, call, disk.location, format, key)
        }
    }
}

fn set_length(path: &Path, bytes: u64) -> Result<(), EndpointError> {
    File::create_new(path)
        .and_then(|f| f.set_len(bytes))
        .map_err(|e| failure::io(CREATE, path, e))
}

/// Writes a LUKS header onto a blank device.
pub(crate) fn format(tools: &Tools, call: &Call, c: &FormatDevice<'_>) -> Result<HostAnswer, EndpointError> {
    const FORMAT: &str = "FormatDevice";
    reading::absolute(FORMAT, c.location.path())?;
    tools.format_luks(FORMAT, call, c.location, c.format, c.key)?;
    let protection = Protection::Luks {
        format: c.format,
        key: c.key,
    };
    let disk = Disk {
        location: c.location,
        format: DiskFormat::Raw,
        protection,
    };
    inspect::prove(tools, call, FORMAT, &disk).map(HostAnswer::Disk)
}
