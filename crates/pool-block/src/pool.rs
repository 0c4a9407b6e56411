use std::collections::BTreeSet;

use strongroom_endpoint_selector::{DiskFacts, InspectDisk, Need};
use strongroom_storage_pool::{
    Attachment, Capabilities, CloneKey, CloneKind, CloneVolume, CreateVolume, Encryption, ErrorKind,
    FlattenVolume, LimitVolume, OpContext, PoolDriver, PoolError, PoolUsage, ResizeVolume, SizeRule,
    SnapshotGroup, SnapshotVolume, Volume,
};
use strongroom_types::{Capability, DiskFormat, GeometryError, HostId, PoolId, TemplateId, VolumeId};

use crate::errand::{Errand, Purpose, on_host, storage_failed};
use crate::kind::{Kind, LUKS};
use crate::template::is_template;
use crate::{BlockStorage, Claim, Provided, Stage};

/// A pool whose volumes are block devices that a storage hands to a host.
///
/// Before anything on a device is read or written, its size and serial number on that host must be what the storage says, and
/// every command carries them along, so that the host looks again.
#[derive(Debug)]
pub struct BlockPool<S> {
    pub(crate) storage: S,
    pub(crate) encryption: bool,
    pub(crate) qcow2_percent: u16,
}

impl<S: BlockStorage> BlockPool<S> {
    /// The pool on this storage, with encryption. Nothing is asked of the storage.
    #[must_use]
    pub fn new(storage: S) -> Self {
        Self {
            storage,
            encryption: true,
            qcow2_percent: 100,
        }
    }

    /// The same, but requests for encrypted volumes are refused. Those that are there already stay usable.
    #[must_use]
    pub fn without_encryption(mut self) -> Self {
        self.encryption = false;
        self
    }

    /// The same, with devices for qcow2 volumes that have room for this many percent of what the guest sees, besides the tables:
    /// less than 100 for volumes that stay mostly empty, more for snapshots. 100 unless said.
    #[must_use]
    pub fn with_qcow2_room(mut self, percent: u16) -> Self {
        self.qcow2_percent = percent;
        self
    }

    /// The storage.
    #[must_use]
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// An error that says where.
    pub(crate) fn error(&self, kind: ErrorKind, operation: &'static str, message: &str) -> PoolError {
        PoolError::new(
            kind,
            operation,
            format!("pool {}: {message}", self.storage.pool()),
        )
    }

    pub(crate) fn failed(&self, operation: &'static str) -> impl Fn(PoolError) -> PoolError + '_ {
        move |e| storage_failed(&self.storage, operation, e)
    }

    pub(crate) fn unfit(&self, operation: &'static str) -> impl Fn(GeometryError) -> PoolError + '_ {
        move |e| self.error(ErrorKind::InvalidRequest, operation, &e.to_string())
    }

    pub(crate) fn find(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        volume: &VolumeId,
    ) -> Result<Option<Provided>, PoolError> {
        cx.call.check().map_err(|e| {
            let kind = match e {
                strongroom_types::Interrupted::Cancelled => ErrorKind::Cancelled,
                strongroom_types::Interrupted::Deadline => ErrorKind::Deadline,
            };
            self.error(kind, operation, "nothing was done")
        })?;
        self.storage.find(cx.call, volume).map_err(self.failed(operation))
    }

    /// Keeps everybody else from the volume, for the length of a call that changes something.
    pub(crate) fn claim(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        volume: &VolumeId,
    ) -> Result<Claim, PoolError> {
        self.storage
            .claim(cx.call, volume)
            .map_err(self.failed(operation))
    }

    /// The device of a volume that must be there and whole.
    pub(crate) fn existing(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        volume: &VolumeId,
    ) -> Result<Provided, PoolError> {
        self.find(cx, operation, volume)?
            .filter(|provided| provided.label.stage == Stage::Ready && !is_template(volume))
            .ok_or_else(|| {
                let message = format!("there is no volume {volume}");
                self.error(ErrorKind::NotFound, operation, &message)
            })
    }

    /// Fails unless the volume is on the side of the cipher that the request says.
    pub(crate) fn same_side(
        &self,
        purpose: Purpose<'_>,
        key: strongroom_storage_pool::VolumeKey<'_>,
    ) -> Result<Kind, PoolError> {
        let kind = Kind::of(&purpose.provided.label);
        if kind == Kind::new(kind.format, key) {
            return Ok(kind);
        }
        let message = format!("volume {} is {kind}, the request says otherwise", purpose.volume);
        Err(self.error(ErrorKind::WrongDisk, purpose.operation, &message))
    }

    pub(crate) fn on_host<T>(
        &self,
        cx: &OpContext<'_>,
        purpose: Purpose<'_>,
        need: Need,
        work: impl FnOnce(&mut Errand<'_>) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        on_host(&self.storage, cx, purpose, need, work)
    }

    /// Reads the header of a volume, without its key.
    pub(crate) fn look(&self, errand: &Errand<'_>, purpose: Purpose<'_>) -> Result<DiskFacts, PoolError> {
        let (kind, label) = (Kind::of(&purpose.provided.label), &purpose.provided.label);
        let location = kind
            .location(&errand.device, label.guest)
            .map_err(self.unfit(purpose.operation))?;
        let facts = errand.inspected(kind, InspectDisk::new(&location, kind.format, kind.encryption))?;
        match kind.format {
            DiskFormat::Raw => errand.exactly(facts, label.guest),
            DiskFormat::Qcow2 => Ok(facts),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
impl<S: BlockStorage> PoolDriver for BlockPool<S> {
    fn pool(&self) -> &PoolId {
        self.storage.pool()
    }

    fn capabilities(&self) -> Capabilities {
        let features = self.storage.features();
        let both = BTreeSet::from([DiskFormat::Raw, DiskFormat::Qcow2]);
        let mut capabilities = Capabilities::none();
        if self.encryption {
            capabilities.encryption = Encryption::OnHost(LUKS);
        }
        capabilities.formats = both.clone();
        capabilities.sizes = SizeRule::DeviceRoundedTo(features.granularity);
        capabilities.reach = features.reach;
        capabilities.templates = true;
        capabilities.overlays = BTreeSet::from([DiskFormat::Qcow2]);
        capabilities.copies = true;
        capabilities.clone = BTreeSet::from([CloneKind::OwnKey]);
        capabilities.grow = features.grow;
        capabilities.shrink = true;
        capabilities.snapshot_offline = BTreeSet::from([DiskFormat::Qcow2]);
        if features.snapshots {
            capabilities.snapshot_offline = both.clone();
        }
        if features.snapshots && features.snapshots_online {
            // The tables of a qcow2 disk that somebody has open are not consistent.
            capabilities.snapshot_online = BTreeSet::from([DiskFormat::Raw]);
        }
        capabilities.revert = true;
        capabilities.discard = features.discard;
        capabilities
    }

    fn prepare(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        self.storage.prepare(cx.call).map_err(self.failed("prepare"))
    }

    fn usage(&self, cx: &OpContext<'_>) -> Result<PoolUsage, PoolError> {
        self.storage.usage(cx.call).map_err(self.failed("usage"))
    }

    fn create(&self, cx: &OpContext<'_>, request: &CreateVolume<'_>) -> Result<Volume, PoolError> {
        self.create_volume(cx, "create", request, None)
    }

    fn delete(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<(), PoolError> {
        self.is_no_template("delete", volume)?;
        let _claim = self.claim(cx, "delete", volume)?;
        match self.find(cx, "delete", volume)? {
            Some(provided) => self.clear(cx, "delete", volume, &provided),
            None => Ok(()),
        }
    }

    fn get(&self, cx: &OpContext<'_>, id: &VolumeId) -> Result<Option<Volume>, PoolError> {
        let provided = self.find(cx, "get", id)?;
        let whole = |provided: &Provided| provided.label.stage == Stage::Ready && !is_template(id);
        let Some(provided) = provided.filter(whole) else {
            return Ok(None);
        };
        let purpose = Purpose::reading("get", id, &provided);
        let need = Need::any().able_to(Capability::PlainImages);
        self.on_disk(cx, purpose, need, |errand| {
            let facts = self.look(errand, purpose)?;
            Ok(Some(errand.volume(id, &provided, facts)))
        })
    }

    fn attach(&self, cx: &OpContext<'_>, id: &VolumeId, host: &HostId) -> Result<Attachment, PoolError> {
        let mut provided = self.existing(cx, "attach", id)?;
        let had = provided.hosts.contains(host);
        // The host keeps the device after this errand.
        provided.hosts = BTreeSet::from([host.clone()]);
        let purpose = Purpose::reading("attach", id, &provided);
        let need = Need::any().able_to(Capability::PlainImages).on(host.clone());
        let facts = self.on_disk(cx, purpose, need, |errand| self.look(errand, purpose));
        let facts = match facts {
            Ok(facts) => facts,
            Err(e) if had => return Err(e),
            Err(e) => {
                // The error that made it fail says more than one of giving back.
                let _ = self.storage.take_back(cx.call, id, host);
                return Err(e);
            }
        };
        let mut attachment = Attachment::new(facts.location, facts.format, facts.encryption);
        attachment.base = facts.base;
        attachment.discard = self.storage.features().discard;
        Ok(attachment)
    }

    fn detach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<(), PoolError> {
        if is_template(volume) {
            return Ok(());
        }
        self.storage
            .take_back(cx.call, volume, host)
            .map_err(self.failed("detach"))
    }

    fn grow(&self, cx: &OpContext<'_>, request: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        self.grow_volume(cx, request)
    }

    fn shrink(&self, cx: &OpContext<'_>, request: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        self.shrink_volume(cx, request)
    }

    fn snapshot(&self, cx: &OpContext<'_>, request: &SnapshotVolume<'_>) -> Result<Volume, PoolError> {
        let _claim = self.claim(cx, "snapshot", request.volume)?;
        self.snapshot_volume(cx, request)
    }

    fn snapshot_group(&self, _: &OpContext<'_>, _: &SnapshotGroup<'_>) -> Result<Vec<Volume>, PoolError> {
        let message = "keeps no snapshots of several volumes at one instant";
        Err(self.error(ErrorKind::Unsupported, "snapshot_group", message))
    }

    fn clone_volume(&self, cx: &OpContext<'_>, request: &CloneVolume<'_>) -> Result<Volume, PoolError> {
        let CloneKey::Own(key) = request.key else {
            let message = "does not make clones that share a key; ask for one with a key of its own";
            return Err(self.error(ErrorKind::Unsupported, "clone_volume", message));
        };
        self.clone_with_key(cx, request, key)
    }

    fn flatten(&self, cx: &OpContext<'_>, request: &FlattenVolume<'_>) -> Result<Volume, PoolError> {
        self.flatten_volume(cx, request)
    }

    fn limit(&self, _: &OpContext<'_>, _: &LimitVolume<'_>) -> Result<(), PoolError> {
        Err(self.error(ErrorKind::Unsupported, "limit", "does not limit volumes"))
    }

    fn forget_template(&self, cx: &OpContext<'_>, template: &TemplateId) -> Result<(), PoolError> {
        self.forget(cx, template)
    }

    fn recover(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        self.clear_unfinished(cx)
    }
}
