use strongroom_endpoint_selector::{ChangeVmDiskKey, EndpointError, ErrorKind, HostAnswer, Protection};
use strongroom_types::{DiskFormat, EncryptionFormat};

use super::session::Session;
use super::{facts, guest_disk, work};

pub(super) fn change(session: &Session<'_>, c: &ChangeVmDiskKey<'_>) -> Result<HostAnswer, EndpointError> {
    let _held = session.hold_vm(c.vm)?;
    work::undo(session, c.vm)?;
    let domain = session.described(c.vm)?;
    let location = c.disk.disk.location;
    if domain.disk(c.disk.target).is_none() {
        return Err(session.no_disk(c.vm, c.disk.target));
    }
    if !guest_disk::is_at(session, &domain, &c.disk)? {
        let message = format!(
            "{} of {} is not what the command says, {location}",
            c.disk.target, c.vm
        );
        return Err(session.error(ErrorKind::WrongDisk, message));
    }
    let Protection::Luks {
        format: EncryptionFormat::Luks1,
        key,
    } = c.disk.disk.protection
    else {
        let message = format!("{location} is not said to be LUKS1, so it has no key that could be changed");
        return Err(session.error(ErrorKind::InvalidRequest, message));
    };
    let _disk = session.runtime.hold_disk(session.operation, location.path())?;
    match c.disk.disk.format {
        // QEMU read the header when it opened the disk, and aborts when it is asked to change it.
        DiskFormat::Raw => {
            session
                .tools
                .change_key(session.operation, session.call, location, key, c.to)?;
        }
        DiskFormat::Qcow2 if session.changes_keyslots => {
            session
                .machine(c.vm)
                .change_key(session.call, c.disk.target, key, c.to)
                .map_err(|e| session.failed(e))?;
        }
        DiskFormat::Qcow2 => {
            let message = "this host's QEMU was not seen to change keyslots of qcow2 disks that a guest has (see its probe); copy the disk \
                           under another key, or stop the machine first";
            return Err(session.error(ErrorKind::Unsupported, message));
        }
    }
    facts::answer(session, c.vm)
}
