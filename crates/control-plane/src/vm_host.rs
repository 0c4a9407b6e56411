//! The host of a virtual machine: which one it can be, and what goes on there.

use std::sync::Arc;

use strongroom_endpoint_selector::{
    Endpoint, ErrorKind, HostAnswer, InspectVm, Need, StopVm, StopVmHow, VmCommand, VmFacts,
};
use strongroom_types::{Call, Capability, HostId, VmId};

use crate::host_work::{capability, odd_answer, run};
use crate::{ControlPlane, ControlPlaneError, VmError, VmRecord, VolumeRecord};

/// What a host must have for this machine with these volumes. A single encrypted one takes a host that runs machines with encrypted
/// disks.
pub(crate) fn need(vm: &VmRecord, volumes: &[VolumeRecord], host: Option<&HostId>) -> Need {
    let need = Need::any().with_free(vm.memory, vm.cores);
    let mut need = match host {
        Some(host) => need.on(host.clone()),
        None => need,
    };
    for volume in volumes {
        need = need
            .reaching(volume.pool.clone())
            .able_to(capability(volume.format, volume.encryption));
        if volume.encryption.is_some() {
            need = need.able_to(Capability::EncryptedVms);
        }
    }
    need
}

impl ControlPlane {
    /// The host on which a machine is, whether or not it takes new work.
    pub(crate) fn vm_endpoint(
        &self,
        host: &HostId,
        action: &str,
    ) -> Result<Arc<dyn Endpoint>, ControlPlaneError> {
        self.endpoints
            .endpoint(host)
            .map_err(|source| ControlPlaneError::NoHost {
                action: action.to_owned(),
                source,
            })
    }

    /// Has the host of a machine carry out one command, and gives what the machine is afterwards, where the command says that.
    pub(crate) fn on_vm<'a>(
        &self,
        call: &Call,
        host: &HostId,
        action: &str,
        command: impl Into<VmCommand<'a>>,
    ) -> Result<Option<VmFacts>, ControlPlaneError> {
        let endpoint = self.vm_endpoint(host, action)?;
        let command: VmCommand<'_> = command.into();
        match run(endpoint.as_ref(), call, action, &command.into())? {
            HostAnswer::Vm(facts) => Ok(Some(facts)),
            HostAnswer::Done => Ok(None),
            _ => Err(odd_answer(endpoint.as_ref(), action)),
        }
    }

    /// What the host says of a machine; `None` when it does not run it.
    pub(crate) fn vm_on(
        &self,
        call: &Call,
        host: &HostId,
        vm: &VmId,
    ) -> Result<Option<VmFacts>, ControlPlaneError> {
        match self.on_vm(
            call,
            host,
            &format!("look at virtual machine {vm}"),
            InspectVm::new(vm),
        ) {
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => Ok(None),
            seen => seen,
        }
    }

    /// How a machine is and what its disks are, as its hypervisor tells it; `None` when it does not run: it was stopped, or its guest
    /// went down by itself.
    ///
    /// # Errors
    /// [`Unknown`](ControlPlaneError::Unknown), [`NoHost`](ControlPlaneError::NoHost), [`Host`](ControlPlaneError::Host).
    pub fn vm_facts(&self, call: &Call, id: &VmId) -> Result<Option<VmFacts>, ControlPlaneError> {
        match self.vm(id)?.host {
            Some(host) => self.vm_on(call, &host, id),
            None => Ok(None),
        }
    }

    /// Stops a machine on its host. One that does not run is fine.
    pub(crate) fn end_on_host(
        &self,
        call: &Call,
        host: &HostId,
        vm: &VmId,
        how: StopVmHow,
    ) -> Result<(), ControlPlaneError> {
        let action = format!("stop virtual machine {vm}");
        match self.on_vm(call, host, &action, StopVm::new(vm, how)) {
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => Ok(()),
            done => done.map(drop),
        }
    }
}

/// Whether the hypervisor has the disks of the record, each at its target and encrypted exactly when its volume is.
pub(crate) fn has_disks(
    vm: &VmRecord,
    volumes: &[VolumeRecord],
    facts: &VmFacts,
) -> Result<(), ControlPlaneError> {
    let problem = |problem: String| {
        let vm = vm.id.clone();
        Err(VmError::Mismatch { vm, problem }.into())
    };
    if facts.disks.len() != vm.disks.len() {
        return problem(format!(
            "it has {} disks, not {}",
            facts.disks.len(),
            vm.disks.len()
        ));
    }
    for (disk, volume) in vm.disks.iter().zip(volumes) {
        let target = &disk.target;
        let Some(there) = facts.disk(target) else {
            return problem(format!("it has no disk {target}"));
        };
        if there.encryption != volume.encryption {
            return problem(format!(
                "disk {target} is on the other side of the cipher than volume {}",
                volume.id
            ));
        }
    }
    Ok(())
}
