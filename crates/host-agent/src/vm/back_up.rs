use std::path::PathBuf;

use strongroom_endpoint_selector::{BackUpVmDisks, EndpointError, ErrorKind, HostAnswer};
use strongroom_libvirt::{Backup, DiskBackup, LiveDomain};
use strongroom_types::GuestSize;

use super::guest_disk::{self, GuestDisk};
use super::keys::Keys;
use super::node_graph::NodeGraph;
use super::session::Session;
use super::work::Work;
use super::{facts, new_image, work};
use crate::{inspect, reading};

pub(super) fn back_up(session: &Session<'_>, c: &BackUpVmDisks<'_>) -> Result<HostAnswer, EndpointError> {
    let _held = session.hold_vm(c.vm)?;
    work::undo(session, c.vm)?;
    let domain = session.described(c.vm)?;
    let sizes = sizes(session, c, &domain)?;
    let files = files(session, c)?;
    session.go_on()?;
    let targets = c.backups.iter().map(|backup| backup.target);
    let work = Work::begin(session, c.vm, targets, files)?;
    write(session, c, &sizes).map_err(|e| work.failed(e))?;
    work.done()?;
    facts::answer(session, c.vm)
}

/// How large each disk is for the guest.
fn sizes(
    session: &Session<'_>,
    c: &BackUpVmDisks<'_>,
    domain: &LiveDomain,
) -> Result<Vec<GuestSize>, EndpointError> {
    let graph = NodeGraph::of(session, &session.machine(c.vm))?;
    let sizes = c.backups.iter().map(|backup| {
        let disk = domain
            .disk(backup.target)
            .ok_or_else(|| session.no_disk(c.vm, backup.target))?;
        graph.reads(session, &disk.image).map(|reads| reads.guest)
    });
    sizes.collect()
}

/// The new files. They are encrypted, whatever the disks are, and none is there yet.
fn files(session: &Session<'_>, c: &BackUpVmDisks<'_>) -> Result<Vec<PathBuf>, EndpointError> {
    let mut files = Vec::new();
    for backup in c.backups {
        new_image::admit(session, true, &backup.to)?;
        let path = new_image::absent(session, backup.to.disk.location)?.to_owned();
        if files.contains(&path) {
            let message = format!("{} is named twice", path.display());
            return Err(session.error(ErrorKind::InvalidRequest, message));
        }
        files.push(path);
    }
    Ok(files)
}

fn write(session: &Session<'_>, c: &BackUpVmDisks<'_>, sizes: &[GuestSize]) -> Result<(), EndpointError> {
    let (mut opened, mut disks) = (Vec::new(), Vec::new());
    for (backup, size) in c.backups.iter().zip(sizes) {
        session.go_on()?;
        new_image::target(session, &backup.to, *size)?;
        opened.push(GuestDisk::open(session, c.vm, &backup.to)?);
        let image = guest_disk::image(session, &backup.to)?;
        disks.push(DiskBackup::new(backup.target.clone(), image));
    }
    let mut wanted = Backup::full(disks);
    wanted.since = c.since.cloned();
    wanted.checkpoint = c.checkpoint.cloned();
    let keys = Keys::load(session, c.backups.iter().map(|backup| &backup.to))?;
    session
        .machine(c.vm)
        .back_up(session.call, &wanted)
        .map_err(|e| session.failed(e))?;
    keys.unload()?;
    // QEMU has let go of them: each opens with its key, and is as large as the disk.
    for (backup, size) in c.backups.iter().zip(sizes) {
        let facts = inspect::prove(session.tools, session.call, session.operation, &backup.to.disk)?;
        reading::has_keyslot(session.operation, backup.to.disk.location, backup.to.disk.format)?;
        if facts.guest != *size {
            let message = format!(
                "{} came out with {} bytes",
                backup.to.disk.location,
                facts.guest.get()
            );
            return Err(session.error(ErrorKind::Tool, message));
        }
    }
    Ok(())
}
