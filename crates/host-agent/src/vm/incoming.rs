//! Machines that come from another host: their keys wait here until they have come or do not come any more.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use strongroom_endpoint_selector::{
    DiskLocation, EndpointError, ErrorKind, FinishIncomingVm, HostAnswer, MigratedStorage, PrepareIncomingVm,
    Vm, VmDisk, VmFacts,
};
use strongroom_libvirt::{LibvirtError, SecretName};
use strongroom_types::{EncryptionFormat, GuestSize, VmId, VolumeId};

use super::keys::{self, Keys};
use super::session::{Session, to_its_end};
use super::{facts, new_image, work};
use crate::{failure, inspect, overlay, reading, staging};

pub(super) fn prepare(session: &Session<'_>, c: &PrepareIncomingVm<'_>) -> Result<HostAnswer, EndpointError> {
    let _held = session.hold_vm(c.vm.id)?;
    if c.sizes.len() != c.vm.disks.len() {
        let message = format!("{} disks come with {} sizes", c.vm.disks.len(), c.sizes.len());
        return Err(session.error(ErrorKind::InvalidRequest, message));
    }
    match session.machine(c.vm.id).describe(session.call) {
        Err(LibvirtError::NoDomain { .. }) => {}
        Ok(_) => {
            let message = format!("{} runs on this host already", c.vm.id);
            return Err(session.error(ErrorKind::AlreadyExists, message));
        }
        Err(e) => return Err(session.failed(e)),
    }
    // What an earlier one has left.
    end(session, c.vm.id, &[])?;
    let made = absent(c);
    write(session, &c.vm, &made)?;
    let ready =
        c.vm.disks
            .iter()
            .zip(c.sizes)
            .try_for_each(|(disk, size)| make_ready(session, c.storage, disk, *size, &made))
            .and_then(|()| Keys::load(session, c.vm.disks));
    match ready {
        Ok(keys) => {
            keys.leave();
            Ok(HostAnswer::Done)
        }
        Err(error) => {
            if let Err(left) = end(session, c.vm.id, &[]) {
                tracing::error!(vm = %c.vm.id, error = %left, "what was prepared for a machine is not undone yet");
            }
            Err(error)
        }
    }
}

/// The files that are not there, and that the copied disks need.
fn absent(c: &PrepareIncomingVm<'_>) -> Vec<PathBuf> {
    let copied = c.storage == MigratedStorage::Copied;
    let files = c.vm.disks.iter().filter_map(|disk| match disk.disk.location {
        DiskLocation::File(path) if copied && path.symlink_metadata().is_err() => Some(path.clone()),
        _ => None,
    });
    files.collect()
}

fn make_ready(
    session: &Session<'_>,
    storage: MigratedStorage,
    disk: &VmDisk<'_>,
    size: GuestSize,
    made: &[PathBuf],
) -> Result<(), EndpointError> {
    session.go_on()?;
    let (location, format) = (disk.disk.location, disk.disk.format);
    let encryption = disk.disk.protection.format();
    if encryption == Some(EncryptionFormat::Luks2) {
        let message = format!("{location} is LUKS2, which QEMU does not open");
        return Err(session.error(ErrorKind::Unsupported, message));
    }
    let found = match storage {
        MigratedStorage::Copied if made.iter().any(|path| path == location.path()) => {
            new_image::target(session, disk, size)?.guest
        }
        MigratedStorage::Copied if matches!(location, DiskLocation::Block(_)) => {
            new_image::target(session, disk, size)?.guest
        }
        MigratedStorage::Copied => {
            inspect::prove(session.tools, session.call, session.operation, &disk.disk)?.guest
        }
        // The guest writes to it meanwhile, on the other host.
        MigratedStorage::Shared => {
            let (facts, named) = reading::disk(session.operation, location, format, encryption)?;
            let home = location.path().parent().unwrap_or(Path::new("/"));
            let lies = disk.disk.base.map_or(overlay::Lies::Alone, overlay::Lies::On);
            overlay::base(
                session.operation,
                location,
                home,
                named.as_ref(),
                lies,
                facts.guest,
            )?;
            session
                .tools
                .open_in_use(session.operation, session.call, &disk.disk)?;
            facts.guest
        }
    };
    if found == size {
        return Ok(());
    }
    let message = format!("{location} has {} bytes instead of {}", found.get(), size.get());
    Err(session.error(ErrorKind::WrongDisk, message))
}

pub(super) fn finish(session: &Session<'_>, c: &FinishIncomingVm<'_>) -> Result<HostAnswer, EndpointError> {
    let _held = session.hold_vm(c.vm)?;
    let came = end(session, c.vm, c.volumes)?;
    Ok(HostAnswer::Vms(came.into_iter().collect()))
}

/// Takes the keys away, and what was made for a machine that did not come. Says how one is that came.
pub(super) fn end(
    session: &Session<'_>,
    vm: &VmId,
    volumes: &[&VolumeId],
) -> Result<Option<VmFacts>, EndpointError> {
    let machine = session.machine(vm);
    let came = match machine.describe(&to_its_end()) {
        Err(LibvirtError::NoDomain { .. }) => None,
        described => {
            let domain = described.map_err(|e| session.failed(e))?;
            Some(facts::facts(session, vm, &domain)?)
        }
    };
    let record = read(session, vm)?;
    let mut names = secrets(&record);
    let loaded = session
        .libvirt
        .secrets(&to_its_end())
        .map_err(|e| session.failed(e))?;
    names.extend(loaded.into_iter().filter(|name| volumes.contains(&name.volume())));
    for name in names {
        session
            .libvirt
            .unload_secret(&to_its_end(), &name)
            .map_err(|e| session.failed(e))?;
    }
    if came.is_none() {
        for file in strings(&record, "files").map(Path::new) {
            staging::abandon(file).map_err(|e| failure::io(session.operation, file, e))?;
            work::discard(session, file)?;
        }
    }
    let path = session.runtime.incoming(vm);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failure::io(session.operation, &path, e)),
        _ => Ok(came),
    }
}

/// The keys that machines wait for which are still on their way.
pub(super) fn awaited(session: &Session<'_>, incoming: &[&VmId]) -> Vec<SecretName> {
    let records = incoming.iter().filter_map(|vm| read(session, vm).ok());
    records.flat_map(|record| secrets(&record)).collect()
}

fn write(session: &Session<'_>, vm: &Vm<'_>, made: &[PathBuf]) -> Result<(), EndpointError> {
    let mut secrets = Vec::new();
    for disk in vm.disks {
        if let Some(name) = keys::name(session, disk)? {
            secrets.push(json!([name.volume().as_str(), name.passphrase().as_str()]));
        }
    }
    let files: Option<Vec<&str>> = made.iter().map(|path| path.to_str()).collect();
    let Some(files) = files else {
        let message = "a path is not UTF-8, which libvirt cannot be told";
        return Err(session.error(ErrorKind::InvalidRequest, message));
    };
    let text = json!({ "secrets": secrets, "files": files }).to_string();
    let path = session.runtime.incoming(vm.id);
    session.runtime.write(session.operation, &path, vm.id, &text)
}

fn read(session: &Session<'_>, vm: &VmId) -> Result<Value, EndpointError> {
    let path = session.runtime.incoming(vm);
    match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Value::Null),
        Err(e) => Err(failure::io(session.operation, &path, e)),
        // One that was not written to its end was written before anything was done.
        Ok(text) => Ok(serde_json::from_str(&text).unwrap_or_default()),
    }
}

fn strings<'r>(record: &'r Value, name: &str) -> impl Iterator<Item = &'r str> {
    let list = record.get(name).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str)
}

fn secrets(record: &Value) -> Vec<SecretName> {
    let list = record.get("secrets").and_then(Value::as_array);
    let name = |pair: &Value| {
        let word = |at: usize| pair.get(at).and_then(Value::as_str);
        Some(SecretName::new(&word(0)?.parse().ok()?, &word(1)?.parse().ok()?))
    };
    list.into_iter().flatten().filter_map(name).collect()
}
