//! Images that a running machine is going to write to. They are made here and proved before libvirt hears of them: libvirt would take
//! seconds of the guest's time for a key derivation, and make a plain image where it is not told otherwise.

use std::path::Path;

use strongroom_endpoint_selector::{
    CreateDisk, DiskContent, DiskFacts, DiskLocation, EndpointError, ErrorKind, FormatDevice, FormatQcow2,
    HostAnswer, Protection, ProveBlank, VmDisk,
};
use strongroom_libvirt::LiveImage;
use strongroom_types::{DiskFormat, EncryptionFormat, Geometry, GuestSize, PayloadOffset};

use super::node_graph::{self, Reads};
use super::session::Session;
use crate::qcow2_shell::Base;
use crate::staging::Staging;
use crate::{blank, create, device, failure, format, format_qcow2, overlay, reading};

/// Fails when content that is encrypted would get into a plain image.
pub(super) fn admit(session: &Session<'_>, encrypted: bool, to: &VmDisk<'_>) -> Result<(), EndpointError> {
    if encrypted && to.disk.protection.key().is_none() {
        let message = format!(
            "the content of {} is encrypted and would become plain in {}",
            to.target, to.disk.location
        );
        return Err(session.error(ErrorKind::InvalidRequest, message));
    }
    Ok(())
}

/// The path of a file that is to be made and is not there.
pub(super) fn absent<'p>(
    session: &Session<'_>,
    location: &'p DiskLocation,
) -> Result<&'p Path, EndpointError> {
    let DiskLocation::File(path) = location else {
        let message = format!("{location} has to be a file");
        return Err(session.error(ErrorKind::InvalidRequest, message));
    };
    reading::absolute(session.operation, path)?;
    if path.symlink_metadata().is_ok() {
        let message = format!("{} is there already and stays", path.display());
        return Err(session.error(ErrorKind::AlreadyExists, message));
    }
    Ok(path)
}

/// Makes an empty overlay on what a guest writes to now, of exactly that size.
pub(super) fn overlay(
    session: &Session<'_>,
    to: &VmDisk<'_>,
    lower: &LiveImage,
    reads: Reads,
) -> Result<(), EndpointError> {
    let path = absent(session, to.disk.location)?;
    let lower_path = lower.source.as_ref().map(strongroom_libvirt::Source::path);
    let lower_path = lower_path.ok_or_else(|| {
        let message = format!("{} is neither a file nor a block device", to.target);
        session.error(ErrorKind::WrongDisk, message)
    })?;
    // QEMU's own word for a raw disk with a LUKS header.
    let format = match (node_graph::format(session, lower)?, reads.encryption) {
        (DiskFormat::Raw, Some(_)) => "luks",
        (format, _) => format.as_str(),
    };
    let name = overlay::absolute_name(session.operation, lower_path)?;
    let base = Base { name: &name, format };
    let io = |e| failure::io(session.operation, path, e);
    let staging = Staging::known(path).map_err(io)?;
    let staged = DiskLocation::File(staging.path());
    let (tools, call, operation) = (session.tools, session.call, session.operation);
    tools.write_overlay(
        operation,
        call,
        staged.path(),
        reads.guest,
        to.disk.protection,
        base,
    )?;
    let luks = to.disk.protection.format();
    let (facts, named) = reading::disk(operation, &staged, DiskFormat::Qcow2, luks)?;
    let on_it = named.is_some_and(|named| named.name.to_str() == Some(name.as_str()));
    let seen = tools.info(operation, call, &staged, DiskFormat::Qcow2, luks)?;
    let agreed = seen.guest == reads.guest.get() && seen.encrypted == luks.is_some();
    if !on_it || facts.guest != reads.guest || !agreed {
        let message = format!("the overlay {} came out as something else", path.display());
        return Err(session.error(ErrorKind::Tool, message));
    }
    tools.open_with_key(
        operation,
        call,
        &strongroom_endpoint_selector::Disk::new(&staged, DiskFormat::Qcow2, to.disk.protection),
    )?;
    staging.publish().map_err(io)
}

/// Makes a disk that stands alone and is empty, in which a guest sees exactly so much. A device is blank, or was formatted for this volume.
pub(super) fn target(
    session: &Session<'_>,
    to: &VmDisk<'_>,
    guest: GuestSize,
) -> Result<DiskFacts, EndpointError> {
    let (tools, call, protection) = (session.tools, session.call, to.disk.protection);
    let made = match (to.disk.location, to.disk.format, protection) {
        (DiskLocation::File(path), format, _) => {
            let io = |e| failure::io(session.operation, path, e);
            let staging = Staging::known(path).map_err(io)?;
            let staged = staging.path();
            let blank = CreateDisk::new(&staged, format, guest, protection, DiskContent::Blank);
            let made = create::create(tools, call, &blank);
            made.and_then(|made| staging.publish().map(|()| made).map_err(io))
        }
        (DiskLocation::Block(_), DiskFormat::Qcow2, _) => {
            let wanted = FormatQcow2::new(to.volume, to.disk.location, guest, protection);
            format_qcow2::format(tools, call, &wanted)
        }
        (DiskLocation::Block(block), DiskFormat::Raw, Protection::Luks { format, key }) => {
            shows(session, block, PayloadOffset::LUKS1_CRYPTSETUP, guest)?;
            if format != EncryptionFormat::Luks1 {
                let message = format!("{} is to be {format}, which QEMU does not open", to.disk.location);
                return Err(session.error(ErrorKind::Unsupported, message));
            }
            format::format(
                tools,
                call,
                &FormatDevice::new(to.volume, to.disk.location, format, key),
            )
        }
        (DiskLocation::Block(block), DiskFormat::Raw, Protection::Plain) => {
            shows(session, block, PayloadOffset::NONE, guest)?;
            blank::prove(call, &ProveBlank::new(to.disk.location))?;
            let (facts, _) = reading::disk(session.operation, to.disk.location, DiskFormat::Raw, None)?;
            Ok(HostAnswer::Disk(facts))
        }
    };
    match made.map_err(|e| session.error(e.kind(), e.message()).with_source(e.to_string()))? {
        HostAnswer::Disk(facts) if facts.guest == guest => Ok(facts),
        HostAnswer::Disk(facts) => Err(other_size(session, to.disk.location, facts.guest.get(), guest)),
        _ => Err(session.error(ErrorKind::Tool, "a disk was made that is none")),
    }
}

/// Fails before anything is written onto a device that would show a guest another size.
fn shows(
    session: &Session<'_>,
    device: &strongroom_endpoint_selector::BlockDevice,
    header: PayloadOffset,
    guest: GuestSize,
) -> Result<(), EndpointError> {
    let (_, bytes) = device::open(session.operation, device)?;
    let needed = Geometry::for_guest(guest, header)
        .map_err(|e| session.error(ErrorKind::InvalidRequest, e.to_string()))?;
    if needed.device().get() == bytes && device.used.is_none_or(|used| used.get() == bytes) {
        return Ok(());
    }
    let location = DiskLocation::Block(device.clone());
    Err(other_size(
        session,
        &location,
        bytes.saturating_sub(header.get()),
        guest,
    ))
}

fn other_size(session: &Session<'_>, at: &DiskLocation, found: u64, wanted: GuestSize) -> EndpointError {
    let message = format!(
        "{at} would show the guest {found} bytes instead of {}; the new disk has to be exactly as large",
        wanted.get()
    );
    session.error(ErrorKind::InvalidRequest, message)
}
