//! The disks of a virtual machine on its host: attached by their pools, and what opens them.

use strongroom_endpoint_selector::{BaseImage, Disk, VmDisk};
use strongroom_storage_pool::Attachment;
use strongroom_types::{Call, HostId};

use crate::host_work::same_kind;
use crate::key::Key;
use crate::{ControlPlane, ControlPlaneError, VmDiskRecord, VmRecord, VolumeRecord, pool};

/// A volume on the host of a machine. Its key is wiped with it.
pub(crate) struct HostedDisk<'a> {
    disk: &'a VmDiskRecord,
    volume: &'a VolumeRecord,
    key: &'a Key,
    attachment: Attachment,
}

impl HostedDisk<'_> {
    /// The disk with what opens it.
    pub(crate) fn for_host(&self) -> VmDisk<'_> {
        let base = self.attachment.base.as_ref().map(BaseImage::source);
        let disk = Disk::new(&self.attachment.location, self.volume.format, self.key.for_host()).on(base);
        let disk = VmDisk::new(&self.disk.target, &self.volume.id, disk)
            .opened_by(self.volume.passphrase.as_ref())
            .with_discard(self.attachment.discard);
        if self.disk.read_only {
            disk.read_only()
        } else {
            disk
        }
    }
}

impl ControlPlane {
    /// The volumes of a machine, in the order of its disks.
    pub(crate) fn vm_volumes(&self, vm: &VmRecord) -> Result<Vec<VolumeRecord>, ControlPlaneError> {
        vm.disks.iter().map(|disk| self.volume(&disk.volume)).collect()
    }

    /// Has its pool attach a volume to the host of a machine that has it, or is to have it.
    pub(crate) fn host_disk<'a>(
        &self,
        call: &Call,
        host: &HostId,
        disk: &'a VmDiskRecord,
        volume: &'a VolumeRecord,
        key: &'a Key,
    ) -> Result<HostedDisk<'a>, ControlPlaneError> {
        let attachment = self
            .driver(&volume.pool)?
            .attach(&self.context(call), &volume.disk, host)
            .map_err(pool::failed(
                &volume.pool,
                format!("attach volume {} to host {host}", volume.id),
            ))?;
        same_kind(volume, &attachment)?;
        Ok(HostedDisk {
            disk,
            volume,
            key,
            attachment,
        })
    }

    /// Has its pool take a volume from the host of a machine that has let go of it. One that is not there is fine.
    pub(crate) fn release_disk(
        &self,
        call: &Call,
        host: &HostId,
        volume: &VolumeRecord,
    ) -> Result<(), ControlPlaneError> {
        self.driver(&volume.pool)?
            .detach(&self.context(call), &volume.disk, host)
            .map_err(pool::failed(
                &volume.pool,
                format!("detach volume {} from host {host}", volume.id),
            ))
    }
}
