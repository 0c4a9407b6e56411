//! Starting and stopping virtual machines.

use strongroom_endpoint_selector::{StartVm, StopVmHow, VmDisk};
use strongroom_types::{Call, HostId, VmId};

use crate::journal::closing_call;
use crate::vm_host::{has_disks, need};
use crate::vm_job::{VmJob, VmWork};
use crate::{ControlPlane, ControlPlaneError, VmBoot, VmError, VmRecord, VmStatus, VolumeRecord, vm_table};

impl ControlPlane {
    /// Starts a machine on the named host, or on the one that the endpoint selector chooses: it takes work, has the memory and the cores free,
    /// reaches the pools of all volumes, and can open each of them; one encrypted volume is enough for it to need
    /// [`EncryptedVms`](strongroom_types::Capability::EncryptedVms). What a host has free is what it says itself.
    ///
    /// The pools attach the volumes first. The keys are unsealed for the length of this call. Nobody else works on the volumes from here on
    /// until the machine is stopped. Starting a machine that runs changes nothing; where its guest went down by itself, it starts anew.
    ///
    /// After an error nothing of it runs, and the volumes are attached nowhere. After a kill [`recover`](Self::recover) lets a guest that runs
    /// go on, and else undoes what was done. A host that does not answer keeps the machine: it is started nowhere else.
    ///
    /// # Errors
    /// [`NoHost`](ControlPlaneError::NoHost) with every reason against every host, [`Unknown`](ControlPlaneError::Unknown),
    /// [`VmError`], [`Unfinished`](ControlPlaneError::Unfinished) for a volume with an unfinished job, [`Key`](ControlPlaneError::Key),
    /// [`Pool`](ControlPlaneError::Pool), [`Host`](ControlPlaneError::Host).
    pub fn start_vm(
        &self,
        call: &Call,
        id: &VmId,
        host: Option<&HostId>,
    ) -> Result<VmRecord, ControlPlaneError> {
        let _claim = self.vm_claims.take(id)?;
        let vm = self.settled_vm(id)?;
        if let Some(there) = &vm.host {
            if self.vm_on(call, there, id)?.is_some() {
                return match host {
                    Some(wanted) if wanted != there => {
                        let (vm, host) = (id.clone(), there.clone());
                        Err(VmError::Runs { vm, host }.into())
                    }
                    _ => Ok(vm),
                };
            }
            self.stop(call, &vm, StopVmHow::PowerOff)?;
        }
        if vm.boot == VmBoot::Disk && vm.disks.is_empty() {
            return Err(VmError::NothingToBoot { vm: id.clone() }.into());
        }
        let _claims = vm
            .disks
            .iter()
            .map(|disk| self.claims.take(&disk.volume))
            .collect::<Result<Vec<_>, _>>()?;
        let mut volumes = Vec::new();
        for disk in &vm.disks {
            let volume = self.ready_volume(&disk.volume)?;
            // What earlier work could not detach is not attached twice.
            self.driver_of(call, &volume)?;
            volumes.push(volume);
        }
        let chosen = self.select(&need(&vm, &volumes, host), &format!("run virtual machine {id}"))?;
        let chosen = chosen.host().id;
        tracing::debug!(vm = %id, host = %chosen, "start");
        let job = self.begin_vm(id, VmWork::Start, |transaction| {
            vm_table::set_host(transaction, id, Some(&chosen))
        })?;
        let started = self
            .start_on(call, &chosen, &vm, &volumes)
            .and_then(|()| self.end_vm(&job, |_| Ok(())));
        match started {
            Ok(()) => self.vm(id),
            Err(error) => Err(self.settle_failed_vm(&job, error, || {
                let call = closing_call();
                self.end_on_host(&call, &chosen, id, StopVmHow::PowerOff)?;
                self.release_vm(&call, &chosen, &job, &volumes)
            })),
        }
    }

    fn start_on(
        &self,
        call: &Call,
        host: &HostId,
        vm: &VmRecord,
        volumes: &[VolumeRecord],
    ) -> Result<(), ControlPlaneError> {
        let keys = volumes
            .iter()
            .map(|volume| self.unseal(volume))
            .collect::<Result<Vec<_>, _>>()?;
        let mut hosted = Vec::new();
        for ((disk, volume), key) in vm.disks.iter().zip(volumes).zip(&keys) {
            hosted.push(self.host_disk(call, host, disk, volume, key)?);
        }
        let disks: Vec<VmDisk<'_>> = hosted.iter().map(|disk| disk.for_host()).collect();
        let action = format!("start virtual machine {}", vm.id);
        let start = StartVm::new(vm.for_host().with_disks(&disks));
        match self.on_vm(call, host, &action, start)? {
            Some(facts) => has_disks(vm, volumes, &facts),
            None => Err(ControlPlaneError::Answer {
                host: host.clone(),
                action,
            }),
        }
    }

    /// Stops a machine: its guest is asked and has until the call's deadline, or the power fails. Then the pools detach its volumes. One
    /// that does not run, or went down by itself, is fine. A failed job of the machine is settled: a disk that could be neither
    /// attached nor detached is not the machine's any more.
    ///
    /// A guest that was asked and does not stop runs on, and that is an error of the kind [`Busy`](strongroom_endpoint_selector::ErrorKind::Busy).
    ///
    /// # Errors
    /// [`Unknown`](ControlPlaneError::Unknown), [`VmError`], [`NoHost`](ControlPlaneError::NoHost), [`Host`](ControlPlaneError::Host),
    /// [`Pool`](ControlPlaneError::Pool).
    pub fn stop_vm(&self, call: &Call, id: &VmId, how: StopVmHow) -> Result<VmRecord, ControlPlaneError> {
        let _claim = self.vm_claims.take(id)?;
        let vm = self.vm(id)?;
        if let VmStatus::Working(_) = vm.status {
            return Err(self.unfinished_vm(id));
        }
        self.stop(call, &vm, how)?;
        self.vm(id)
    }

    fn stop(&self, call: &Call, vm: &VmRecord, how: StopVmHow) -> Result<(), ControlPlaneError> {
        if vm.status == VmStatus::Stopped {
            return Ok(());
        }
        tracing::debug!(vm = %vm.id, ?how, "stop");
        let work = VmWork::Stop {
            power_off: how == StopVmHow::PowerOff,
            without: None,
        };
        let job = self.begin_vm(&vm.id, work, |_| Ok(()))?;
        let Err(error) = self.finish_stop(call, vm, &job, how) else {
            return Ok(());
        };
        Err(self.settle_failed_vm(&job, error, || {
            let call = closing_call();
            let runs = match &vm.host {
                Some(host) => self.vm_on(&call, host, &vm.id)?.is_some(),
                None => false,
            };
            let settles = matches!(job.work, VmWork::Stop { without: Some(_), .. });
            match runs && !settles {
                true => self.end_vm(&job, |_| Ok(())),
                false => self.finish_stop(&call, vm, &job, how),
            }
        }))
    }

    /// Stops the machine, and frees its volumes.
    pub(crate) fn finish_stop(
        &self,
        call: &Call,
        vm: &VmRecord,
        job: &VmJob,
        how: StopVmHow,
    ) -> Result<(), ControlPlaneError> {
        let volumes = self.vm_volumes(vm)?;
        match &vm.host {
            Some(host) => {
                self.end_on_host(call, host, &vm.id, how)?;
                if self.vm_on(call, host, &vm.id)?.is_some() {
                    return Err(VmError::Mismatch {
                        vm: vm.id.clone(),
                        problem: format!("host {host} says that it stopped it, and runs it"),
                    }
                    .into());
                }
                self.release_vm(call, host, job, &volumes)
            }
            None => self.end_vm(job, |_| Ok(())),
        }
    }

    /// Has the pools detach the volumes of a machine that does not run, and records that it has no host.
    pub(crate) fn release_vm(
        &self,
        call: &Call,
        host: &HostId,
        job: &VmJob,
        volumes: &[VolumeRecord],
    ) -> Result<(), ControlPlaneError> {
        for volume in volumes {
            self.release_disk(call, host, volume)?;
        }
        self.end_vm(job, |transaction| {
            if let VmWork::Stop {
                without: Some(target),
                ..
            } = &job.work
            {
                vm_table::remove_disk(transaction, &job.vm, target)?;
            }
            vm_table::set_host(transaction, &job.vm, None)
        })
    }
}
