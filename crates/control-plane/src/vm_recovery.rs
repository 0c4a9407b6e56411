//! What a dead process left of its work on virtual machines.

use std::collections::BTreeSet;

use strongroom_endpoint_selector::{HostAnswer, ReconcileVms, StopVmHow, VmState};
use strongroom_types::{Call, HostId};

use crate::host_work::run;
use crate::job::JobKind;
use crate::recovery::Settled;
use crate::vm_host::has_disks;
use crate::vm_job::{self, VmJob, VmWork};
use crate::{ControlPlane, ControlPlaneError, VmRecord, VolumeRecord};

impl ControlPlane {
    /// Settles every job of a machine, the oldest first, and hands each outcome on. The hosts concerned are told first to bring order into what
    /// they had under way: keys that nobody waits for go.
    pub(crate) fn recover_vms(
        &self,
        call: &Call,
        mut settled: impl FnMut(
            &VmRecord,
            JobKind,
            Result<Settled, ControlPlaneError>,
        ) -> Result<(), ControlPlaneError>,
    ) -> Result<(), ControlPlaneError> {
        let mut in_order = BTreeSet::new();
        for job in self.read("list jobs of virtual machines", vm_job::list)? {
            let vm = self.vm(&job.vm)?;
            let _claim = self.vm_claims.take(&vm.id)?;
            let outcome = self
                .bring_order(call, &vm, &mut in_order)
                .and_then(|()| self.settle_vm(call, &vm, &job));
            if let Err(error) = &outcome
                && call.check().is_ok()
            {
                self.note_vm_failure(&job, error)?;
            }
            settled(&vm, job.work.kind(), outcome)?;
        }
        Ok(())
    }

    fn bring_order(
        &self,
        call: &Call,
        vm: &VmRecord,
        in_order: &mut BTreeSet<HostId>,
    ) -> Result<(), ControlPlaneError> {
        let Some(host) = &vm.host else { return Ok(()) };
        if in_order.contains(host) {
            return Ok(());
        }
        let action = "bring order into its virtual machines";
        let endpoint = self.vm_endpoint(host, action)?;
        match run(endpoint.as_ref(), call, action, &ReconcileVms::new(&[]).into())? {
            HostAnswer::Vms(_) => {
                in_order.insert(host.clone());
                Ok(())
            }
            _ => Err(crate::host_work::odd_answer(endpoint.as_ref(), action)),
        }
    }

    fn settle_vm(&self, call: &Call, vm: &VmRecord, job: &VmJob) -> Result<Settled, ControlPlaneError> {
        let Some(host) = &vm.host else {
            // Only a machine that has a host gets a job, and one transaction ends both.
            self.end_vm(job, |_| Ok(()))?;
            return Ok(Settled::Undone);
        };
        match &job.work {
            VmWork::Start => self.settle_start(call, vm, host, job),
            VmWork::Stop { power_off: true, .. } => {
                self.finish_stop(call, vm, job, StopVmHow::PowerOff)?;
                Ok(Settled::Finished)
            }
            VmWork::Stop { without, .. } => {
                let runs = self.vm_on(call, host, &vm.id)?.is_some();
                if runs && without.is_none() {
                    self.end_vm(job, |_| Ok(()))?;
                    return Ok(Settled::Undone);
                }
                self.finish_stop(call, vm, job, StopVmHow::Shutdown)?;
                Ok(Settled::Finished)
            }
            VmWork::Attach { target } => {
                let volume = self.volume_at(vm, target)?;
                let facts = self.vm_on(call, host, &vm.id)?;
                let there = facts.as_ref().and_then(|facts| facts.disk(target));
                if there.is_some_and(|there| there.encryption == volume.encryption) {
                    self.end_vm(job, |_| Ok(()))?;
                    return Ok(Settled::Finished);
                }
                self.take_disk(call, host, job, target, &volume)?;
                Ok(Settled::Undone)
            }
            VmWork::Detach { target } => {
                let volume = self.volume_at(vm, target)?;
                if self.take_disk(call, host, job, target, &volume).is_ok()
                    || self.settle_detach(call, host, job, target, &volume)?
                {
                    return Ok(Settled::Finished);
                }
                Ok(Settled::Undone)
            }
        }
    }

    /// A guest that runs on its disks goes on; what is there of another machine is taken away.
    fn settle_start(
        &self,
        call: &Call,
        vm: &VmRecord,
        host: &HostId,
        job: &VmJob,
    ) -> Result<Settled, ControlPlaneError> {
        let volumes: Vec<VolumeRecord> = self.vm_volumes(vm)?;
        let facts = self.vm_on(call, host, &vm.id)?;
        let runs = facts
            .is_some_and(|facts| facts.state == VmState::Running && has_disks(vm, &volumes, &facts).is_ok());
        if runs {
            self.end_vm(job, |_| Ok(()))?;
            return Ok(Settled::Finished);
        }
        self.end_on_host(call, host, &vm.id, StopVmHow::PowerOff)?;
        self.release_vm(call, host, job, &volumes)?;
        Ok(Settled::Undone)
    }
}
