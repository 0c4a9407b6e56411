use strongroom_endpoint_selector::{DiskLocation, EndpointError, ErrorKind, HostAnswer, ShrinkDisk};
use strongroom_types::{Call, DiskFormat, Geometry};

use crate::tools::Tools;
use crate::{exclusive, failure, inspect};

const SHRINK: &str = "ShrinkDisk";

/// Makes a disk smaller. Each step can be repeated: killed in between, the same command finishes.
pub(crate) fn shrink(tools: &Tools, call: &Call, c: &ShrinkDisk<'_>) -> Result<HostAnswer, EndpointError> {
    let before = inspect::prove(tools, call, SHRINK, &c.disk)?;
    if c.to > before.guest {
        let message = format!(
            "{} has {} bytes, not the {} to which it is to be made smaller",
            c.disk.location,
            before.guest.get(),
            c.to.get()
        );
        return Err(EndpointError::new(ErrorKind::InvalidRequest, SHRINK, message));
    }
    if c.to == before.guest {
        return Ok(HostAnswer::Disk(before));
    }
    match (c.disk.location, c.disk.format) {
        (DiskLocation::Block(device), DiskFormat::Raw) => {
            let message = format!(
                "{} is a device of {} bytes; its storage makes it smaller, and what is behind the header follows",
                device.path.display(),
                before.device.get()
            );
            return Err(EndpointError::new(ErrorKind::Unsupported, SHRINK, message));
        }
        (DiskLocation::File(path), DiskFormat::Raw) => {
            // The new end lies behind the header, for the guest has a sector at least.
            let geometry = Geometry::for_guest(c.to, before.payload_offset)
                .map_err(|e| EndpointError::new(ErrorKind::InvalidRequest, SHRINK, e.to_string()))?;
            let io = |e| failure::io(SHRINK, path, e);
            let file = exclusive::open(SHRINK, c.disk.location)?;
            inspect::go_on(call, SHRINK)?;
            file.set_len(geometry.device().get()).map_err(io)?;
            file.sync_all().map_err(io)?;
        }
        (_, DiskFormat::Qcow2) => tools.cut_qcow2(SHRINK, call, &c.disk, c.to)?,
    }
    let after = inspect::prove(tools, call, SHRINK, &c.disk)?;
    if after.guest != c.to {
        let message = format!(
            "the disk came out with {} bytes instead of {}",
            after.guest.get(),
            c.to.get()
        );
        return Err(EndpointError::new(ErrorKind::Tool, SHRINK, message));
    }
    Ok(HostAnswer::Disk(after))
}
