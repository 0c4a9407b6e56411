use strongroom_endpoint_selector::{EndpointError, ErrorKind, HostAnswer, SnapshotAction, SnapshotDisk};
use strongroom_types::{Call, DiskFormat};

use crate::inspect;
use crate::tools::Tools;

const SNAPSHOT: &str = "SnapshotDisk";

/// Takes, restores or removes a snapshot inside a qcow2 disk. Each can be repeated.
pub(crate) fn snapshot(
    tools: &Tools,
    call: &Call,
    c: &SnapshotDisk<'_>,
) -> Result<HostAnswer, EndpointError> {
    if c.disk.format != DiskFormat::Qcow2 {
        let message = format!("{} is raw, which keeps no snapshots; use qcow2", c.disk.location);
        return Err(EndpointError::new(ErrorKind::Unsupported, SNAPSHOT, message));
    }
    let mut before = inspect::prove(tools, call, SNAPSHOT, &c.disk)?;
    // What an attempt that was killed has left.
    if tools.free_leaks(SNAPSHOT, call, &c.disk)? > 0 {
        before = inspect::prove(tools, call, SNAPSHOT, &c.disk)?;
    }
    let there = before.snapshots.contains(c.snapshot);
    match (c.action, there) {
        (SnapshotAction::Create, true) | (SnapshotAction::Delete, false) => {
            return Ok(HostAnswer::Disk(before));
        }
        (SnapshotAction::Restore, false) => {
            let message = format!("{} has no snapshot {}", c.disk.location, c.snapshot);
            return Err(EndpointError::new(ErrorKind::NotFound, SNAPSHOT, message));
        }
        _ => tools
            .snapshot(SNAPSHOT, call, &c.disk, c.snapshot, c.action)
            .inspect_err(|_| free_leaks(tools, call, c))?,
    }
    // Those behind the end of the file are not seen before the file has grown over them.
    free_leaks(tools, call, c);
    let after = inspect::prove(tools, call, SNAPSHOT, &c.disk)?;
    if after.snapshots.contains(c.snapshot) != (c.action != SnapshotAction::Delete) {
        let message = format!(
            "qemu-img reported success, but the snapshots of {} did not change",
            c.disk.location
        );
        return Err(EndpointError::new(ErrorKind::Tool, SNAPSHOT, message));
    }
    Ok(HostAnswer::Disk(after))
}

/// Frees what failed attempts left. When that fails too, the next attempt does it.
fn free_leaks(tools: &Tools, call: &Call, c: &SnapshotDisk<'_>) {
    if let Err(error) = tools.free_leaks(SNAPSHOT, call, &c.disk) {
        let disk = c.disk.location.path();
        tracing::debug!(?disk, %error, "a failed snapshot may have left leaked clusters");
    }
}
