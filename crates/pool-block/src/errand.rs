use std::sync::Arc;
use std::time::Duration;

use strongroom_endpoint_selector::{
    BaseImage, DeviceFacts, Disk, DiskFacts, Endpoint, EndpointError, HostAnswer, HostCommand,
    IdentifyDevice, Need, RescanDevice,
};
use strongroom_storage_pool::{ErrorKind, OpContext, PoolError, Volume};
use strongroom_types::{Call, DeviceSize, HostId, PoolId, TemplateId, VolumeId};

use crate::kind::Kind;
use crate::{BlockStorage, HandedOver, Provided};

/// How long a device is given back for when the call itself is over.
const GIVING_BACK: Duration = Duration::from_secs(30);

/// A host that was chosen to do the work of one operation, and the device that it works on.
#[derive(Debug)]
pub(crate) struct Errand<'a> {
    pool: &'a PoolId,
    operation: &'static str,
    call: &'a Call,
    endpoint: Arc<dyn Endpoint>,
    pub(crate) host: HostId,
    pub(crate) device: HandedOver,
    /// What else uses the device on this host.
    pub(crate) used_by: Option<String>,
    /// The template that the disk on the device lies on.
    pub(crate) base: Option<Base>,
}

/// A template, and where the host of an errand has it.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) template: TemplateId,
    pub(crate) image: BaseImage,
}

/// What an errand is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purpose<'a> {
    pub(crate) operation: &'static str,
    pub(crate) volume: &'a VolumeId,
    pub(crate) provided: &'a Provided,
    pub(crate) access: Access,
}

/// Whether an errand changes something on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

impl<'a> Purpose<'a> {
    pub(crate) fn reading(operation: &'static str, volume: &'a VolumeId, provided: &'a Provided) -> Self {
        let access = Access::Read;
        Self {
            operation,
            volume,
            provided,
            access,
        }
    }

    pub(crate) fn writing(self) -> Self {
        let access = Access::Write;
        Self { access, ..self }
    }
}

/// Has a host that meets the need do some work on the device of a volume, and gives the device back if the host did not have it
/// before. A host that has it is preferred, and the only one that may change something there.
pub(crate) fn on_host<T>(
    storage: &dyn BlockStorage,
    cx: &OpContext<'_>,
    purpose: Purpose<'_>,
    need: Need,
    work: impl FnOnce(&mut Errand<'_>) -> Result<T, PoolError>,
) -> Result<T, PoolError> {
    let Purpose {
        operation,
        volume,
        provided,
        access,
    } = purpose;
    let need = need.reaching(storage.pool().clone());
    let having = provided.hosts.iter().cloned();
    let endpoint = having
        .filter_map(|host| cx.endpoints.select(&need.clone().on(host)).ok())
        .next();
    let endpoint = match (endpoint, provided.hosts.first()) {
        (Some(endpoint), _) => endpoint,
        (None, Some(host)) if access == Access::Write => {
            let pool = storage.pool();
            let message =
                format!("pool {pool}: host {host} has volume {volume} and cannot be asked; detach it first");
            return Err(PoolError::new(ErrorKind::Busy, operation, message));
        }
        (None, _) => cx
            .endpoints
            .select(&need)
            .map_err(|e| PoolError::no_host(operation, e))?,
    };
    let host = endpoint.host().id;
    let failed = |e| storage_failed(storage, operation, e);
    let device = storage.hand_over(cx.call, volume, &host).map_err(failed)?;
    let mut errand = Errand {
        pool: storage.pool(),
        operation,
        call: cx.call,
        endpoint,
        host: host.clone(),
        device,
        used_by: None,
        base: None,
    };
    // The storage may not know yet that its operator made the device larger.
    let larger = |size| {
        storage.found_larger(cx.call, volume, size).ok()?;
        storage.hand_over(cx.call, volume, &host).ok()
    };
    let done = errand.identify(larger).and_then(|()| work(&mut errand));
    if provided.hosts.contains(&errand.host) {
        return done;
    }
    let late = Call::new().with_timeout(GIVING_BACK);
    let call = if cx.call.check().is_ok() { cx.call } else { &late };
    let given_back = storage.take_back(call, volume, &errand.host).map_err(failed);
    done.and_then(|answer| given_back.map(|()| answer))
}

/// A storage that failed, as an error of this operation.
pub(crate) fn storage_failed(
    storage: &dyn BlockStorage,
    operation: &'static str,
    error: PoolError,
) -> PoolError {
    let message = format!("pool {}: the storage did not do its part", storage.pool());
    PoolError::new(error.kind(), operation, message).with_source(error)
}

impl Errand<'_> {
    /// An errand of the same host with another device, which is the right one.
    pub(crate) fn with_device(&self, device: HandedOver) -> Result<Self, PoolError> {
        let mut other = Self {
            endpoint: Arc::clone(&self.endpoint),
            host: self.host.clone(),
            device,
            used_by: None,
            base: None,
            ..*self
        };
        other.identify(|_| None)?;
        Ok(other)
    }

    /// The disk, on the template that it lies on.
    pub(crate) fn on_base<'d>(&'d self, disk: Disk<'d>) -> Disk<'d> {
        disk.on(self.base.as_ref().map(|base| base.image.source()))
    }

    /// Finds the right device at the path, or fails before anything on it is touched. One that the storage made larger without
    /// the host's noticing is looked at again. Of one that its serial number shows to be the right one and that is larger than the storage
    /// says, the storage is told.
    fn identify(&mut self, larger: impl FnOnce(DeviceSize) -> Option<HandedOver>) -> Result<(), PoolError> {
        let path = self.device.path.clone();
        let mut wanted = self.device.identity.clone();
        let mut found = self.device_facts(IdentifyDevice::new(&path))?;
        if found.size < wanted.size {
            found = self.device_facts(RescanDevice::new(&path))?;
        }
        if found.size > wanted.size
            && wanted.serial.is_some()
            && wanted.serial == found.serial
            && let Some(device) = larger(found.size).filter(|device| device.path == path)
        {
            wanted = device.identity.clone();
            self.device = device;
        }
        let serial_differs = wanted.serial.is_some() && wanted.serial != found.serial;
        if found.size != wanted.size || serial_differs {
            let name = |serial: &Option<String>| serial.clone().unwrap_or_else(|| "none".to_owned());
            let message = format!(
                "{} has {} bytes and serial number {}, the storage says {} and {}; nothing on it was read or written",
                path.display(),
                found.size.get(),
                name(&found.serial),
                wanted.size.get(),
                name(&wanted.serial),
            );
            return Err(self.error(ErrorKind::WrongDisk, &message));
        }
        self.used_by = found.used_by;
        Ok(())
    }

    pub(crate) fn device_facts<'c>(
        &self,
        command: impl Into<HostCommand<'c>>,
    ) -> Result<DeviceFacts, PoolError> {
        match self.endpoint.run(self.call, &command.into()) {
            Ok(HostAnswer::Device(facts)) => Ok(facts),
            Ok(other) => Err(self.strange(&other)),
            // A device that is gone says nothing about whether a volume is.
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let message = format!("there is no device at {}", self.device.path.display());
                Err(self.error(ErrorKind::Io, &message).with_source(e))
            }
            Err(e) => Err(self.failed(e)),
        }
    }

    /// An error that says where.
    pub(crate) fn error(&self, kind: ErrorKind, message: &str) -> PoolError {
        let (pool, host) = (self.pool, &self.host);
        let message = format!("pool {pool} on host {host}: {message}");
        PoolError::new(kind, self.operation, message)
    }

    fn failed(&self, error: EndpointError) -> PoolError {
        let (pool, host) = (self.pool, &self.host);
        PoolError::endpoint(self.operation, format!("pool {pool} on host {host}"), error)
    }

    pub(crate) fn strange(&self, answer: &HostAnswer) -> PoolError {
        let message = format!("the host gave an answer to another question: {answer:?}");
        self.error(ErrorKind::Tool, &message)
    }

    /// Runs a command.
    pub(crate) fn run<'c>(&self, command: impl Into<HostCommand<'c>>) -> Result<HostAnswer, PoolError> {
        self.endpoint
            .run(self.call, &command.into())
            .map_err(|e| self.failed(e))
    }

    /// Runs a command whose answer says nothing.
    pub(crate) fn done<'c>(&self, command: impl Into<HostCommand<'c>>) -> Result<(), PoolError> {
        match self.run(command)? {
            HostAnswer::Done => Ok(()),
            other => Err(self.strange(&other)),
        }
    }

    /// Runs a command on the disk and takes only an answer that says it is what it should be.
    pub(crate) fn disk<'c>(
        &self,
        kind: Kind,
        command: impl Into<HostCommand<'c>>,
    ) -> Result<DiskFacts, PoolError> {
        let facts = match self.run(command)? {
            HostAnswer::Disk(facts) => facts,
            HostAnswer::Verified(verified) => verified.facts,
            other => return Err(self.strange(&other)),
        };
        if (facts.format, facts.encryption) == (kind.format, kind.encryption) {
            return Ok(facts);
        }
        let message = format!("the host answers that {} is not {kind}", facts.location);
        Err(self.error(ErrorKind::WrongDisk, &message))
    }

    /// The disk if a guest sees exactly this much of it.
    pub(crate) fn exactly(
        &self,
        facts: DiskFacts,
        guest: strongroom_types::GuestSize,
    ) -> Result<DiskFacts, PoolError> {
        if facts.guest == guest {
            return Ok(facts);
        }
        let (location, has, wanted) = (&facts.location, facts.guest.get(), guest.get());
        let message = format!("{location} came out with {has} bytes, not {wanted}");
        Err(self.error(ErrorKind::Tool, &message))
    }

    /// What a host says of a disk and the storage of its device as what a pool says of a volume.
    pub(crate) fn volume(&self, id: &VolumeId, provided: &Provided, facts: DiskFacts) -> Volume {
        let mut volume = Volume::new(
            id.clone(),
            facts.format,
            facts.encryption,
            facts.guest,
            provided.size,
        );
        volume.allocated = provided.size.bytes();
        volume.snapshots = facts.snapshots;
        volume.snapshots.extend(provided.snapshots.keys().cloned());
        volume.overlay_of = match (facts.base, &self.base) {
            (Some(_), Some(base)) => Some(base.template.clone()),
            _ => None,
        };
        volume
    }
}
