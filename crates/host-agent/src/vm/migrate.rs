use strongroom_endpoint_selector::{EndpointError, ErrorKind, HostAnswer, MigrateVm, MigratedStorage};
use strongroom_libvirt::{Arrival, Image, LiveDisk, Machine, MigratedDisks, Migration, Uri};
use strongroom_types::ByteSize;

use super::session::Session;
use super::{facts, guest_disk, node_graph, work};

pub(super) fn migrate(session: &Session<'_>, c: &MigrateVm<'_>) -> Result<HostAnswer, EndpointError> {
    let _held = session.hold_vm(c.vm)?;
    work::undo(session, c.vm)?;
    let domain = session.described(c.vm)?;
    let machine = session.machine(c.vm);
    let to: Uri = c.to.uri.parse().map_err(|e: strongroom_libvirt::ParseUriError| {
        session.error(ErrorKind::InvalidRequest, e.to_string())
    })?;
    let disks = match c.storage {
        MigratedStorage::Shared => MigratedDisks::Shared,
        MigratedStorage::Copied => {
            let written = domain.disks.iter().filter(|disk| !disk.read_only);
            let arrivals = written.map(|disk| arrival(session, &machine, disk));
            MigratedDisks::Copied(arrivals.collect::<Result<_, _>>()?)
        }
    };
    let mut migration = Migration::new(to, disks);
    if let Some(name) = c.to.certificate_name {
        migration = migration.named(name);
    }
    session.go_on()?;
    machine
        .migrate(session.call, &migration)
        .map_err(|e| session.failed(e))?;
    Ok(HostAnswer::Done)
}

/// A disk as the other host has made room for it: at the same path, in the same format, of the same length, under a key of the same name.
fn arrival(session: &Session<'_>, machine: &Machine<'_>, disk: &LiveDisk) -> Result<Arrival, EndpointError> {
    let source = guest_disk::source(&facts::location(session, &disk.image)?);
    let format = node_graph::format(session, &disk.image)?;
    let secret = disk
        .image
        .encryption
        .as_ref()
        .and_then(|encryption| encryption.secret);
    let image = match secret {
        Some(secret) => Image::encrypted(source, format, secret),
        None => Image::plain(source, format),
    };
    let info = machine
        .block_info(session.call, &disk.target)
        .map_err(|e| session.failed(e))?;
    Ok(Arrival::new(disk.target.clone(), image).of_length(ByteSize::bytes(info.physical)))
}
