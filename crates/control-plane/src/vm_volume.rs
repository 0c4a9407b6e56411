//! Volumes that belong to virtual machines: what a guest has open nobody else touches.

use strongroom_types::{DiskTarget, HostId, VmId, VolumeId};

use crate::claim::Claim;
use crate::{ControlPlane, ControlPlaneError, VmError, vm_table};

/// Where a guest has a volume open.
#[derive(Debug, Clone)]
pub(crate) struct InGuest {
    pub(crate) vm: VmId,
    pub(crate) target: DiskTarget,
    pub(crate) host: HostId,
}

impl ControlPlane {
    /// The volume is the caller's until the claim is dropped, and no guest has it open.
    pub(crate) fn claim(&self, volume: &VolumeId) -> Result<Claim<'_, VolumeId>, ControlPlaneError> {
        let claim = self.claims.take(volume)?;
        match self.in_guest(volume)? {
            None => Ok(claim),
            Some(InGuest { vm, target, host }) => {
                let volume = volume.clone();
                Err(VmError::InUse {
                    volume,
                    target,
                    vm,
                    host,
                }
                .into())
            }
        }
    }

    /// Where a guest has the volume open, or may have.
    pub(crate) fn in_guest(&self, volume: &VolumeId) -> Result<Option<InGuest>, ControlPlaneError> {
        let found = self.read("look for a virtual machine", |connection| {
            vm_table::with_volume(connection, volume)
        })?;
        Ok(found.and_then(|(vm, target, host)| {
            Some(InGuest {
                vm,
                target,
                host: host?,
            })
        }))
    }

    /// Refuses a volume that is a disk of a virtual machine, running or not.
    pub(crate) fn refuse_vm_disk(&self, volume: &VolumeId) -> Result<(), ControlPlaneError> {
        let found = self.read("look for a virtual machine", |connection| {
            vm_table::with_volume(connection, volume)
        })?;
        match found {
            None => Ok(()),
            Some((vm, target, _)) => {
                let volume = volume.clone();
                Err(VmError::HasVolume { volume, target, vm }.into())
            }
        }
    }
}
