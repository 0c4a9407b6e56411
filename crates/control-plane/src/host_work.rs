//! Work that a host does on a volume, past the driver: the volume is attached, the work done, the volume detached.

use std::path::Path;
use std::sync::Arc;

use strongroom_endpoint_selector::{BaseImage, Disk, DiskLocation, Endpoint, HostAnswer, HostCommand, Need};
use strongroom_storage_pool::Attachment;
use strongroom_types::{Call, Capability, DiskFormat, EncryptionFormat, PoolId};

use crate::journal::closing_call;
use crate::key::Key;
use crate::{ControlPlane, ControlPlaneError, VolumeRecord, attachment, pool};

/// A volume attached to a host, for one piece of work.
pub(crate) struct OnHost<'a> {
    pub(crate) endpoint: &'a dyn Endpoint,
    pub(crate) location: &'a DiskLocation,
    pub(crate) record: &'a VolumeRecord,
    base: Option<&'a BaseImage>,
}

impl<'a> OnHost<'a> {
    /// The disk with what opens it.
    pub(crate) fn disk(&self, key: &'a Key) -> Disk<'a> {
        Disk::new(self.location, self.record.format, key.for_host()).on(self.base.map(BaseImage::source))
    }

    /// The directory of the image that the disk lies on.
    pub(crate) fn base_directory(&self) -> Option<&'a Path> {
        self.base.and_then(|base| base.path.parent())
    }
}

/// What a host must be able to do for work on such a disk.
pub(crate) fn capability(format: DiskFormat, encryption: Option<EncryptionFormat>) -> Capability {
    match (format, encryption) {
        (_, None) => Capability::PlainImages,
        (DiskFormat::Qcow2, Some(EncryptionFormat::Luks1)) => Capability::Qcow2Luks,
        (DiskFormat::Raw, Some(EncryptionFormat::Luks1)) => Capability::RawLuks1,
        (_, Some(EncryptionFormat::Luks2)) => Capability::Luks2,
    }
}

/// Has a host carry out one command.
pub(crate) fn run(
    endpoint: &dyn Endpoint,
    call: &Call,
    action: &str,
    command: &HostCommand<'_>,
) -> Result<HostAnswer, ControlPlaneError> {
    let host = endpoint.host().id;
    tracing::debug!(%host, command = command.name(), "ask a host to {action}");
    endpoint
        .run(call, command)
        .map_err(|source| ControlPlaneError::Host {
            host,
            action: action.to_owned(),
            source,
        })
}

/// Refuses what a pool attached when it is not of the kind that the record says.
pub(crate) fn same_kind(record: &VolumeRecord, attachment: &Attachment) -> Result<(), ControlPlaneError> {
    let kind = (
        attachment.format,
        attachment.encryption,
        attachment.base.is_some(),
    );
    if kind == (record.format, record.encryption, record.template.is_some()) {
        return Ok(());
    }
    Err(ControlPlaneError::Mismatch {
        volume: record.id.clone(),
        problem: format!("pool {} attaches a disk of another kind", record.pool),
    })
}

/// The error for an answer that does not belong to the command.
pub(crate) fn odd_answer(endpoint: &dyn Endpoint, action: &str) -> ControlPlaneError {
    ControlPlaneError::Answer {
        host: endpoint.host().id,
        action: action.to_owned(),
    }
}

impl ControlPlane {
    /// A host for work on a disk of this kind in a pool.
    pub(crate) fn host_for(
        &self,
        pool: &PoolId,
        format: DiskFormat,
        encryption: Option<EncryptionFormat>,
        action: &str,
    ) -> Result<Arc<dyn Endpoint>, ControlPlaneError> {
        let capability = capability(format, encryption);
        self.select(&Need::any().reaching(pool.clone()).able_to(capability), action)
    }

    /// A host by what is needed of it.
    pub(crate) fn select(&self, need: &Need, action: &str) -> Result<Arc<dyn Endpoint>, ControlPlaneError> {
        self.endpoints
            .select(need)
            .map_err(|source| ControlPlaneError::NoHost {
                action: action.to_owned(),
                source,
            })
    }

    /// Attaches the volume to a host, does the work there, and detaches it.
    pub(crate) fn on_host<T>(
        &self,
        call: &Call,
        record: &VolumeRecord,
        action: &str,
        work: impl FnOnce(&OnHost<'_>) -> Result<T, ControlPlaneError>,
    ) -> Result<T, ControlPlaneError> {
        let endpoint = self.host_for(&record.pool, record.format, record.encryption, action)?;
        self.attached(call, record, endpoint.as_ref(), work)
    }

    /// Attaches the volume to this host, does the work there, and detaches it, whether the work succeeded or not. The attachment is
    /// recorded before it is made, so that [`recover`](ControlPlane::recover) ends what a dead process began, and the next work
    /// on the volume ends what could not be ended now.
    pub(crate) fn attached<T>(
        &self,
        call: &Call,
        record: &VolumeRecord,
        endpoint: &dyn Endpoint,
        work: impl FnOnce(&OnHost<'_>) -> Result<T, ControlPlaneError>,
    ) -> Result<T, ControlPlaneError> {
        let host = endpoint.host().id;
        let driver = self.driver(&record.pool)?;
        self.transact("record an attachment", |transaction| {
            attachment::insert(transaction, &record.id, &host)
        })?;
        let done = driver
            .attach(&self.context(call), &record.disk, &host)
            .map_err(pool::failed(
                &record.pool,
                format!("attach volume {} to host {host}", record.id),
            ))
            .and_then(|attachment| {
                same_kind(record, &attachment)?;
                work(&OnHost {
                    endpoint,
                    location: &attachment.location,
                    base: attachment.base.as_ref(),
                    record,
                })
            });
        if let Err(error) = self.detach(&closing_call(), driver.as_ref(), record, &host) {
            tracing::warn!(volume = %record.id, %host, error = %error.chain(), "still attached; the next work on it tries again");
        }
        done
    }
}
