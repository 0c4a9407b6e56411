use std::collections::BTreeSet;
use std::net::SocketAddr;

use strongroom_endpoint_selector::Protection;
use strongroom_storage_pool::{
    Attachment, Capabilities, CreateVolume, Encryption, ErrorKind, LimitVolume, OpContext, PoolDriver,
    PoolError, PoolUsage, ResizeVolume, SnapshotGroup, SnapshotVolume, Volume, VolumeContent, VolumeKey,
};
use strongroom_types::{Capability, DiskFormat, HostId, PayloadOffset, PoolId, VolumeId};

use crate::body::Key;
use crate::client::Client;
use crate::work::{Work, same_side, seen};

const MEANS: &str = "in-storage";

/// Volumes that the storage service encrypts: it is given the key, and a host sees plain sectors.
///
/// A blank volume needs no host at all. A template is written by one, through the service's cipher.
#[derive(Debug)]
pub struct InStoragePool {
    pool: PoolId,
    client: Client,
}

impl InStoragePool {
    /// The pool of this name on the service at this address. Nothing is asked yet.
    #[must_use]
    pub fn new(pool: PoolId, service: SocketAddr) -> Self {
        let client = Client::new(service);
        Self { pool, client }
    }

    fn work<'a>(&'a self, cx: &'a OpContext<'a>, operation: &'static str) -> Work<'a> {
        Work {
            client: &self.client,
            pool: &self.pool,
            cx,
            operation,
        }
    }

    /// The volume that must be there, its key proved by the service.
    fn proved(&self, work: &Work<'_>, volume: &VolumeId, key: VolumeKey<'_>) -> Result<(), PoolError> {
        let remote = work.existing(volume, &[MEANS])?;
        same_side(work, volume, remote.encrypted, key)?;
        Key::of(key).map_or(Ok(()), |key| work.unlock(volume, &key))
    }
}

impl PoolDriver for InStoragePool {
    fn pool(&self) -> &PoolId {
        &self.pool
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        capabilities.encryption = Encryption::InStorage;
        capabilities.templates = true;
        capabilities.grow = true;
        capabilities.snapshot_offline = BTreeSet::from([DiskFormat::Raw]);
        capabilities.snapshot_group = true;
        capabilities.revert = true;
        capabilities.qos = true;
        capabilities
    }

    fn prepare(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        self.work(cx, "prepare").claim()
    }

    fn usage(&self, cx: &OpContext<'_>) -> Result<PoolUsage, PoolError> {
        self.work(cx, "usage").usage()
    }

    fn create(&self, cx: &OpContext<'_>, r: &CreateVolume<'_>) -> Result<Volume, PoolError> {
        let work = self.work(cx, "create");
        if r.format != DiskFormat::Raw {
            return Err(work.error(ErrorKind::Unsupported, "volumes are raw"));
        }
        let template = match &r.content {
            VolumeContent::Blank => None,
            VolumeContent::Template(template) => Some(template),
            _ => return Err(work.error(ErrorKind::Unsupported, "volumes are blank or hold a template")),
        };
        let blank = template.is_none();
        let mut remote = work.allocate(r.volume, r.guest.get(), MEANS, blank, Key::of(r.key))?;
        if let Some(template) = template.filter(|_| !remote.is_finished()) {
            // The host sees what a guest sees: the cipher is behind the location.
            work.on_host(r.volume, Capability::PlainImages, |site| {
                site.fill(template, Protection::Plain)
            })?;
            remote = work.finish(r.volume, MEANS)?;
        }
        seen(&work, r.volume, &remote, None, PayloadOffset::NONE)
    }

    fn delete(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<(), PoolError> {
        self.work(cx, "delete").delete(volume)
    }

    fn get(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<Option<Volume>, PoolError> {
        let work = self.work(cx, "get");
        let found = work.find(volume, &[MEANS])?;
        found
            .map(|remote| seen(&work, volume, &remote, None, PayloadOffset::NONE))
            .transpose()
    }

    fn attach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<Attachment, PoolError> {
        let work = self.work(cx, "attach");
        work.existing(volume, &[MEANS])?;
        work.attach(volume, host, None)
    }

    fn detach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<(), PoolError> {
        self.work(cx, "detach").detach(volume, host)
    }

    fn grow(&self, cx: &OpContext<'_>, r: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        let work = self.work(cx, "grow");
        self.proved(&work, r.volume, r.key)?;
        let remote = work.resize(r.volume, r.to.get())?;
        seen(&work, r.volume, &remote, None, PayloadOffset::NONE)
    }

    fn snapshot(&self, cx: &OpContext<'_>, r: &SnapshotVolume<'_>) -> Result<Volume, PoolError> {
        let work = self.work(cx, "snapshot");
        self.proved(&work, r.volume, r.key)?;
        let remote = work.snapshot(r)?;
        seen(&work, r.volume, &remote, None, PayloadOffset::NONE)
    }

    fn snapshot_group(&self, cx: &OpContext<'_>, r: &SnapshotGroup<'_>) -> Result<Vec<Volume>, PoolError> {
        let work = self.work(cx, "snapshot_group");
        for (volume, key) in r.volumes {
            self.proved(&work, volume, *key)?;
        }
        let taken = work.snapshot_group(r)?;
        let volumes = r.volumes.iter().zip(&taken);
        volumes
            .map(|((volume, _), remote)| seen(&work, volume, remote, None, PayloadOffset::NONE))
            .collect()
    }

    fn limit(&self, cx: &OpContext<'_>, r: &LimitVolume<'_>) -> Result<(), PoolError> {
        let work = self.work(cx, "limit");
        work.existing(r.volume, &[MEANS])?;
        work.limit(r)
    }

    fn recover(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        self.work(cx, "recover").recover()
    }
}
