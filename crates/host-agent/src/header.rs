use strongroom_endpoint_selector::{BackUpHeader, EndpointError, EraseKeyslots, ErrorKind, HostAnswer};
use strongroom_types::{Call, DiskFormat, EncryptionFormat};

use crate::staging::Staging;
use crate::tools::Tools;
use crate::{exclusive, failure, inspect, keyslots, reading};

/// Copies the header of a raw LUKS disk into a new file.
pub(crate) fn back_up(tools: &Tools, call: &Call, c: &BackUpHeader<'_>) -> Result<HostAnswer, EndpointError> {
    const BACK_UP: &str = "BackUpHeader";
    reading::absolute(BACK_UP, c.to)?;
    if c.disk.format != DiskFormat::Raw || c.disk.protection.key().is_none() {
        let message = format!(
            "{} has no LUKS header in front; headers are backed up of raw LUKS disks",
            c.disk.location
        );
        return Err(EndpointError::new(ErrorKind::Unsupported, BACK_UP, message));
    }
    if c.to.symlink_metadata().is_ok() {
        let message = format!("{} is there already and stays", c.to.display());
        return Err(EndpointError::new(ErrorKind::AlreadyExists, BACK_UP, message));
    }
    inspect::prove(tools, call, BACK_UP, &c.disk)?;
    let format = c.disk.protection.format().unwrap_or(EncryptionFormat::Luks1);
    // A kill must leave no key material under a name that no sweep knows.
    let staging = Staging::beside(c.to).map_err(|e| failure::io(BACK_UP, c.to, e))?;
    tools.back_up_header(BACK_UP, call, c.disk.location, format, &staging.path())?;
    staging.publish().map_err(|e| failure::io(BACK_UP, c.to, e))?;
    Ok(HostAnswer::Done)
}

/// Destroys every keyslot of a disk.
pub(crate) fn erase(tools: &Tools, call: &Call, c: &EraseKeyslots<'_>) -> Result<HostAnswer, EndpointError> {
    const ERASE: &str = "EraseKeyslots";
    let path = c.location.path();
    reading::absolute(ERASE, path)?;
    if path
        .symlink_metadata()
        .is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
    {
        return Ok(HostAnswer::Done);
    }
    inspect::go_on(call, ERASE)?;
    match c.format {
        DiskFormat::Raw if reading::luks_version(ERASE, c.location)? == EncryptionFormat::Luks2 => {
            // Fails when somebody has it open; the tool itself would not notice.
            drop(exclusive::open(ERASE, c.location)?);
            tools.erase_raw(ERASE, call, c.location, EncryptionFormat::Luks2)?;
        }
        format => keyslots::erase(ERASE, c.location, format)?,
    }
    Ok(HostAnswer::Done)
}
