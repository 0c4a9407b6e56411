use std::path::PathBuf;

use strongroom_types::DiskFormat;

use super::State;
use super::create::blank;
use super::disk::{FakeDisk, error};
use super::machine::twice;
use crate::{
    BackUpVmDisks, BaseImage, CopyVmDisk, DiskLocation, EndpointError, ErrorKind, FlattenVmDisk, HostAnswer,
    MergeVmDisk, SnapshotVmDisks, VmDisk,
};

impl State {
    pub(super) fn snapshot_vm_disks(
        &mut self,
        name: &'static str,
        c: &SnapshotVmDisks<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        self.running(name, c.vm)?;
        if c.freeze {
            let message = "no agent answers in the guest";
            return Err(error(ErrorKind::Unsupported, name, message));
        }
        twice(name, c.overlays.iter().map(|overlay| overlay.target))?;
        let mut made = Vec::new();
        for overlay in c.overlays {
            if overlay.disk.format != DiskFormat::Qcow2 || overlay.disk.base.is_some() {
                let message = "an overlay is qcow2, and lies on what the guest has";
                return Err(error(ErrorKind::InvalidRequest, name, message));
            }
            let lower = self.vm_disk(name, c.vm, overlay.target)?.path.clone();
            let disk = self.new_file(name, &lower, overlay)?;
            made.push((overlay.target, lower, disk));
        }
        for (target, lower, mut disk) in made {
            let format = self
                .disks
                .get(&lower)
                .map_or(DiskFormat::Raw, |disk| disk.facts().format);
            disk.set_base(Some(BaseImage::new(&lower, format)));
            let path = disk.facts().location.path().to_owned();
            self.disks.insert(path.clone(), disk);
            let there = self.vm_disk(name, c.vm, target)?;
            there.below.insert(0, lower);
            there.path = path;
        }
        self.machine_answer(name, c.vm)
    }

    /// A new file, not there yet, of the size and with the content of the disk at `from`; encrypted when that is.
    fn new_file(
        &mut self,
        name: &'static str,
        from: &PathBuf,
        to: &VmDisk<'_>,
    ) -> Result<FakeDisk, EndpointError> {
        let DiskLocation::File(path) = to.disk.location else {
            let message = format!("{} is no file", to.disk.location);
            return Err(error(ErrorKind::InvalidRequest, name, message));
        };
        if self.is_taken(path) {
            let message = format!("{} is there already and stays", path.display());
            return Err(error(ErrorKind::AlreadyExists, name, message));
        }
        self.filled(name, from, to)
    }

    fn filled(
        &mut self,
        name: &'static str,
        from: &PathBuf,
        to: &VmDisk<'_>,
    ) -> Result<FakeDisk, EndpointError> {
        let gone = || {
            error(
                ErrorKind::NotFound,
                name,
                format!("no disk at {}", from.display()),
            )
        };
        let source = self.disks.get(from).ok_or_else(gone)?;
        let (facts, content) = (source.facts(), source.read());
        if facts.encryption.is_some() && to.disk.protection.key().is_none() {
            let message = format!("the content of {} would become plain", facts.location);
            return Err(error(ErrorKind::InvalidRequest, name, message));
        }
        let key = self.fingerprint(to.disk.protection);
        let (location, protection) = (to.disk.location.clone(), to.disk.protection);
        let mut disk = FakeDisk::new(name, location, to.disk.format, facts.guest, protection, key)?;
        disk.readable(name)?;
        disk.content = content;
        Ok(disk)
    }

    pub(super) fn merge(
        &mut self,
        name: &'static str,
        c: &MergeVmDisk<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        let there = self.vm_disk(name, c.vm, c.target)?.clone();
        let Some(lower) = there.below.first().cloned() else {
            return self.machine_answer(name, c.vm);
        };
        let gone = |path: &PathBuf| {
            error(
                ErrorKind::NotFound,
                name,
                format!("no disk at {}", path.display()),
            )
        };
        let upper = self
            .disks
            .get(&there.path)
            .ok_or_else(|| gone(&there.path))?
            .clone();
        let into_encrypted = self
            .disks
            .get(&lower)
            .is_some_and(|disk| disk.facts().encryption.is_some());
        if upper.facts().encryption.is_some() && !into_encrypted {
            let message = format!(
                "what {} holds would become plain in {}; flatten it instead",
                there.path.display(),
                lower.display()
            );
            return Err(error(ErrorKind::InvalidRequest, name, message));
        }
        let into = self.disks.get_mut(&lower).ok_or_else(|| gone(&lower))?;
        if into.guest() < upper.guest() {
            into.grow(name, upper.guest())?;
        }
        into.content = upper.read().over(&into.content);
        self.disks.remove(&there.path);
        self.gone.insert(there.path);
        let there = self.vm_disk(name, c.vm, c.target)?;
        there.path = there.below.remove(0);
        self.machine_answer(name, c.vm)
    }

    pub(super) fn flatten_vm_disk(
        &mut self,
        name: &'static str,
        c: &FlattenVmDisk<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        let there = self.vm_disk(name, c.vm, c.target)?;
        there.below.clear();
        let path = there.path.clone();
        if let Some(disk) = self.disks.get_mut(&path) {
            disk.set_base(None);
        }
        self.machine_answer(name, c.vm)
    }

    /// The same command again, after its answer was lost, finds the guest on the new disk.
    pub(super) fn copy_vm_disk(
        &mut self,
        name: &'static str,
        c: &CopyVmDisk<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        let from = self.vm_disk(name, c.vm, c.to.target)?.path.clone();
        let path = c.to.disk.location.path().to_owned();
        if from == path {
            self.opened(name, &c.to.disk)?;
            return self.machine_answer(name, c.vm);
        }
        let disk = match c.to.disk.location {
            DiskLocation::File(_) => self.new_file(name, &from, &c.to)?,
            DiskLocation::Block(_) => self.on_device(name, &from, &c.to)?,
        };
        self.disks.insert(path.clone(), disk);
        let there = self.vm_disk(name, c.vm, c.to.target)?;
        there.path = path;
        there.below.clear();
        self.machine_answer(name, c.vm)
    }

    /// The disk that a device becomes which is blank or was formatted for this volume.
    fn on_device(
        &mut self,
        name: &'static str,
        from: &PathBuf,
        to: &VmDisk<'_>,
    ) -> Result<FakeDisk, EndpointError> {
        let location = to.disk.location;
        self.free(name, location)?;
        let mut disk = self.filled(name, from, to)?;
        let key = self.fingerprint(to.disk.protection);
        let guest = disk.guest();
        let there = self.at(name, location)?;
        let formatted = there.volume.as_ref() == Some(to.volume)
            && there.key == key
            && there
                .matches(name, to.disk.format, to.disk.protection.format())
                .is_ok();
        if !formatted {
            blank(name, there)?;
        }
        let device = there.facts().device;
        disk.volume = Some(to.volume.clone());
        disk.look(name, location, device)?;
        if disk.guest() != guest {
            let (has, wanted) = (disk.guest().get(), guest.get());
            let message = format!("{location} would show the guest {has} bytes instead of {wanted}");
            return Err(error(ErrorKind::InvalidRequest, name, message));
        }
        Ok(disk)
    }

    pub(super) fn back_up_vm_disks(
        &mut self,
        name: &'static str,
        c: &BackUpVmDisks<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        self.running(name, c.vm)?;
        if c.since.is_some() || c.checkpoint.is_some() {
            let message = "a host in memory keeps no checkpoints; take a full backup";
            return Err(error(ErrorKind::Unsupported, name, message));
        }
        twice(name, c.backups.iter().map(|backup| backup.target))?;
        let mut made = Vec::new();
        for backup in c.backups {
            if backup.to.disk.protection.key().is_none() {
                let message = format!("the backup of {} is to be encrypted", backup.target);
                return Err(error(ErrorKind::InvalidRequest, name, message));
            }
            let from = self.vm_disk(name, c.vm, backup.target)?.path.clone();
            made.push(self.new_file(name, &from, &backup.to)?);
        }
        for disk in made {
            self.disks.insert(disk.facts().location.path().to_owned(), disk);
        }
        self.machine_answer(name, c.vm)
    }
}
