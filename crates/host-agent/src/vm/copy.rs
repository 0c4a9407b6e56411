use strongroom_endpoint_selector::{
    CopyVmDisk, DiskLocation, EndpointError, ErrorKind, FlattenVmDisk, HostAnswer,
};
use strongroom_libvirt::BlockCopy;
use strongroom_types::GuestSize;

use super::guest_disk::{self, GuestDisk};
use super::keys::Keys;
use super::node_graph::NodeGraph;
use super::session::{Session, to_its_end};
use super::work::Work;
use super::{facts, new_image, snapshot, work};
use crate::reading;

pub(super) fn copy(session: &Session<'_>, c: &CopyVmDisk<'_>) -> Result<HostAnswer, EndpointError> {
    let _held = session.hold_vm(c.vm)?;
    work::undo(session, c.vm)?;
    let domain = session.described(c.vm)?;
    let target = c.to.target;
    let disk = domain.disk(target).ok_or_else(|| session.no_disk(c.vm, target))?;
    let graph = NodeGraph::of(session, &session.machine(c.vm))?;
    let reads = graph.reads(session, &disk.image)?;
    if guest_disk::is_at(session, &domain, &c.to)? {
        // The same command went so far before its answer was lost.
        snapshot::go_on_there(session, c.vm, [(&c.to, reads.guest)])?;
        return facts::answer(session, c.vm);
    }
    new_image::admit(session, disk.is_encrypted() || reads.encryption.is_some(), &c.to)?;
    let location = c.to.disk.location;
    if let Some(there) = domain.disks.iter().find(|disk| guest_disk::has(disk, location)) {
        let message = format!("{location} belongs to disk {} of {} already", there.target, c.vm);
        return Err(session.error(ErrorKind::Busy, message));
    }
    let files = match location {
        DiskLocation::File(_) => vec![new_image::absent(session, location)?.to_owned()],
        DiskLocation::Block(_) => Vec::new(),
    };
    session.go_on()?;
    let work = Work::begin(session, c.vm, [target], files)?;
    go_over(session, c, &work, reads.guest).map_err(|e| work.failed(e))?;
    work.done()?;
    facts::answer(session, c.vm)
}

/// Makes the new disk, copies, looks at it, and only then lets the guest go on there.
fn go_over(
    session: &Session<'_>,
    c: &CopyVmDisk<'_>,
    work: &Work<'_>,
    guest: GuestSize,
) -> Result<(), EndpointError> {
    let machine = session.machine(c.vm);
    new_image::target(session, &c.to, guest)?;
    let opened = GuestDisk::open(session, c.vm, &c.to)?;
    let copy = BlockCopy::new(c.to.target.clone(), guest_disk::image(session, &c.to)?);
    let keys = Keys::load(session, [&c.to])?;
    machine
        .start_copy(session.call, &copy)
        .map_err(|e| session.failed(e))?;
    keys.unload()?;
    looks_right(session, c, guest)?;
    session.go_on()?;
    work.told()?;
    machine
        .finish_copy(&to_its_end(), &copy)
        .map_err(|e| session.failed(e))?;
    drop(opened);
    snapshot::go_on_there(session, c.vm, [(&c.to, guest)])
}

/// Fails unless the header that is on the disk now is the one that was made.
fn looks_right(session: &Session<'_>, c: &CopyVmDisk<'_>, guest: GuestSize) -> Result<(), EndpointError> {
    let (at, format) = (c.to.disk.location, c.to.disk.format);
    let (facts, _) = reading::disk(session.operation, at, format, c.to.disk.protection.format())?;
    if facts.guest == guest {
        return Ok(());
    }
    let message = format!("the header of {at} says {} bytes", facts.guest.get());
    Err(session.error(ErrorKind::WrongDisk, message))
}

pub(super) fn flatten(session: &Session<'_>, c: &FlattenVmDisk<'_>) -> Result<HostAnswer, EndpointError> {
    let _held = session.hold_vm(c.vm)?;
    work::undo(session, c.vm)?;
    let domain = session.described(c.vm)?;
    let machine = session.machine(c.vm);
    let disk = domain
        .disk(c.target)
        .ok_or_else(|| session.no_disk(c.vm, c.target))?;
    if disk.backing.is_empty() {
        return facts::answer(session, c.vm);
    }
    let before = NodeGraph::of(session, &machine)?.reads(session, &disk.image)?;
    session.go_on()?;
    let work = Work::begin(session, c.vm, [c.target], Vec::new())?;
    machine
        .flatten_disk(session.call, c.target)
        .map_err(|e| session.failed(e))
        .and_then(|_| NodeGraph::of(session, &machine)?.expect(session, &disk.image, before))
        .map_err(|e| work.failed(e))?;
    work.done()?;
    facts::answer(session, c.vm)
}
