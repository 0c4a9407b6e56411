use std::sync::Arc;

use strongroom_endpoint_selector::{Disk, Endpoint, HostCommand, VerifyDisk};
use strongroom_storage_pool::{DiskLocation, OpContext, PoolError, VolumeKey};
use strongroom_types::DiskFormat;

use crate::side::protection;

/// A host at which a volume is.
pub(crate) struct Site<'a> {
    pub(crate) cx: &'a OpContext<'a>,
    pub(crate) operation: &'static str,
    pub(crate) endpoint: Arc<dyn Endpoint>,
    pub(crate) location: DiskLocation,
}

impl Site<'_> {
    pub(crate) fn run<'c>(&self, command: impl Into<HostCommand<'c>>) -> Result<(), PoolError> {
        let ran = self.endpoint.run(self.cx.call, &command.into());
        ran.map(drop).map_err(|e| {
            let message = format!("host {}, {}", self.endpoint.host().id, self.location);
            PoolError::endpoint(self.operation, message, e)
        })
    }

    pub(crate) fn disk<'d>(&'d self, key: VolumeKey<'d>) -> Disk<'d> {
        Disk::new(&self.location, DiskFormat::Raw, protection(key))
    }

    pub(crate) fn verify(&self, key: VolumeKey<'_>) -> Result<(), PoolError> {
        self.run(VerifyDisk::new(self.disk(key)))
    }
}
