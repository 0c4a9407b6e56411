use std::path::Path;

use strongroom_types::DiskFormat;

use super::State;
use super::disk::error;
use crate::{
    AttachVmDisk, ChangeVmDiskKey, DetachVmDisk, DiskLocation, EndpointError, ErrorKind, GrowVmDisk,
    HostAnswer, Protection, VmState,
};

impl State {
    pub(super) fn attach(
        &mut self,
        name: &'static str,
        c: &AttachVmDisk<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        self.running(name, c.vm)?;
        let disk = self.opened_vm_disk(name, c.vm, &c.disk)?;
        let target = c.disk.target;
        let has_it = self.machine_with(&disk.path).is_some();
        let machine = self.running(name, c.vm)?;
        match machine.disks.get(target) {
            Some(there) if *there == disk => {}
            Some(there) => {
                let message = format!("{target} of {} is {}", c.vm, there.path.display());
                return Err(error(ErrorKind::AlreadyExists, name, message));
            }
            None if has_it => {
                let message = format!("{} is another disk of {} already", disk.path.display(), c.vm);
                return Err(error(ErrorKind::Busy, name, message));
            }
            None => drop(machine.disks.insert(target.clone(), disk)),
        }
        self.machine_answer(name, c.vm)
    }

    /// A guest that is paused does not let go.
    pub(super) fn detach(
        &mut self,
        name: &'static str,
        c: &DetachVmDisk<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        let machine = self.running(name, c.vm)?;
        if machine.state != VmState::Running && machine.disks.contains_key(c.target) {
            let message = format!("{} is paused and does not let go of {}", c.vm, c.target);
            return Err(error(ErrorKind::Busy, name, message));
        }
        machine.disks.remove(c.target);
        self.machine_answer(name, c.vm)
    }

    pub(super) fn grow_vm_disk(
        &mut self,
        name: &'static str,
        c: &GrowVmDisk<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        let path = self.vm_disk(name, c.vm, c.target)?.path.clone();
        let mut location = self.located(name, &path)?;
        if let DiskLocation::Block(device) = &mut location {
            // The machine has all of the device, as large as its storage made it meanwhile.
            (device.used, device.identity) = (None, None);
        }
        self.at(name, &location)?.grow(name, c.to)?;
        self.machine_answer(name, c.vm)
    }

    /// Where the disk at a path is.
    pub(super) fn located(&self, name: &'static str, path: &Path) -> Result<DiskLocation, EndpointError> {
        let gone = || {
            error(
                ErrorKind::NotFound,
                name,
                format!("no disk at {}", path.display()),
            )
        };
        let disk = self.disks.get(path).ok_or_else(gone)?;
        Ok(disk.facts().location)
    }

    pub(super) fn change_key(
        &mut self,
        name: &'static str,
        c: &ChangeVmDiskKey<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        let path = self.vm_disk(name, c.vm, c.disk.target)?.path.clone();
        if path != c.disk.disk.location.path() {
            let message = format!("{} of {} is {}", c.disk.target, c.vm, path.display());
            return Err(error(ErrorKind::WrongDisk, name, message));
        }
        let Protection::Luks { format, .. } = c.disk.disk.protection else {
            let message = format!("{} is plain and has no key", path.display());
            return Err(error(ErrorKind::InvalidRequest, name, message));
        };
        let new = self.fingerprint(Protection::Luks { format, key: c.to });
        let mut done = c.disk.disk;
        done.protection = Protection::Luks { format, key: c.to };
        // One that was changed before its answer was lost is done.
        if self.opened(name, &done).is_err() {
            self.opened(name, &c.disk.disk)?.key = new;
        }
        self.machine_answer(name, c.vm)
    }

    /// Fails while a machine that runs has the disk open, but for a raw device, which grows meanwhile.
    pub(super) fn not_in_a_machine(
        &self,
        name: &'static str,
        location: &DiskLocation,
        format: DiskFormat,
    ) -> Result<(), EndpointError> {
        match location {
            DiskLocation::Block(_) if format == DiskFormat::Raw => Ok(()),
            _ => self.no_machine_has(name, location.path()),
        }
    }

    /// Fails while a machine that runs has this path open.
    pub(super) fn no_machine_has(&self, name: &'static str, path: &Path) -> Result<(), EndpointError> {
        match self.machine_with(path) {
            None => Ok(()),
            Some(vm) => {
                let message = format!("{} is a disk of {vm}, which runs", path.display());
                Err(error(ErrorKind::Busy, name, message))
            }
        }
    }
}
