//! A pool that works in memory, for the tests of whatever calls a driver.

mod calls;
mod content;
mod driver;
mod make;
mod resize;
mod snapshot;
mod volume;

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use strongroom_endpoint_selector::{ErrorKind, Need};
use strongroom_types::{
    ByteSize, Capability, DiskFormat, EncryptionFormat, HostId, Interrupted, PoolId, TemplateId, VolumeId,
};

pub use self::calls::{Moment, PoolCall};
use self::volume::FakeVolume;
use crate::{Capabilities, CloneKind, Encryption, OpContext, PoolError, QosLimits, VolumeKey};

/// What a test wants to happen before or after a call.
type Fault = Box<dyn FnMut(Moment, &PoolCall) -> Option<PoolError> + Send>;

#[derive(Default)]
struct State {
    /// The pool that the storage was prepared for.
    owner: Option<PoolId>,
    fingerprints: RandomState,
    volumes: BTreeMap<VolumeId, FakeVolume>,
    /// The image of each template that is kept.
    templates: BTreeMap<TemplateId, PathBuf>,
    images: BTreeMap<PathBuf, ByteSize>,
    unreachable: BTreeSet<HostId>,
    calls: Vec<PoolCall>,
}

/// A pool that keeps its volumes in memory. It keeps every promise of [`PoolDriver`](crate::PoolDriver), records the calls, and fails on
/// request.
///
/// Of a key it keeps a fingerprint, which is different in every storage and opens nothing. A volume takes its device size of the
/// pool in full; snapshots and templates take nothing. Images and disks from elsewhere are not read: their path is the content, and one
/// whose size was not [said](Self::add_image) fits everywhere. Where volumes are encrypted on
/// the host, work with a key asks the selector for a host as a real driver does, but runs no command on it. A volume that is
/// attached counts as open, so that what takes a closed one is [`Busy`](ErrorKind::Busy). Storage that was not
/// [prepared](crate::PoolDriver::prepare) takes everything; storage that was prepared for another pool refuses.
pub struct MemoryPool {
    pool: PoolId,
    capabilities: Capabilities,
    total: ByteSize,
    state: Arc<Mutex<State>>,
    fault: Mutex<Option<Fault>>,
}

impl fmt::Debug for MemoryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPool")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryPool {
    /// An empty pool of 1 TiB that can do everything, but for snapshots while a guest runs: raw and qcow2, encrypted on the host with
    /// LUKS1; snapshots and overlays of qcow2.
    #[must_use]
    pub fn new(pool: PoolId) -> Self {
        let mut capabilities = Capabilities::none();
        capabilities.encryption = Encryption::OnHost(EncryptionFormat::Luks1);
        capabilities.formats = BTreeSet::from([DiskFormat::Raw, DiskFormat::Qcow2]);
        capabilities.templates = true;
        capabilities.overlays = BTreeSet::from([DiskFormat::Qcow2]);
        capabilities.copies = true;
        capabilities.clone = BTreeSet::from([CloneKind::OwnKey, CloneKind::SharedKey]);
        capabilities.grow = true;
        capabilities.shrink = true;
        capabilities.snapshot_offline = BTreeSet::from([DiskFormat::Qcow2]);
        capabilities.snapshot_group = true;
        capabilities.revert = true;
        capabilities.discard = true;
        capabilities.qos = true;
        Self {
            pool,
            capabilities,
            total: ByteSize::gib(1024),
            state: Arc::default(),
            fault: Mutex::default(),
        }
    }

    /// Another driver for the same storage, as after a restart or on another control plane, for this or another pool. It has the
    /// same capabilities and no faults.
    #[must_use]
    pub fn reopened(&self, pool: PoolId) -> Self {
        Self {
            pool,
            capabilities: self.capabilities.clone(),
            total: self.total,
            state: Arc::clone(&self.state),
            fault: Mutex::default(),
        }
    }

    /// The same with other capabilities.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// The same, encrypted elsewhere or not at all.
    #[must_use]
    pub fn with_encryption(mut self, encryption: Encryption) -> Self {
        self.capabilities.encryption = encryption;
        self
    }

    /// The same with this size.
    #[must_use]
    pub fn with_total(mut self, total: ByteSize) -> Self {
        self.total = total;
        self
    }

    /// Before and after each call `fault` is asked; when it gives an error, that is the answer. Before the call nothing is
    /// done then; after it everything is done, as when an answer gets lost.
    pub fn fail_when(&self, fault: impl FnMut(Moment, &PoolCall) -> Option<PoolError> + Send + 'static) {
        *lock(&self.fault) = Some(Box::new(fault));
    }

    /// The calls so far, those that failed included.
    #[must_use]
    pub fn calls(&self) -> Vec<PoolCall> {
        lock(&self.state).calls.clone()
    }

    /// The volumes that are there.
    #[must_use]
    pub fn volumes(&self) -> Vec<VolumeId> {
        lock(&self.state).volumes.keys().cloned().collect()
    }

    /// The hosts to which a volume is attached.
    #[must_use]
    pub fn attached(&self, volume: &VolumeId) -> BTreeSet<HostId> {
        let state = lock(&self.state);
        state
            .volumes
            .get(volume)
            .map(|v| v.attached.clone())
            .unwrap_or_default()
    }

    /// From now on volumes cannot be attached to this host.
    pub fn cut_off(&self, host: HostId) {
        lock(&self.state).unreachable.insert(host);
    }

    /// Says how large an image or a disk is from which volumes are made.
    pub fn add_image(&self, path: impl Into<PathBuf>, size: ByteSize) {
        lock(&self.state).images.insert(path.into(), size);
    }

    /// The templates that the pool keeps.
    #[must_use]
    pub fn templates(&self) -> Vec<TemplateId> {
        lock(&self.state).templates.keys().cloned().collect()
    }

    /// How fast a volume may be; no limits when it is not there.
    #[must_use]
    pub fn limits(&self, volume: &VolumeId) -> QosLimits {
        let state = lock(&self.state);
        state.volumes.get(volume).map(|v| v.limits).unwrap_or_default()
    }

    /// The bytes of a volume as whoever sees the storage sees them: magic numbers and noise where it is encrypted. `image` says what is
    /// in the image that is its content. `None` when it is not there.
    #[must_use]
    pub fn stored(&self, volume: &VolumeId, image: impl Fn(&Path) -> Vec<u8>) -> Option<Vec<u8>> {
        Some(lock(&self.state).volumes.get(volume)?.stored(image))
    }

    /// What a volume holds: the path of its template, or what was [written](Self::write); `None` when it is blank or not
    /// there.
    #[must_use]
    pub fn content(&self, volume: &VolumeId) -> Option<PathBuf> {
        lock(&self.state).volumes.get(volume)?.content.clone()
    }

    /// Replaces the content of a volume, as a guest would. Does nothing when the volume is not there.
    pub fn write(&self, volume: &VolumeId, content: impl Into<PathBuf>) {
        if let Some(volume) = lock(&self.state).volumes.get_mut(volume) {
            volume.content = Some(content.into());
        }
    }

    fn fail(&self, moment: Moment, call: &PoolCall) -> Result<(), PoolError> {
        match lock(&self.fault).as_mut().and_then(|fault| fault(moment, call)) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Everything that every call has in common.
    fn run<T>(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        volume: Option<&VolumeId>,
        work: impl FnOnce(&mut State) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        let call = PoolCall {
            operation,
            volume: volume.cloned(),
        };
        lock(&self.state).calls.push(call.clone());
        self.fail(Moment::Before, &call)?;
        cx.call.check().map_err(|e| {
            let kind = match e {
                Interrupted::Cancelled => ErrorKind::Cancelled,
                Interrupted::Deadline => ErrorKind::Deadline,
            };
            PoolError::new(kind, operation, format!("pool {} did nothing", self.pool)).with_source(e)
        })?;
        let mut state = lock(&self.state);
        if let Some(owner) = state.owner.as_ref().filter(|owner| **owner != self.pool) {
            let message = format!("the storage is pool {owner}'s, not pool {}'s", self.pool);
            return Err(PoolError::new(ErrorKind::AlreadyExists, operation, message));
        }
        let done = work(&mut state)?;
        drop(state);
        self.fail(Moment::After, &call)?;
        Ok(done)
    }

    /// Refuses an operation that the capabilities do not have.
    fn able(&self, operation: &'static str, can: bool, what: &str) -> Result<(), PoolError> {
        if can {
            return Ok(());
        }
        Err(PoolError::unsupported(
            operation,
            format!("pool {} {what}", self.pool),
        ))
    }

    /// Finds the host that this work takes, if it takes one, and says which LUKS the volume has for a host.
    fn host_side(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        format: DiskFormat,
        key: VolumeKey<'_>,
    ) -> Result<Option<EncryptionFormat>, PoolError> {
        let (capability, luks) = match (key, self.capabilities.encryption) {
            (VolumeKey::Plain, _) | (_, Encryption::InStorage) => return Ok(None),
            (_, Encryption::Unsupported) => {
                let message = format!("pool {} does not encrypt; ask for another pool", self.pool);
                return Err(PoolError::unsupported(operation, message));
            }
            (_, Encryption::OnHost(luks)) => match (format, luks) {
                (DiskFormat::Qcow2, EncryptionFormat::Luks1) => (Capability::Qcow2Luks, luks),
                (DiskFormat::Raw, EncryptionFormat::Luks1) => (Capability::RawLuks1, luks),
                (DiskFormat::Raw, EncryptionFormat::Luks2) => (Capability::Luks2, luks),
                (DiskFormat::Qcow2, EncryptionFormat::Luks2) => {
                    return Err(PoolError::unsupported(
                        operation,
                        "qcow2 has no luks2; ask for raw",
                    ));
                }
            },
        };
        let need = Need::any().reaching(self.pool.clone()).able_to(capability);
        cx.endpoints
            .select(&need)
            .map_err(|e| PoolError::no_host(operation, e))?;
        Ok(Some(luks))
    }

    /// Fails when a volume that takes `taken` bytes now does not fit with `wanted`.
    fn room(
        &self,
        operation: &'static str,
        state: &State,
        taken: ByteSize,
        wanted: ByteSize,
    ) -> Result<(), PoolError> {
        let free = self.free(state);
        if wanted.get() <= free.get().saturating_add(taken.get()) {
            return Ok(());
        }
        let more = ByteSize::bytes(wanted.get().saturating_sub(taken.get()));
        let message = format!("pool {} has {free} free, {more} is needed", self.pool);
        Err(PoolError::new(ErrorKind::NoSpace, operation, message))
    }

    fn free(&self, state: &State) -> ByteSize {
        let taken = state
            .volumes
            .values()
            .fold(0u64, |sum, v| sum.saturating_add(v.facts.allocated.get()));
        ByteSize::bytes(self.total.get().saturating_sub(taken))
    }

    fn existing<'s>(
        &self,
        operation: &'static str,
        state: &'s State,
        volume: &VolumeId,
    ) -> Result<&'s FakeVolume, PoolError> {
        state.volumes.get(volume).ok_or_else(|| {
            let message = format!("pool {} has no volume {volume}", self.pool);
            PoolError::new(ErrorKind::NotFound, operation, message)
        })
    }
}
