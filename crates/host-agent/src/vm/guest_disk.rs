use strongroom_endpoint_selector::{
    BaseImage, DiskFacts, DiskLocation, EndpointError, ErrorKind, SourceImage, VmDisk,
};
use strongroom_libvirt::{Cache, DomainDisk, Image, LiveDisk, LiveDomain, Refusal, Source};
use strongroom_types::{EncryptionFormat, VmId};

use super::node_graph::Reads;
use super::runtime::Held;
use super::session::Session;
use super::{keys, node_graph};
use crate::inspect;

/// The bytes that virtio has for a disk's serial number.
const SERIAL: usize = 20;

/// A disk that was inspected and opened with its key, and that no other machine has.
pub(super) struct GuestDisk {
    pub(super) domain_disk: DomainDisk,
    /// How QEMU has to read it.
    pub(super) reads: Reads,
    // Until the guest has it.
    _held: Held,
}

impl GuestDisk {
    /// Looks at a disk for this machine: it is what the command says, its key opens it, and it is nobody else's.
    pub(super) fn open(session: &Session<'_>, vm: &VmId, disk: &VmDisk<'_>) -> Result<Self, EndpointError> {
        if disk.disk.protection.format() == Some(EncryptionFormat::Luks2) {
            let message = format!("{} is LUKS2, which QEMU does not open", disk.disk.location);
            return Err(session.error(ErrorKind::Unsupported, message));
        }
        crate::reading::absolute(session.operation, disk.disk.location.path())?;
        let held = session
            .runtime
            .hold_disk(session.operation, disk.disk.location.path())?;
        let facts = inspect::prove(session.tools, session.call, session.operation, &disk.disk)?;
        whole_device(session, disk.disk.location)?;
        nobody_elses(session, vm, disk.disk.location)?;
        Ok(Self {
            domain_disk: domain_disk(session, disk, &facts)?,
            reads: Reads {
                encryption: facts.encryption,
                guest: facts.guest,
            },
            _held: held,
        })
    }
}

/// A guest sees all of a device, so one of which only the beginning is the disk is none for a guest.
fn whole_device(session: &Session<'_>, location: &DiskLocation) -> Result<(), EndpointError> {
    let DiskLocation::Block(device) = location else {
        return Ok(());
    };
    let (_, bytes) = crate::device::open(session.operation, device)?;
    match device.used {
        Some(used) if used.get() != bytes => {
            let message = format!(
                "{location} has {bytes} bytes, and the disk only {} of them: a guest would see and use them all",
                used.get()
            );
            Err(session.error(ErrorKind::Unsupported, message))
        }
        _ => Ok(()),
    }
}

/// QEMU's locks keep files from two machines. libvirt gives each machine nodes of its own for its devices, whose locks do not meet.
fn nobody_elses(session: &Session<'_>, vm: &VmId, location: &DiskLocation) -> Result<(), EndpointError> {
    let DiskLocation::Block(_) = location else {
        return Ok(());
    };
    let own = session.machine(vm).uuid();
    let others = session
        .libvirt
        .machines(session.call)
        .map_err(|e| session.failed(e))?;
    let user = others
        .iter()
        .filter(|domain| domain.uuid != own)
        .find(|domain| domain.disks.iter().any(|disk| has(disk, location)));
    match user {
        Some(LiveDomain { name, .. }) => {
            let message = format!("{location} is a disk of {name}, which runs");
            Err(session.error(ErrorKind::Busy, message))
        }
        None => Ok(()),
    }
}

/// Whether a disk, what it lies on or what it is copied to is there.
pub(super) fn has(disk: &LiveDisk, location: &DiskLocation) -> bool {
    let images = [&disk.image]
        .into_iter()
        .chain(&disk.backing)
        .chain(disk.mirror.as_ref().map(|mirror| &mirror.image));
    images
        .filter_map(|image| image.source.as_ref())
        .any(|source| same_place(source.path(), location.path()))
}

/// Whether both are one file or one device.
fn same_place(one: &std::path::Path, other: &std::path::Path) -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let identity = |path: &std::path::Path| {
        let found = path.metadata().ok()?;
        Some(if found.file_type().is_block_device() {
            (None, found.rdev())
        } else {
            (Some(found.dev()), found.ino())
        })
    };
    one == other || identity(one).is_some_and(|one| identity(other) == Some(one))
}

/// The place of a disk in libvirt's words.
pub(super) fn source(location: &DiskLocation) -> Source {
    match location {
        DiskLocation::File(path) => Source::File(path.clone()),
        DiskLocation::Block(device) => Source::Block(device.path.clone()),
    }
}

fn domain_disk(
    session: &Session<'_>,
    disk: &VmDisk<'_>,
    facts: &DiskFacts,
) -> Result<DomainDisk, EndpointError> {
    let refused = |e: Refusal| {
        session
            .error(ErrorKind::InvalidRequest, e.to_string())
            .with_source(e)
    };
    let cut: String = disk.volume.as_str().chars().take(SERIAL).collect();
    let serial = cut.parse().map_err(refused)?;
    let mut found = DomainDisk::new(disk.target.clone(), image(session, disk)?)
        .on(facts.base.as_ref().map(BaseImage::source).map(base))
        .with_serial(serial)
        .with_discard(disk.discard);
    if matches!(disk.disk.location, DiskLocation::Block(_)) {
        found = found.with_cache(Cache::None);
    }
    if disk.read_only {
        found = found.read_only();
    }
    Ok(found)
}

/// The image as libvirt is told of it.
pub(super) fn image(session: &Session<'_>, disk: &VmDisk<'_>) -> Result<Image, EndpointError> {
    let place = source(disk.disk.location);
    Ok(match keys::name(session, disk)? {
        Some(secret) => Image::encrypted(place, disk.disk.format, secret.uuid()),
        None => Image::plain(place, disk.disk.format),
    })
}

fn base(base: SourceImage<'_>) -> Image {
    use std::os::unix::fs::FileTypeExt;
    let device = base.path.metadata();
    let place = if device.is_ok_and(|found| found.file_type().is_block_device()) {
        Source::Block(base.path.to_owned())
    } else {
        Source::File(base.path.to_owned())
    };
    Image::plain(place, base.format)
}

/// Whether a machine has this very disk at its target.
pub(super) fn is_at(
    session: &Session<'_>,
    domain: &LiveDomain,
    disk: &VmDisk<'_>,
) -> Result<bool, EndpointError> {
    let Some(there) = domain.disk(disk.target) else {
        return Ok(false);
    };
    let Some(place) = &there.image.source else {
        return Ok(false);
    };
    Ok(same_place(place.path(), disk.disk.location.path())
        && node_graph::format(session, &there.image)? == disk.disk.format
        && there.image.encryption.is_some() == disk.disk.protection.key().is_some()
        && there.read_only == disk.read_only)
}
