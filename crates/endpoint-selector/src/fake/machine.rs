use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use strongroom_types::{DiskTarget, VmId};

use super::disk::error;
use super::{MemoryEndpoint, State, lock};
use crate::{
    Boot, DiskLocation, EndpointError, ErrorKind, HostAnswer, StartVm, Vm, VmCommand, VmDisk, VmDiskFacts,
    VmFacts, VmState,
};

/// A virtual machine that runs.
#[derive(Debug, Clone)]
pub(super) struct FakeMachine {
    pub(super) state: VmState,
    pub(super) disks: BTreeMap<DiskTarget, FakeVmDisk>,
}

/// A disk that a virtual machine has open: among the disks, by its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FakeVmDisk {
    pub(super) path: PathBuf,
    /// What it lies on, from the next below to the lowest.
    pub(super) below: Vec<PathBuf>,
    pub(super) read_only: bool,
}

impl MemoryEndpoint {
    /// Ends a virtual machine at once, as when its hypervisor dies. Says whether it ran.
    pub fn end_vm(&self, vm: &VmId) -> bool {
        lock(&self.state).machines.remove(vm).is_some()
    }
}

/// Every path that a command names, but for those of disks that a machine has already.
pub(super) fn paths<'a>(command: &VmCommand<'a>) -> Vec<&'a Path> {
    let of = |disk: &VmDisk<'a>| disk.disk.location.path();
    match command {
        VmCommand::StartVm(c) => {
            let (kernel, initramfs) = match c.vm.boot {
                Boot::Disk => (None, None),
                Boot::Kernel {
                    kernel, initramfs, ..
                } => (Some(kernel), initramfs),
            };
            let named = [kernel, initramfs, c.vm.console];
            named
                .into_iter()
                .flatten()
                .chain(c.vm.disks.iter().map(of))
                .collect()
        }
        VmCommand::AttachVmDisk(c) => vec![of(&c.disk)],
        VmCommand::SnapshotVmDisks(c) => c.overlays.iter().map(of).collect(),
        VmCommand::BackUpVmDisks(c) => c.backups.iter().map(|backup| of(&backup.to)).collect(),
        VmCommand::CopyVmDisk(c) => vec![of(&c.to)],
        _ => Vec::new(),
    }
}

/// Fails for what no machine can be.
fn sound(name: &'static str, vm: &Vm<'_>) -> Result<(), EndpointError> {
    let wrong = |message: String| Err(error(ErrorKind::InvalidRequest, name, message));
    if vm.cores == 0 || vm.memory.get() == 0 {
        return wrong(format!("{} has no processor or no memory", vm.id));
    }
    if vm.boot == Boot::Disk && vm.disks.is_empty() {
        return wrong(format!("{} has no disk to boot from", vm.id));
    }
    twice(name, vm.disks.iter().map(|disk| disk.target))
}

/// Fails when a target is named twice.
pub(super) fn twice<'t>(
    name: &'static str,
    targets: impl IntoIterator<Item = &'t DiskTarget>,
) -> Result<(), EndpointError> {
    let mut seen = Vec::new();
    for target in targets {
        if seen.contains(&target) {
            let message = format!("two disks are to be {target}");
            return Err(error(ErrorKind::InvalidRequest, name, message));
        }
        seen.push(target);
    }
    Ok(())
}

impl State {
    pub(super) fn machine_command(
        &mut self,
        name: &'static str,
        command: &VmCommand<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        match command {
            VmCommand::StartVm(c) => self.start(name, c),
            VmCommand::StopVm(c) => {
                self.machines.remove(c.vm);
                Ok(HostAnswer::Done)
            }
            VmCommand::PauseVm(c) => self.set_state(name, c.vm, VmState::Paused),
            VmCommand::ResumeVm(c) => self.set_state(name, c.vm, VmState::Running),
            VmCommand::InspectVm(c) => self.machine_answer(name, c.vm),
            VmCommand::ReconcileVms(_) => {
                let running: Vec<VmId> = self.machines.keys().cloned().collect();
                let facts = running.iter().map(|vm| self.machine_facts(name, vm));
                Ok(HostAnswer::Vms(facts.collect::<Result<_, _>>()?))
            }
            VmCommand::AttachVmDisk(c) => self.attach(name, c),
            VmCommand::DetachVmDisk(c) => self.detach(name, c),
            VmCommand::GrowVmDisk(c) => self.grow_vm_disk(name, c),
            VmCommand::ChangeVmDiskKey(c) => self.change_key(name, c),
            VmCommand::SnapshotVmDisks(c) => self.snapshot_vm_disks(name, c),
            VmCommand::MergeVmDisk(c) => self.merge(name, c),
            VmCommand::FlattenVmDisk(c) => self.flatten_vm_disk(name, c),
            VmCommand::CopyVmDisk(c) => self.copy_vm_disk(name, c),
            VmCommand::BackUpVmDisks(c) => self.back_up_vm_disks(name, c),
            _ => {
                let message = "a host in memory does not save and move virtual machines";
                Err(error(ErrorKind::Unsupported, name, message))
            }
        }
    }

    fn start(&mut self, name: &'static str, c: &StartVm<'_>) -> Result<HostAnswer, EndpointError> {
        sound(name, &c.vm)?;
        let mut disks = BTreeMap::new();
        for disk in c.vm.disks {
            disks.insert(disk.target.clone(), self.opened_vm_disk(name, c.vm.id, disk)?);
        }
        if let Some(there) = self.machines.get(c.vm.id) {
            if there.disks == disks {
                return self.machine_answer(name, c.vm.id);
            }
            let message = format!("{} runs already, with other disks", c.vm.id);
            return Err(error(ErrorKind::AlreadyExists, name, message));
        }
        let state = if c.vm.paused {
            VmState::Paused
        } else {
            VmState::Running
        };
        self.machines
            .insert(c.vm.id.clone(), FakeMachine { state, disks });
        self.machine_answer(name, c.vm.id)
    }

    /// The disk as this machine would have it, if it is what the command says, its key opens it, and no other machine has it.
    pub(super) fn opened_vm_disk(
        &mut self,
        name: &'static str,
        vm: &VmId,
        disk: &VmDisk<'_>,
    ) -> Result<FakeVmDisk, EndpointError> {
        let location = disk.disk.location;
        let path = location.path().to_owned();
        let plain_base = disk.disk.base.and_then(|base| self.disks.get(base.path));
        if let Some(base) = plain_base.map(super::disk::FakeDisk::facts)
            && base.encryption.is_some()
        {
            let message = format!("{location} lies on {}, which is not plain", base.location);
            return Err(error(ErrorKind::WrongDisk, name, message));
        }
        let device = self.devices.get(&path).map(super::device::FakeDevice::size);
        let there = self.opened(name, &disk.disk)?;
        there.readable(name)?;
        let below = there.base().map(|base| base.path.clone());
        if let (DiskLocation::Block(block), Some(device)) = (location, device)
            && block.used.is_some_and(|used| used != device)
        {
            let message = format!("{location} has more than the disk, which a guest would see");
            return Err(error(ErrorKind::Unsupported, name, message));
        }
        match self.machine_with(&path) {
            Some(other) if other != vm => {
                let message = format!("{location} is a disk of {other}, which runs");
                return Err(error(ErrorKind::Busy, name, message));
            }
            Some(_) => {}
            None => self.free(name, location)?,
        }
        Ok(FakeVmDisk {
            path,
            below: below.into_iter().collect(),
            read_only: disk.read_only,
        })
    }

    /// Which machine has this path open, as a disk or below one.
    pub(super) fn machine_with(&self, path: &Path) -> Option<&VmId> {
        let has = |disk: &FakeVmDisk| disk.path == path || disk.below.iter().any(|below| below == path);
        let mut machines = self.machines.iter();
        machines.find_map(|(id, machine)| machine.disks.values().any(has).then_some(id))
    }

    fn set_state(
        &mut self,
        name: &'static str,
        vm: &VmId,
        state: VmState,
    ) -> Result<HostAnswer, EndpointError> {
        self.running(name, vm)?.state = state;
        self.machine_answer(name, vm)
    }

    pub(super) fn running(
        &mut self,
        name: &'static str,
        vm: &VmId,
    ) -> Result<&mut FakeMachine, EndpointError> {
        let missing = || error(ErrorKind::NotFound, name, format!("{vm} does not run here"));
        self.machines.get_mut(vm).ok_or_else(missing)
    }

    pub(super) fn vm_disk(
        &mut self,
        name: &'static str,
        vm: &VmId,
        target: &DiskTarget,
    ) -> Result<&mut FakeVmDisk, EndpointError> {
        let missing = || error(ErrorKind::NotFound, name, format!("{vm} has no disk {target}"));
        self.running(name, vm)?.disks.get_mut(target).ok_or_else(missing)
    }

    pub(super) fn machine_answer(&self, name: &'static str, vm: &VmId) -> Result<HostAnswer, EndpointError> {
        self.machine_facts(name, vm).map(HostAnswer::Vm)
    }

    fn machine_facts(&self, name: &'static str, vm: &VmId) -> Result<VmFacts, EndpointError> {
        let missing = || error(ErrorKind::NotFound, name, format!("{vm} does not run here"));
        let machine = self.machines.get(vm).ok_or_else(missing)?;
        let mut disks = Vec::new();
        for (target, disk) in &machine.disks {
            let gone = || error(ErrorKind::Io, name, format!("{} is gone", disk.path.display()));
            let facts = self.disks.get(&disk.path).ok_or_else(gone)?.facts();
            let location = |path: &PathBuf| match self.disks.get(path) {
                Some(below) => below.facts().location,
                None => DiskLocation::file(path),
            };
            disks.push(
                VmDiskFacts::new(
                    target.clone(),
                    facts.location,
                    facts.format,
                    facts.encryption,
                    facts.guest,
                )
                .on(disk.below.iter().map(location).collect()),
            );
        }
        Ok(VmFacts::new(vm.clone(), machine.state, disks))
    }
}
