use strongroom_endpoint_selector::{
    ContentSource, DiskFacts, DiskLocation, EndpointError, ErrorKind, HostAnswer, ShrinkDisk,
};
use strongroom_types::{Call, DiskFormat, Geometry};

use crate::tools::Tools;
use crate::{exclusive, failure, inspect, overlay, reading};

const SHRINK: &str = "ShrinkDisk";

/// How much smaller a qcow2 disk is made at most. While QEMU 10.0.2 cuts, it makes a table for each 512 MiB, whether anything was
/// written there or not: 8 MiB of tables for this much, 128 MiB for 1 TiB, and the cut of 4 TiB took 37 s.
const LONGEST_CUT: u64 = 64 << 30;

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
    if let Some(base) = &before.base {
        let bytes = overlay::admit(SHRINK, &base.source())?;
        if bytes > c.to.get() {
            let message = format!(
                "{} lies on {}, which has {bytes} bytes, and would have only {}; flatten it first",
                c.disk.location,
                base.path.display(),
                c.to.get()
            );
            return Err(EndpointError::new(ErrorKind::InvalidRequest, SHRINK, message));
        }
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
        (_, DiskFormat::Qcow2) => {
            not_too_much(c, &before)?;
            clear_rest_of_cluster(tools, call, c, &before)?;
            tools.cut_qcow2(SHRINK, call, &c.disk, c.to)?;
        }
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

fn not_too_much(c: &ShrinkDisk<'_>, before: &DiskFacts) -> Result<(), EndpointError> {
    let cut = before.guest.get() - c.to.get();
    if cut <= LONGEST_CUT {
        return Ok(());
    }
    let message = format!(
        "{} would lose {cut} bytes, and more than {LONGEST_CUT} are not cut off a qcow2 disk: the tables that QEMU makes for it take room and time; copy what is to stay into a smaller disk",
        c.disk.location
    );
    Err(EndpointError::new(ErrorKind::Unsupported, SHRINK, message))
}

/// Overwrites what the last cluster that stays has behind the new end: QEMU keeps the cluster as it is, and a disk that grows again
/// would show it. Where snapshots may share the cluster it is left alone, for the write would take room.
fn clear_rest_of_cluster(
    tools: &Tools,
    call: &Call,
    c: &ShrinkDisk<'_>,
    before: &DiskFacts,
) -> Result<(), EndpointError> {
    let cluster = reading::cluster_size(SHRINK, c.disk.location)?;
    let to = c.to.get();
    let rest = to..to.next_multiple_of(cluster).min(before.guest.get());
    if rest.is_empty() || reading::snapshots(SHRINK, c.disk.location)? > 0 {
        return Ok(());
    }
    match tools.map(SHRINK, call, &ContentSource::Disk(c.disk), &rest)? {
        Some(parts) if parts.iter().all(|part| part.zero) => Ok(()),
        _ => tools.store_zeros(SHRINK, call, &c.disk, &rest),
    }
}
