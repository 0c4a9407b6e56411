use strongroom_endpoint_selector::{Disk, DiskLocation, EndpointError, ErrorKind, GrowDisk, HostAnswer};
use strongroom_types::{Call, DiskFormat, Geometry};

use crate::tools::Tools;
use crate::{create, device, exclusive, failure, inspect};

const GROW: &str = "GrowDisk";

/// Fails while a device is smaller than the disk is to become.
fn still_too_small(disk: &Disk<'_>) -> Result<(), EndpointError> {
    let DiskLocation::Block(device) = disk.location else {
        return Ok(());
    };
    let (_, bytes) = device::open(GROW, device)?;
    match device.used {
        Some(used) if used.get() > bytes => {
            let message = format!(
                "{} has {bytes} bytes and not yet {}; its storage makes it larger, and a rescan has the host notice",
                device.path.display(),
                used.get()
            );
            Err(EndpointError::new(ErrorKind::Unsupported, GROW, message))
        }
        _ => Ok(()),
    }
}

/// Makes a disk larger. Each step can be repeated: killed in between, the same command finishes.
pub(crate) fn grow(tools: &Tools, call: &Call, c: &GrowDisk<'_>) -> Result<HostAnswer, EndpointError> {
    create::largest(GROW, c.disk.format, c.to)?;
    still_too_small(&c.disk)?;
    let before = inspect::prove(tools, call, GROW, &c.disk)?;
    if c.to < before.guest {
        let message = format!(
            "{} has {} bytes and would lose some at {}; disks are only made larger",
            c.disk.location,
            before.guest.get(),
            c.to.get()
        );
        return Err(EndpointError::new(ErrorKind::InvalidRequest, GROW, message));
    }
    if c.to == before.guest {
        return Ok(HostAnswer::Disk(before));
    }
    match (c.disk.location, c.disk.format) {
        (DiskLocation::Block(device), DiskFormat::Raw) => {
            let message = format!(
                "the disk on {} has {} bytes of it; its storage makes the device larger, and what is said to be used of it then follows",
                device.path.display(),
                before.device.get()
            );
            return Err(EndpointError::new(ErrorKind::Unsupported, GROW, message));
        }
        (DiskLocation::File(path), DiskFormat::Raw) => {
            let geometry = Geometry::for_guest(c.to, before.payload_offset)
                .map_err(|e| EndpointError::new(ErrorKind::InvalidRequest, GROW, e.to_string()))?;
            let io = |e| failure::io(GROW, path, e);
            let file = exclusive::open(GROW, c.disk.location)?;
            file.set_len(geometry.device().get()).map_err(io)?;
            file.sync_all().map_err(io)?;
        }
        (_, DiskFormat::Qcow2) => tools.resize_qcow2(GROW, call, &c.disk, c.to)?,
    }
    let after = inspect::prove(tools, call, GROW, &c.disk)?;
    if after.guest != c.to {
        let message = format!(
            "the disk came out with {} bytes instead of {}",
            after.guest.get(),
            c.to.get()
        );
        return Err(EndpointError::new(ErrorKind::Tool, GROW, message));
    }
    Ok(HostAnswer::Disk(after))
}
