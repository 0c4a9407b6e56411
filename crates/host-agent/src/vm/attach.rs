use strongroom_endpoint_selector::{AttachVmDisk, DetachVmDisk, EndpointError, ErrorKind, HostAnswer};
use strongroom_libvirt::LibvirtError;

use super::facts;
use super::guest_disk::{self, GuestDisk};
use super::keys::Keys;
use super::node_graph::NodeGraph;
use super::session::{Session, to_its_end};

pub(super) fn attach(session: &Session<'_>, c: &AttachVmDisk<'_>) -> Result<HostAnswer, EndpointError> {
    let _held = session.hold_vm(c.vm)?;
    let domain = session.described(c.vm)?;
    let target = c.disk.target;
    if guest_disk::is_at(session, &domain, &c.disk)? {
        return facts::answer(session, c.vm);
    }
    if domain.disk(target).is_some() {
        let message = format!("{} has another disk at {target}; detach that first", c.vm);
        return Err(session.error(ErrorKind::AlreadyExists, message));
    }
    let location = c.disk.disk.location;
    if let Some(there) = domain.disks.iter().find(|disk| guest_disk::has(disk, location)) {
        let message = format!("{location} is disk {} of {} already", there.target, c.vm);
        return Err(session.error(ErrorKind::Busy, message));
    }
    let opened = GuestDisk::open(session, c.vm, &c.disk)?;
    session.go_on()?;
    let keys = Keys::load(session, [&c.disk])?;
    let machine = session.machine(c.vm);
    machine
        .attach(&to_its_end(), &opened.domain_disk)
        .map_err(|e| session.failed(e))?;
    let unloaded = keys.unload();
    let looked = unloaded.and_then(|()| {
        let live = session.described(c.vm)?;
        let there = live.disk(target).ok_or_else(|| session.no_disk(c.vm, target))?;
        NodeGraph::of(session, &machine)?.expect(session, &there.image, opened.reads)
    });
    if looked.is_err() {
        // The first error is the one to tell.
        if let Err(error) = machine.detach(&to_its_end(), target) {
            tracing::error!(vm = %c.vm, %target, %error, "a disk that is not what it should be stays attached");
        }
    }
    looked?;
    facts::answer(session, c.vm)
}

pub(super) fn detach(session: &Session<'_>, c: &DetachVmDisk<'_>) -> Result<HostAnswer, EndpointError> {
    let _held = session.hold_vm(c.vm)?;
    match session.machine(c.vm).detach(session.call, c.target) {
        Err(LibvirtError::NoDomain { .. }) => {
            let message = format!("{} does not run on this host", c.vm);
            return Err(session.error(ErrorKind::NotFound, message));
        }
        detached => detached.map_err(|e| session.failed(e))?,
    }
    facts::answer(session, c.vm)
}
