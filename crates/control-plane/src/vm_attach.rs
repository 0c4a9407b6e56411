//! Giving virtual machines volumes, and taking them back.

use strongroom_endpoint_selector::{AttachVmDisk, DetachVmDisk, ErrorKind};
use strongroom_types::{Call, DiskTarget, HostId, VmId, VolumeId};

use crate::journal::closing_call;
use crate::vm_host::need;
use crate::vm_job::{VmJob, VmWork};
use crate::{ControlPlane, ControlPlaneError, VmDiskRecord, VmError, VmRecord, VolumeRecord, vm_table};

impl ControlPlane {
    /// Gives a machine a volume as the disk `target`: a running one at once, through the volume's pool and with its key for the length of
    /// this call, another one when it starts. The same volume again at the same target changes nothing.
    ///
    /// After an error the machine is as it was. After a kill [`recover`](Self::recover) finishes it where the hypervisor has the disk, and
    /// else undoes it.
    ///
    /// # Errors
    /// [`Unknown`](ControlPlaneError::Unknown), [`VmError::HasVolume`], [`VmError::TargetTaken`], [`VmError::Ended`] and the others of
    /// [`VmError`], [`Unfinished`](ControlPlaneError::Unfinished), [`NoHost`](ControlPlaneError::NoHost) when the machine's host cannot have
    /// the volume, [`Key`](ControlPlaneError::Key), [`Pool`](ControlPlaneError::Pool), [`Host`](ControlPlaneError::Host).
    pub fn attach_volume(
        &self,
        call: &Call,
        vm: &VmId,
        disk: &VmDiskRecord,
    ) -> Result<VmRecord, ControlPlaneError> {
        let _claim = self.vm_claims.take(vm)?;
        let record = self.settled_vm(vm)?;
        let _volume_claim = self.claims.take(&disk.volume)?;
        let volume = self.ready_volume(&disk.volume)?;
        if record.disks.contains(disk) {
            return Ok(record);
        }
        if let Ok(there) = record.disk(&disk.target) {
            return Err(VmError::TargetTaken {
                vm: vm.clone(),
                target: disk.target.clone(),
                volume: there.volume.clone(),
            }
            .into());
        }
        self.refuse_vm_disk(&disk.volume)?;
        tracing::debug!(%vm, volume = %disk.volume, target = %disk.target, "attach");
        let Some(host) = &record.host else {
            self.transact("record a disk", |transaction| {
                vm_table::insert_disk(transaction, vm, disk)
            })?;
            return self.vm(vm);
        };
        self.runs_on(call, &record, host)?;
        self.can_have(&record, host, &volume)?;
        self.driver_of(call, &volume)?;
        let work = VmWork::Attach {
            target: disk.target.clone(),
        };
        let job = self.begin_vm(vm, work, |transaction| {
            vm_table::insert_disk(transaction, vm, disk)
        })?;
        let attached = self
            .attach_on(call, host, vm, disk, &volume)
            .and_then(|()| self.end_vm(&job, |_| Ok(())));
        match attached {
            Ok(()) => self.vm(vm),
            Err(error) => Err(self.settle_failed_vm(&job, error, || {
                self.take_disk(&closing_call(), host, &job, &disk.target, &volume)
            })),
        }
    }

    /// Refuses when the machine went down by itself.
    fn runs_on(&self, call: &Call, vm: &VmRecord, host: &HostId) -> Result<(), ControlPlaneError> {
        match self.vm_on(call, host, &vm.id)? {
            Some(_) => Ok(()),
            None => Err(VmError::Ended {
                vm: vm.id.clone(),
                host: host.clone(),
            }
            .into()),
        }
    }

    /// Refuses when the machine's host cannot have the volume. What the machine itself takes it has already.
    fn can_have(&self, vm: &VmRecord, host: &HostId, volume: &VolumeRecord) -> Result<(), ControlPlaneError> {
        let mut need = need(vm, std::slice::from_ref(volume), Some(host)).with_free(Default::default(), 0);
        need.host = Some(host.clone());
        let action = format!("attach volume {} to virtual machine {}", volume.id, vm.id);
        self.select(&need, &action).map(drop)
    }

    fn attach_on(
        &self,
        call: &Call,
        host: &HostId,
        vm: &VmId,
        disk: &VmDiskRecord,
        volume: &VolumeRecord,
    ) -> Result<(), ControlPlaneError> {
        let key = self.unseal(volume)?;
        let hosted = self.host_disk(call, host, disk, volume, &key)?;
        let action = format!("attach volume {} to virtual machine {vm}", volume.id);
        let attach = AttachVmDisk::new(vm, hosted.for_host());
        let facts = self.on_vm(call, host, &action, attach)?;
        let there = facts.as_ref().and_then(|facts| facts.disk(&disk.target));
        match there {
            Some(there) if there.encryption == volume.encryption => Ok(()),
            _ => Err(VmError::Mismatch {
                vm: vm.clone(),
                problem: format!(
                    "disk {} is not what was attached, or on the other side of the cipher",
                    disk.target
                ),
            }
            .into()),
        }
    }

    /// Takes a volume from a machine, from a running one at once: its hypervisor lets go of it, and then its pool detaches it. The volume
    /// stays.
    ///
    /// A guest that does not let go keeps the disk, and that is an error of the kind [`Busy`](ErrorKind::Busy).
    ///
    /// # Errors
    /// [`Unknown`](ControlPlaneError::Unknown), [`VmError::NoDisk`] and the others of [`VmError`],
    /// [`NoHost`](ControlPlaneError::NoHost), [`Host`](ControlPlaneError::Host), [`Pool`](ControlPlaneError::Pool).
    pub fn detach_volume(
        &self,
        call: &Call,
        vm: &VmId,
        target: &DiskTarget,
    ) -> Result<VmRecord, ControlPlaneError> {
        let _claim = self.vm_claims.take(vm)?;
        let record = self.settled_vm(vm)?;
        let disk = record.disk(target)?;
        let _volume_claim = self.claims.take(&disk.volume)?;
        tracing::debug!(%vm, volume = %disk.volume, %target, "detach");
        let Some(host) = &record.host else {
            self.transact("forget a disk", |transaction| {
                vm_table::remove_disk(transaction, vm, target)
            })?;
            return self.vm(vm);
        };
        let volume = self.volume(&disk.volume)?;
        let target = target.clone();
        let job = self.begin_vm(vm, VmWork::Detach { target }, |_| Ok(()))?;
        match self.take_disk(call, host, &job, &disk.target, &volume) {
            Ok(()) => self.vm(vm),
            Err(error) => Err(self.settle_failed_vm(&job, error, || {
                self.settle_detach(&closing_call(), host, &job, &disk.target, &volume)
                    .map(drop)
            })),
        }
    }

    /// Takes a disk from the machine, has its pool detach it, and forgets that the machine had it.
    pub(crate) fn take_disk(
        &self,
        call: &Call,
        host: &HostId,
        job: &VmJob,
        target: &DiskTarget,
        volume: &VolumeRecord,
    ) -> Result<(), ControlPlaneError> {
        let vm = &job.vm;
        let action = format!("take disk {target} from virtual machine {vm}");
        match self.on_vm(call, host, &action, DetachVmDisk::new(vm, target)) {
            // A machine that went down has let go of all its disks.
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => {}
            done => drop(done?),
        }
        self.release_disk(call, host, volume)?;
        self.end_vm(job, |transaction| vm_table::remove_disk(transaction, vm, target))
    }

    /// After a detach that failed: the machine has the disk as before, or it is taken now. Says whether it was taken.
    pub(crate) fn settle_detach(
        &self,
        call: &Call,
        host: &HostId,
        job: &VmJob,
        target: &DiskTarget,
        volume: &VolumeRecord,
    ) -> Result<bool, ControlPlaneError> {
        let has_it = self
            .vm_on(call, host, &job.vm)?
            .is_some_and(|facts| facts.disk(target).is_some());
        if has_it {
            self.end_vm(job, |_| Ok(()))?;
        } else {
            self.take_disk(call, host, job, target, volume)?;
        }
        Ok(!has_it)
    }

    /// The volume of a disk that a job of the machine is about.
    pub(crate) fn volume_at(
        &self,
        vm: &VmRecord,
        target: &DiskTarget,
    ) -> Result<VolumeRecord, ControlPlaneError> {
        let disk: &VmDiskRecord = vm.disk(target)?;
        let volume: &VolumeId = &disk.volume;
        self.volume(volume)
    }
}
