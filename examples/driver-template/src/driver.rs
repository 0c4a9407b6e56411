use std::sync::Arc;

use strongroom_endpoint_selector::{Endpoint, FormatDevice, Need, ReplaceContent};
use strongroom_storage_pool::{
    Attachment, Capabilities, CreateVolume, DiskLocation, Encryption, ErrorKind, OpContext, PoolDriver,
    PoolError, PoolUsage, ResizeVolume, Volume, VolumeContent, VolumeKey,
};
use strongroom_types::{ByteSize, DeviceSize, DiskFormat, Geometry, GuestSize, HostId, PoolId, VolumeId};

use crate::array::{Array, ArrayError, Lun};
use crate::side::{LUKS, Side};
use crate::site::Site;

/// A pool of raw volumes on a storage that hands disks to hosts, which encrypt them.
#[derive(Debug)]
pub struct TemplatePool {
    pool: PoolId,
    // FILL IN 3: what your driver has to be told, such as an address and credentials.
    array: Array,
}

impl TemplatePool {
    /// The pool of this name on this storage.
    #[must_use]
    pub fn new(pool: PoolId, array: Array) -> Self {
        Self { pool, array }
    }

    fn error(&self, operation: &'static str, kind: ErrorKind, message: &str) -> PoolError {
        PoolError::new(kind, operation, format!("pool {}: {message}", self.pool))
    }

    /// FILL IN 4: a failure of your storage, in the kinds by which callers decide. Say what and where; never a key.
    fn failed(&self, operation: &'static str, error: ArrayError) -> PoolError {
        let kind = match error {
            ArrayError::Exists { .. } | ArrayError::Taken(_) => ErrorKind::AlreadyExists,
            ArrayError::Foreign(_) => ErrorKind::WrongDisk,
            ArrayError::NotFound(_) => ErrorKind::NotFound,
            ArrayError::Full(_) => ErrorKind::NoSpace,
            ArrayError::Smaller(_) => ErrorKind::InvalidRequest,
            ArrayError::Io { .. } => ErrorKind::Io,
        };
        self.error(operation, kind, "the storage refused")
            .with_source(error)
    }

    /// A volume that is finished, and which side of the cipher it is on.
    fn find(&self, operation: &'static str, volume: &VolumeId) -> Result<Option<(Side, Lun)>, PoolError> {
        let found = self
            .array
            .find(volume.as_str())
            .map_err(|e| self.failed(operation, e))?;
        let Some(lun) = found else { return Ok(None) };
        match Side::read(&lun.note) {
            Some((side, true)) => Ok(Some((side, lun))),
            Some((_, false)) => Ok(None),
            None => {
                let message = format!("disk {volume} was not made by this driver");
                Err(self.error(operation, ErrorKind::WrongDisk, &message))
            }
        }
    }

    /// The same, and it must be there, and the key is of the side that it is on.
    fn existing(
        &self,
        operation: &'static str,
        volume: &VolumeId,
        key: Option<VolumeKey<'_>>,
    ) -> Result<Side, PoolError> {
        let Some((side, _)) = self.find(operation, volume)? else {
            return Err(self.error(
                operation,
                ErrorKind::NotFound,
                &format!("there is no volume {volume}"),
            ));
        };
        if key.is_some_and(|key| Side::of(key) != side) {
            let message = format!("volume {volume} is on the other side of the cipher than the request says");
            return Err(self.error(operation, ErrorKind::InvalidRequest, &message));
        }
        Ok(side)
    }

    /// What the storage has to provide so that the guest sees exactly this much.
    fn bytes(&self, operation: &'static str, side: Side, guest: GuestSize) -> Result<u64, PoolError> {
        Geometry::for_guest(guest, side.header())
            .map(|sizes| sizes.device().get())
            .map_err(|e| self.error(operation, ErrorKind::InvalidRequest, &e.to_string()))
    }

    fn seen(
        &self,
        operation: &'static str,
        id: &VolumeId,
        side: Side,
        lun: &Lun,
    ) -> Result<Volume, PoolError> {
        let strange = |e: &dyn std::error::Error| {
            self.error(operation, ErrorKind::WrongDisk, &format!("volume {id}: {e}"))
        };
        let device = DeviceSize::new(lun.bytes).map_err(|e| strange(&e))?;
        let sizes = Geometry::of_device(device, side.header()).map_err(|e| strange(&e))?;
        let mut volume = Volume::new(
            id.clone(),
            DiskFormat::Raw,
            side.encryption(),
            sizes.guest(),
            device,
        );
        volume.allocated = ByteSize::bytes(lun.allocated);
        Ok(volume)
    }

    fn host(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        need: Need,
    ) -> Result<Arc<dyn Endpoint>, PoolError> {
        let found = cx.endpoints.select(&need.reaching(self.pool.clone()));
        found.map_err(|e| PoolError::no_host(operation, e))
    }

    /// Has a host do this work on the volume, and takes the volume away from it afterwards unless it was there before.
    fn on_host(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        volume: &VolumeId,
        endpoint: Arc<dyn Endpoint>,
        work: impl FnOnce(&Site<'_>) -> Result<(), PoolError>,
    ) -> Result<(), PoolError> {
        let (name, host) = (volume.as_str(), endpoint.host().id);
        let attached = self.array.is_mapped(name, host.as_str());
        let path = self
            .array
            .map(name, host.as_str())
            .map_err(|e| self.failed(operation, e))?;
        let location = DiskLocation::file(path);
        let done = work(&Site {
            cx,
            operation,
            endpoint,
            location,
        });
        if !attached {
            self.array
                .unmap(name, host.as_str())
                .map_err(|e| self.failed(operation, e))?;
        }
        done
    }

    /// Has a host open an encrypted volume with its key. There is nothing to prove of a plain one.
    fn prove(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        volume: &VolumeId,
        key: VolumeKey<'_>,
    ) -> Result<(), PoolError> {
        match Side::of(key) {
            Side::Plain => Ok(()),
            side => {
                let endpoint = self.host(cx, operation, Need::any().able_to(side.capability()))?;
                self.on_host(cx, operation, volume, endpoint, |site| site.verify(key))
            }
        }
    }
}

impl PoolDriver for TemplatePool {
    fn pool(&self) -> &PoolId {
        &self.pool
    }

    /// FILL IN 5: what your pool can do, and nothing more. The suite tests what is said here and reports the rest as not tested.
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        capabilities.encryption = Encryption::OnHost(LUKS);
        capabilities.templates = true;
        capabilities.grow = true;
        capabilities
    }

    /// So that no two pools use one storage.
    fn prepare(&self, _: &OpContext<'_>) -> Result<(), PoolError> {
        let claimed = self.array.claim(self.pool.as_str());
        claimed.map_err(|e| self.failed("prepare", e))
    }

    fn usage(&self, _: &OpContext<'_>) -> Result<PoolUsage, PoolError> {
        let free = self.array.free().map_err(|e| self.failed("usage", e))?;
        Ok(PoolUsage::new(
            ByteSize::bytes(self.array.capacity()),
            ByteSize::bytes(free),
        ))
    }

    fn create(&self, cx: &OpContext<'_>, r: &CreateVolume<'_>) -> Result<Volume, PoolError> {
        const CREATE: &str = "create";
        cx.call.check().map_err(|e| self.interrupted(CREATE, e))?;
        let (name, side) = (r.volume.as_str(), Side::of(r.key));
        // What is not offered is refused before anything is made.
        let template = match (r.format, &r.content) {
            (DiskFormat::Raw, VolumeContent::Blank) => None,
            (DiskFormat::Raw, VolumeContent::Template(template)) => Some(template),
            _ => {
                return Err(self.error(
                    CREATE,
                    ErrorKind::Unsupported,
                    "volumes are raw, and blank or from a template",
                ));
            }
        };
        let bytes = self.bytes(CREATE, side, r.guest)?;
        let failed = |e| self.failed(CREATE, e);
        if let Some((there, lun)) = self.find(CREATE, r.volume)? {
            if (there, lun.bytes) != (side, bytes) {
                let message = format!("there is another volume {} already", r.volume);
                return Err(self.error(CREATE, ErrorKind::AlreadyExists, &message));
            }
            self.prove(cx, CREATE, r.volume, r.key)?;
            return self.seen(CREATE, r.volume, side, &lun);
        }
        // A blank plain disk is what the storage made. For all else a host is needed, and is there before anything is made.
        let endpoint = match (side, template) {
            (Side::Plain, None) => None,
            _ => Some(self.host(cx, CREATE, Need::any().able_to(side.capability()))?),
        };
        // What was begun and never finished is begun anew: nobody has used it.
        self.array.remove(name).map_err(failed)?;
        let begun = side.note(false);
        let lun = self.array.allocate(name, bytes, &begun).map_err(failed)?;
        if lun.note != begun {
            let message = format!("somebody else makes volume {} at this moment", r.volume);
            return Err(self.error(CREATE, ErrorKind::Busy, &message));
        }
        if let Some(endpoint) = endpoint {
            self.on_host(cx, CREATE, r.volume, endpoint, |site| {
                if let VolumeKey::Encrypted(key) = r.key {
                    site.run(FormatDevice::new(r.volume, &site.location, LUKS, key))?;
                }
                if let Some(template) = template {
                    site.run(ReplaceContent::new(site.disk(r.key), template.image.into()))?;
                }
                site.verify(r.key)
            })?;
        }
        // From here on the volume is there.
        let lun = self.array.write_note(name, &side.note(true)).map_err(failed)?;
        self.seen(CREATE, r.volume, side, &lun)
    }

    fn delete(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<(), PoolError> {
        cx.call.check().map_err(|e| self.interrupted("delete", e))?;
        // Fails for what somebody else made.
        self.find("delete", volume)?;
        self.array
            .remove(volume.as_str())
            .map_err(|e| self.failed("delete", e))
    }

    fn get(&self, _: &OpContext<'_>, volume: &VolumeId) -> Result<Option<Volume>, PoolError> {
        let found = self.find("get", volume)?;
        found
            .map(|(side, lun)| self.seen("get", volume, side, &lun))
            .transpose()
    }

    fn attach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<Attachment, PoolError> {
        let side = self.existing("attach", volume, None)?;
        self.host(cx, "attach", Need::any().on(host.clone()))?;
        let mapped = self.array.map(volume.as_str(), host.as_str());
        let path = mapped.map_err(|e| self.failed("attach", e))?;
        Ok(Attachment::new(
            DiskLocation::file(path),
            DiskFormat::Raw,
            side.encryption(),
        ))
    }

    fn detach(&self, _: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<(), PoolError> {
        let unmapped = self.array.unmap(volume.as_str(), host.as_str());
        unmapped.map_err(|e| self.failed("detach", e))
    }

    // FILL IN 6: each further method that `capabilities` promises. Those that are left out answer `Unsupported`.
    fn grow(&self, cx: &OpContext<'_>, r: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        const GROW: &str = "grow";
        cx.call.check().map_err(|e| self.interrupted(GROW, e))?;
        let side = self.existing(GROW, r.volume, Some(r.key))?;
        let bytes = self.bytes(GROW, side, r.to)?;
        // Nothing is changed for a caller without the key, and nothing is called done that the key does not open.
        self.prove(cx, GROW, r.volume, r.key)?;
        let lun = self
            .array
            .grow(r.volume.as_str(), bytes)
            .map_err(|e| self.failed(GROW, e))?;
        self.prove(cx, GROW, r.volume, r.key)?;
        self.seen(GROW, r.volume, side, &lun)
    }
}

impl TemplatePool {
    fn interrupted(&self, operation: &'static str, why: strongroom_types::Interrupted) -> PoolError {
        let kind = match why {
            strongroom_types::Interrupted::Cancelled => ErrorKind::Cancelled,
            strongroom_types::Interrupted::Deadline => ErrorKind::Deadline,
        };
        self.error(operation, kind, "the call ended before the work began")
    }
}
