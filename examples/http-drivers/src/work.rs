use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use strongroom_endpoint_selector::{
    Disk, Endpoint, HostAnswer, HostCommand, Need, Protection, ReplaceContent, VerifyDisk,
};
use strongroom_storage_pool::{
    Attachment, DiskLocation, ErrorKind, LimitVolume, OpContext, PoolError, PoolUsage, SnapshotAction,
    SnapshotGroup, SnapshotVolume, Template, Volume, VolumeKey,
};
use strongroom_types::{
    ByteSize, Call, Capability, DeviceSize, DiskFormat, EncryptionFormat, Geometry, HostId, PayloadOffset,
    PoolId, VolumeId,
};
use ureq::http::Method;

use crate::body::{
    self, Export, FINISHED, Group, Key, Labels, Limits, MEANS, NewVolume, Owner, Remote, Size, Usage,
};
use crate::client::{Body, Client, Question};

/// For whom a volume is exported while a driver has a host work on it. Hosts that run guests have a name of another form.
const WORK: &str = "work";
/// How long a call that is over may still take to put things in order.
const CLEANING_UP: Duration = Duration::from_secs(10);

/// One operation on a pool: what is asked of the storage service, and of a host where one is needed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work<'a> {
    pub(crate) client: &'a Client,
    pub(crate) pool: &'a PoolId,
    pub(crate) cx: &'a OpContext<'a>,
    pub(crate) operation: &'static str,
}

impl Work<'_> {
    fn ask<T: DeserializeOwned>(&self, method: &Method, path: &str, body: &[u8]) -> Result<T, PoolError> {
        self.ask_until(self.cx.call, method, path, body)
    }

    fn ask_until<T: DeserializeOwned>(
        &self,
        call: &Call,
        method: &Method,
        path: &str,
        body: &[u8],
    ) -> Result<T, PoolError> {
        let question = Question {
            operation: self.operation,
            method,
            path,
            body: Body(body),
        };
        self.client.ask(call, &question)
    }

    fn send<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, PoolError> {
        let bytes = body::written(body)
            .ok_or_else(|| self.error(ErrorKind::InvalidRequest, "the request cannot be written as JSON"))?;
        self.ask(method, path, &bytes)
    }

    pub(crate) fn error(&self, kind: ErrorKind, message: &str) -> PoolError {
        PoolError::new(kind, self.operation, format!("pool {}: {message}", self.pool))
    }

    pub(crate) fn usage(&self) -> Result<PoolUsage, PoolError> {
        let usage: Usage = self.ask(&Method::GET, "usage", &[])?;
        Ok(PoolUsage::new(
            ByteSize::bytes(usage.total),
            ByteSize::bytes(usage.free),
        ))
    }

    /// Makes the service that of this pool, for good.
    pub(crate) fn claim(&self) -> Result<(), PoolError> {
        let owner = self.pool.as_str();
        self.send(&Method::PUT, "owner", &Owner { owner })
    }

    /// What the service has under this name, finished or not.
    fn remote(&self, volume: &VolumeId) -> Result<Option<Remote>, PoolError> {
        match self.ask(&Method::GET, &format!("volumes/{volume}"), &[]) {
            Ok(remote) => Ok(Some(remote)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// A finished volume that was made by these means.
    pub(crate) fn find(&self, volume: &VolumeId, means: &[&str]) -> Result<Option<Remote>, PoolError> {
        let Some(remote) = self.remote(volume)?.filter(Remote::is_finished) else {
            return Ok(None);
        };
        if remote.means().is_some_and(|m| means.contains(&m)) {
            return Ok(Some(remote));
        }
        Err(self.error(
            ErrorKind::WrongDisk,
            &format!("volume {volume} was not made by this driver"),
        ))
    }

    /// The same, and it must be there.
    pub(crate) fn existing(&self, volume: &VolumeId, means: &[&str]) -> Result<Remote, PoolError> {
        self.find(volume, means)?
            .ok_or_else(|| self.error(ErrorKind::NotFound, &format!("there is no volume {volume}")))
    }

    /// Makes a volume, or finds it. One that was begun and never finished is begun anew, for nobody has used it.
    pub(crate) fn allocate(
        &self,
        volume: &VolumeId,
        bytes: u64,
        means: &str,
        finished_now: bool,
        key: Option<Key<'_>>,
    ) -> Result<Remote, PoolError> {
        if self.remote(volume)?.is_some_and(|there| !there.is_finished()) {
            self.delete(volume)?;
        }
        let labels = labels(means, finished_now);
        let new = NewVolume {
            bytes,
            labels: &labels,
            key,
        };
        let remote: Remote = self.send(&Method::PUT, &format!("volumes/{volume}"), &new)?;
        if remote.means() != Some(means) {
            let message = format!("volume {volume} is there already and not {means}");
            return Err(self.error(ErrorKind::AlreadyExists, &message));
        }
        Ok(remote)
    }

    /// Says that a volume holds what it shall hold.
    pub(crate) fn finish(&self, volume: &VolumeId, means: &str) -> Result<Remote, PoolError> {
        self.send(
            &Method::PUT,
            &format!("volumes/{volume}/labels"),
            &labels(means, true),
        )
    }

    pub(crate) fn delete(&self, volume: &VolumeId) -> Result<(), PoolError> {
        self.ask(&Method::DELETE, &format!("volumes/{volume}"), &[])
    }

    /// Shows the service the key of an encrypted volume.
    pub(crate) fn unlock(&self, volume: &VolumeId, key: &Key<'_>) -> Result<(), PoolError> {
        self.send::<Remote>(&Method::POST, &format!("volumes/{volume}/unlock"), key)
            .map(drop)
    }

    pub(crate) fn resize(&self, volume: &VolumeId, bytes: u64) -> Result<Remote, PoolError> {
        self.send(&Method::PUT, &format!("volumes/{volume}/bytes"), &Size { bytes })
    }

    pub(crate) fn snapshot(&self, r: &SnapshotVolume<'_>) -> Result<Remote, PoolError> {
        let at = format!("volumes/{}/snapshots/{}", r.volume, r.snapshot);
        match r.action {
            SnapshotAction::Create => self.ask(&Method::PUT, &at, &[]),
            SnapshotAction::Delete => self.ask(&Method::DELETE, &at, &[]),
            SnapshotAction::Restore => self.ask(&Method::POST, &format!("{at}/restore"), &[]),
        }
    }

    /// What the service says of each volume, in the order of the request.
    pub(crate) fn snapshot_group(&self, r: &SnapshotGroup<'_>) -> Result<Vec<Remote>, PoolError> {
        let volumes = r.volumes.iter().map(|(volume, _)| volume.as_str()).collect();
        self.send(
            &Method::PUT,
            &format!("groups/{}", r.snapshot),
            &Group { volumes },
        )
    }

    pub(crate) fn limit(&self, r: &LimitVolume<'_>) -> Result<(), PoolError> {
        let limits = Limits {
            bytes_per_second: r.limits.bytes_per_second,
            operations_per_second: r.limits.operations_per_second,
        };
        self.send::<Remote>(&Method::PUT, &format!("volumes/{}/limits", r.volume), &limits)
            .map(drop)
    }

    fn export(&self, volume: &VolumeId, whom: &str) -> Result<DiskLocation, PoolError> {
        let export: Export = self.ask(&Method::PUT, &format!("volumes/{volume}/exports/{whom}"), &[])?;
        Ok(DiskLocation::file(export.path))
    }

    fn end_export(&self, volume: &VolumeId, whom: &str) -> Result<(), PoolError> {
        self.ask(&Method::DELETE, &format!("volumes/{volume}/exports/{whom}"), &[])
    }

    pub(crate) fn attach(
        &self,
        volume: &VolumeId,
        host: &HostId,
        encryption: Option<EncryptionFormat>,
    ) -> Result<Attachment, PoolError> {
        self.host(Need::any().on(host.clone()))?;
        let location = self.export(volume, &format!("host-{host}"))?;
        Ok(Attachment::new(location, DiskFormat::Raw, encryption))
    }

    pub(crate) fn detach(&self, volume: &VolumeId, host: &HostId) -> Result<(), PoolError> {
        self.end_export(volume, &format!("host-{host}"))
    }

    /// Takes back every export for work that never ended.
    pub(crate) fn recover(&self) -> Result<(), PoolError> {
        let names: Vec<String> = self.ask(&Method::GET, "volumes", &[])?;
        // A name that is no id is somebody else's volume.
        let mut volumes = names.iter().filter_map(|name| name.parse().ok());
        volumes.try_for_each(|volume| self.end_export(&volume, WORK))
    }

    fn host(&self, need: Need) -> Result<Arc<dyn Endpoint>, PoolError> {
        let need = need.reaching(self.pool.clone());
        let found = self.cx.endpoints.select(&need);
        found.map_err(|e| PoolError::no_host(self.operation, e))
    }

    /// Has a host that can do this work on a volume, which it reaches for so long.
    pub(crate) fn on_host<T>(
        &self,
        volume: &VolumeId,
        able_to: Capability,
        work: impl FnOnce(&Site<'_>) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        let endpoint = self.host(Need::any().able_to(able_to))?;
        let location = self.export(volume, WORK)?;
        let site = Site {
            work: self,
            endpoint,
            location,
        };
        let done = work(&site);
        // The caller may have lost patience with the host; that does not leave the volume there.
        let call = Call::new().with_timeout(CLEANING_UP);
        let path = format!("volumes/{volume}/exports/{WORK}");
        let ended = self.ask_until(&call, &Method::DELETE, &path, &[]);
        done.and_then(|done| ended.map(|()| done))
    }
}

/// A host at which a volume is.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    work: &'a Work<'a>,
    endpoint: Arc<dyn Endpoint>,
    pub(crate) location: DiskLocation,
}

impl Site<'_> {
    pub(crate) fn run<'c>(&self, command: impl Into<HostCommand<'c>>) -> Result<HostAnswer, PoolError> {
        let (work, host) = (self.work, self.endpoint.host().id);
        self.endpoint.run(work.cx.call, &command.into()).map_err(|e| {
            let message = format!("pool {} on host {host}, {}", work.pool, self.location);
            PoolError::endpoint(work.operation, message, e)
        })
    }

    /// Proves that the volume is what it should be, and that its key opens it.
    pub(crate) fn verify(&self, protection: Protection<'_>) -> Result<(), PoolError> {
        let disk = Disk::new(&self.location, DiskFormat::Raw, protection);
        self.run(VerifyDisk::new(disk)).map(drop)
    }

    /// Writes the content of a template into the volume.
    pub(crate) fn fill(&self, template: &Template<'_>, protection: Protection<'_>) -> Result<(), PoolError> {
        let disk = Disk::new(&self.location, DiskFormat::Raw, protection);
        self.run(ReplaceContent::new(disk, template.image.into()))
            .map(drop)
    }
}

fn labels(means: &str, finished: bool) -> Labels {
    let finished = if finished { "yes" } else { "no" };
    Labels::from([
        (MEANS.to_owned(), means.to_owned()),
        (FINISHED.to_owned(), finished.to_owned()),
    ])
}

/// What the service says of a volume as what a pool says of it. The guest sees what is left behind a header of this size.
pub(crate) fn seen(
    work: &Work<'_>,
    id: &VolumeId,
    remote: &Remote,
    encryption: Option<EncryptionFormat>,
    header: PayloadOffset,
) -> Result<Volume, PoolError> {
    let strange = |e: &dyn std::error::Error| {
        let message = format!("the storage service tells what cannot be of volume {id}: {e}");
        work.error(ErrorKind::Tool, &message)
    };
    let device = DeviceSize::new(remote.bytes).map_err(|e| strange(&e))?;
    let sizes = Geometry::of_device(device, header).map_err(|e| strange(&e))?;
    let mut volume = Volume::new(id.clone(), DiskFormat::Raw, encryption, sizes.guest(), device);
    volume.allocated = ByteSize::bytes(remote.allocated);
    let snapshots = remote.snapshots.iter().map(|name| name.parse());
    volume.snapshots = snapshots.collect::<Result<_, _>>().map_err(|e| strange(&e))?;
    Ok(volume)
}

/// Whether the key that a caller shows is of the side of the cipher that the volume is on.
pub(crate) fn same_side(
    work: &Work<'_>,
    volume: &VolumeId,
    encrypted: bool,
    key: VolumeKey<'_>,
) -> Result<(), PoolError> {
    let message = match (encrypted, key) {
        (true, VolumeKey::Plain) => "is encrypted; show its key",
        (false, VolumeKey::Encrypted(_)) => "is plain, and a key was shown for it",
        _ => return Ok(()),
    };
    Err(work.error(ErrorKind::InvalidRequest, &format!("volume {volume} {message}")))
}
