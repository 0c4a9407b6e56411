use strongroom_endpoint_selector::{
    DiskLocation, EndpointError, ErrorKind, HostAnswer, RestoreVm, SaveVm, VmDisk,
};
use strongroom_libvirt::xml::Element;
use strongroom_libvirt::{EncryptedMemoryFile, LibvirtError};
use strongroom_secret::Passphrase;
use strongroom_types::{ByteSize, DiskFormat, EncryptionFormat, GuestSize, VmId};

use super::guest_disk::GuestDisk;
use super::session::Session;
use super::work::Work;
use super::{new_image, start, work};
use crate::inspect;

pub(super) fn save(session: &Session<'_>, c: &SaveVm<'_>) -> Result<HostAnswer, EndpointError> {
    let _held = session.hold_vm(c.vm)?;
    work::undo(session, c.vm)?;
    session.described(c.vm)?;
    let key = key(session, &c.memory)?;
    let path = new_image::absent(session, c.memory.disk.location)?.to_owned();
    let room = EncryptedMemoryFile::room_for(memory_of(session, c.vm)?);
    let room = GuestSize::new(room.get().next_multiple_of(512))
        .map_err(|e| session.error(ErrorKind::InvalidRequest, e.to_string()))?;
    session.go_on()?;
    let work = Work::begin(session, c.vm, [], vec![path.clone()])?;
    let saved = new_image::target(session, &c.memory, room).and_then(|_| {
        let memory = EncryptedMemoryFile::open(session.tools.runner(), session.call, &path, key)
            .map_err(|e| session.failed(e.into()))?;
        session.go_on()?;
        // From here on the guest's memory may be there and nowhere else.
        work.told()?;
        session
            .machine(c.vm)
            .save(session.call, &memory)
            .map_err(|e| session.failed(e))
    });
    saved.map_err(|e| work.failed(e))?;
    work.done()?;
    let facts = inspect::prove(session.tools, session.call, session.operation, &c.memory.disk)?;
    Ok(HostAnswer::Disk(facts))
}

pub(super) fn restore(session: &Session<'_>, c: &RestoreVm<'_>) -> Result<HostAnswer, EndpointError> {
    let key = key(session, &c.memory)?;
    start::begin(session, &c.vm, |domain_disks| {
        let _opened = GuestDisk::open(session, c.vm.id, &c.memory)?;
        let path = c.memory.disk.location.path();
        let memory = EncryptedMemoryFile::open(session.tools.runner(), session.call, path, key)
            .map_err(|e| session.failed(e.into()))?;
        session
            .machine(c.vm.id)
            .restore(session.call, &memory, domain_disks, true)
            .map_err(|e| session.failed(e))
    })
}

/// The key of a file with memory, which is raw LUKS1.
fn key<'k>(session: &Session<'_>, memory: &VmDisk<'k>) -> Result<&'k Passphrase, EndpointError> {
    let luks1 = memory.disk.protection.format() == Some(EncryptionFormat::Luks1);
    let file = matches!(memory.disk.location, DiskLocation::File(_));
    match memory.disk.protection.key() {
        Some(key) if luks1 && file && memory.disk.format == DiskFormat::Raw => Ok(key),
        _ => {
            let message = format!(
                "{} is to have a guest's memory, and what it read from its disks: that goes into a raw LUKS1 disk in a file",
                memory.disk.location
            );
            Err(session.error(ErrorKind::InvalidRequest, message))
        }
    }
}

/// How much memory a machine has.
fn memory_of(session: &Session<'_>, vm: &VmId) -> Result<ByteSize, EndpointError> {
    let ask = session.machine(vm).command("dumpxml");
    let xml = session
        .libvirt
        .run(session.call, &ask)
        .map_err(|e| session.failed(e))?;
    let memory = Element::parse(&xml).ok().and_then(|domain| {
        // libvirt says it in KiB, however it was told.
        let kibibytes = domain.child("memory")?;
        kibibytes
            .text()
            .trim()
            .parse()
            .ok()
            .filter(|_| kibibytes.attribute("unit") == Some("KiB"))
    });
    memory.map(ByteSize::kib).ok_or_else(|| {
        session.failed(LibvirtError::Output {
            action: "dumpxml",
            problem: format!("it does not say how much memory {vm} has"),
        })
    })
}
