use std::path::PathBuf;

use strongroom_endpoint_selector::{
    EndpointError, ErrorKind, HostAnswer, MergeVmDisk, SnapshotVmDisks, VmDisk, VmState,
};
use strongroom_libvirt::{DiskOverlay, LibvirtError, LiveDomain};
use strongroom_types::{DiskFormat, GuestSize, VmId};

use super::keys::Keys;
use super::node_graph::{NodeGraph, Reads};
use super::session::{Session, to_its_end};
use super::work::Work;
use super::{facts, guest_disk, new_image, work};
use crate::reading;

pub(super) fn snapshot(session: &Session<'_>, c: &SnapshotVmDisks<'_>) -> Result<HostAnswer, EndpointError> {
    let _held = session.hold_vm(c.vm)?;
    work::undo(session, c.vm)?;
    let domain = session.described(c.vm)?;
    let graph = NodeGraph::of(session, &session.machine(c.vm))?;
    let files = files(session, c)?;
    if c.freeze && facts::state(session, &session.machine(c.vm))? != VmState::Running {
        let message = format!("{} does not run, and nobody in it can freeze file systems", c.vm);
        return Err(session.error(ErrorKind::Unsupported, message));
    }
    let mut below = Vec::new();
    for overlay in c.overlays {
        let disk = domain
            .disk(overlay.target)
            .ok_or_else(|| session.no_disk(c.vm, overlay.target))?;
        let reads = graph.reads(session, &disk.image)?;
        new_image::admit(
            session,
            disk.is_encrypted() || reads.encryption.is_some(),
            overlay,
        )?;
        below.push((disk.image.clone(), reads));
    }
    session.go_on()?;
    let work = Work::begin(session, c.vm, c.overlays.iter().map(|disk| disk.target), files)?;
    c.overlays
        .iter()
        .zip(&below)
        .try_for_each(|(overlay, (lower, reads))| new_image::overlay(session, overlay, lower, *reads))
        .and_then(|()| take(session, c, &work))
        .and_then(|()| {
            let sizes = below.iter().map(|(_, reads)| reads.guest);
            go_on_there(session, c.vm, c.overlays.iter().zip(sizes))
        })
        .map_err(|e| work.failed(e))?;
    work.done()?;
    facts::answer(session, c.vm)
}

/// The new files. Overlays are qcow2 and lie on what the guest has, and none is there yet.
fn files(session: &Session<'_>, c: &SnapshotVmDisks<'_>) -> Result<Vec<PathBuf>, EndpointError> {
    let wrong = |message: String| Err(session.error(ErrorKind::InvalidRequest, message));
    let (mut files, mut targets) = (Vec::new(), Vec::new());
    if c.overlays.is_empty() {
        return wrong("no disk is named".to_owned());
    }
    for overlay in c.overlays {
        if overlay.disk.format != DiskFormat::Qcow2 || overlay.disk.base.is_some() {
            return wrong("an overlay is qcow2, and lies on what the guest has".to_owned());
        }
        let path = new_image::absent(session, overlay.disk.location)?.to_owned();
        if targets.contains(&overlay.target) || files.contains(&path) {
            return wrong(format!("{} or its file is named twice", overlay.target));
        }
        targets.push(overlay.target);
        files.push(path);
    }
    Ok(files)
}

fn take(session: &Session<'_>, c: &SnapshotVmDisks<'_>, work: &Work<'_>) -> Result<(), EndpointError> {
    let overlays = c.overlays.iter().map(|disk| {
        Ok(DiskOverlay::new(
            disk.target.clone(),
            guest_disk::image(session, disk)?,
        ))
    });
    let overlays = overlays.collect::<Result<Vec<_>, EndpointError>>()?;
    let keys = Keys::load(session, c.overlays)?;
    session.go_on()?;
    work.told()?;
    session
        .machine(c.vm)
        .snapshot_disks(&to_its_end(), &overlays, c.freeze)
        .map_err(|e| match e {
            LibvirtError::Failed { message, .. } if message.contains("guest agent is not") => {
                let message = format!("no agent in the guest freezes its file systems: {message}");
                session.error(ErrorKind::Unsupported, message)
            }
            e => session.failed(e),
        })?;
    keys.unload()
}

/// Fails unless the guest reads and writes these disks, of these sizes, through their ciphers, and their headers say so too.
pub(super) fn go_on_there<'d>(
    session: &Session<'_>,
    vm: &VmId,
    disks: impl IntoIterator<Item = (&'d VmDisk<'d>, GuestSize)>,
) -> Result<(), EndpointError> {
    let domain = session.described(vm)?;
    let graph = NodeGraph::of(session, &session.machine(vm))?;
    for (disk, guest) in disks {
        is_on(session, vm, &domain, &graph, disk, guest)?;
    }
    Ok(())
}

fn is_on(
    session: &Session<'_>,
    vm: &VmId,
    domain: &LiveDomain,
    graph: &NodeGraph,
    disk: &VmDisk<'_>,
    guest: GuestSize,
) -> Result<(), EndpointError> {
    if !guest_disk::is_at(session, domain, disk)? {
        let message = format!("{vm} does not have {} at {}", disk.disk.location, disk.target);
        return Err(session.error(ErrorKind::Tool, message));
    }
    let there = domain
        .disk(disk.target)
        .ok_or_else(|| session.no_disk(vm, disk.target))?;
    let encryption = disk.disk.protection.format();
    graph.expect(session, &there.image, Reads { encryption, guest })?;
    reading::disk(
        session.operation,
        disk.disk.location,
        disk.disk.format,
        encryption,
    )
    .map(drop)
}

pub(super) fn merge(session: &Session<'_>, c: &MergeVmDisk<'_>) -> Result<HostAnswer, EndpointError> {
    let _held = session.hold_vm(c.vm)?;
    work::undo(session, c.vm)?;
    let domain = session.described(c.vm)?;
    let machine = session.machine(c.vm);
    let disk = domain
        .disk(c.target)
        .ok_or_else(|| session.no_disk(c.vm, c.target))?;
    let Some(lower) = disk.backing.first() else {
        return facts::answer(session, c.vm);
    };
    let graph = NodeGraph::of(session, &machine)?;
    let guest = graph.reads(session, &disk.image)?.guest;
    let encryption = graph.reads(session, lower)?.encryption;
    let overlay = facts::location(session, &disk.image)?.path().to_owned();
    session.go_on()?;
    let work = Work::begin(session, c.vm, [c.target], vec![overlay])?;
    work.told()?;
    machine
        .merge_overlay(session.call, c.target)
        .map_err(|e| session.failed(e))
        .and_then(|_| {
            let now = session.described(c.vm)?;
            let there = now
                .disk(c.target)
                .ok_or_else(|| session.no_disk(c.vm, c.target))?;
            NodeGraph::of(session, &machine)?.expect(session, &there.image, Reads { encryption, guest })
        })
        .map_err(|e| work.failed(e))?;
    // The overlay is nobody's disk any more, and goes.
    work::undo(session, c.vm)?;
    facts::answer(session, c.vm)
}
