//! A driver that panics: the panic ends one call and becomes an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom_storage_pool::{
    Attachment, Capabilities, CloneVolume, CreateVolume, ErrorKind, FlattenVolume, LimitVolume, OpContext,
    PoolDriver, PoolError, PoolUsage, ResizeVolume, SnapshotGroup, SnapshotVolume, Volume,
};
use strongroom_types::{HostId, PoolId, TemplateId, VolumeId};

/// A driver behind which no panic goes on. What it says of itself is asked once, because it does not change.
#[derive(Debug)]
pub(crate) struct GuardedDriver {
    inner: Arc<dyn PoolDriver>,
    pool: PoolId,
    capabilities: Capabilities,
    panicked: AtomicBool,
}

/// The error for a panic. What the panic said is not in it: nobody knows what is in there.
fn panicked(operation: &'static str) -> PoolError {
    let message =
        "the pool's driver panicked, which is a fault of the driver; its message is on standard error";
    PoolError::new(ErrorKind::Tool, operation, message)
}

/// Runs a piece of a driver that is not guarded yet.
pub(crate) fn catch<T>(
    operation: &'static str,
    work: impl FnOnce() -> Result<T, PoolError>,
) -> Result<T, PoolError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(panicked(operation)))
}

impl GuardedDriver {
    /// # Errors
    /// [`PoolError`] when the driver panics already, or serves another pool.
    pub(crate) fn new(inner: Arc<dyn PoolDriver>, pool: &PoolId) -> Result<Self, PoolError> {
        let (serves, capabilities) = catch("open", || Ok((inner.pool().clone(), inner.capabilities())))?;
        if serves != *pool {
            let message = format!("the driver for pool {pool} says that it serves pool {serves}");
            return Err(PoolError::new(ErrorKind::InvalidRequest, "open", message));
        }
        Ok(Self {
            inner,
            pool: serves,
            capabilities,
            panicked: AtomicBool::new(false),
        })
    }

    /// Whether a call panicked: what the driver keeps in memory may be broken, and it should be opened anew.
    pub(crate) fn has_panicked(&self) -> bool {
        self.panicked.load(Ordering::SeqCst)
    }

    fn guard<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&dyn PoolDriver) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        catch_unwind(AssertUnwindSafe(|| work(self.inner.as_ref()))).unwrap_or_else(|_| {
            self.panicked.store(true, Ordering::SeqCst);
            Err(panicked(operation))
        })
    }
}

#[deny(clippy::missing_trait_methods)]
impl PoolDriver for GuardedDriver {
    fn pool(&self) -> &PoolId {
        &self.pool
    }
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }
    fn prepare(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        self.guard("prepare", |driver| driver.prepare(cx))
    }
    fn usage(&self, cx: &OpContext<'_>) -> Result<PoolUsage, PoolError> {
        self.guard("usage", |driver| driver.usage(cx))
    }
    fn create(&self, cx: &OpContext<'_>, request: &CreateVolume<'_>) -> Result<Volume, PoolError> {
        self.guard("create", |driver| driver.create(cx, request))
    }
    fn delete(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<(), PoolError> {
        self.guard("delete", |driver| driver.delete(cx, volume))
    }
    fn get(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<Option<Volume>, PoolError> {
        self.guard("get", |driver| driver.get(cx, volume))
    }
    fn attach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<Attachment, PoolError> {
        self.guard("attach", |driver| driver.attach(cx, volume, host))
    }
    fn detach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<(), PoolError> {
        self.guard("detach", |driver| driver.detach(cx, volume, host))
    }
    fn grow(&self, cx: &OpContext<'_>, request: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        self.guard("grow", |driver| driver.grow(cx, request))
    }
    fn shrink(&self, cx: &OpContext<'_>, request: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        self.guard("shrink", |driver| driver.shrink(cx, request))
    }
    fn snapshot(&self, cx: &OpContext<'_>, request: &SnapshotVolume<'_>) -> Result<Volume, PoolError> {
        self.guard("snapshot", |driver| driver.snapshot(cx, request))
    }
    fn snapshot_group(
        &self,
        cx: &OpContext<'_>,
        request: &SnapshotGroup<'_>,
    ) -> Result<Vec<Volume>, PoolError> {
        self.guard("snapshot_group", |driver| driver.snapshot_group(cx, request))
    }
    fn clone_volume(&self, cx: &OpContext<'_>, request: &CloneVolume<'_>) -> Result<Volume, PoolError> {
        self.guard("clone_volume", |driver| driver.clone_volume(cx, request))
    }
    fn flatten(&self, cx: &OpContext<'_>, request: &FlattenVolume<'_>) -> Result<Volume, PoolError> {
        self.guard("flatten", |driver| driver.flatten(cx, request))
    }
    fn limit(&self, cx: &OpContext<'_>, request: &LimitVolume<'_>) -> Result<(), PoolError> {
        self.guard("limit", |driver| driver.limit(cx, request))
    }
    fn forget_template(&self, cx: &OpContext<'_>, template: &TemplateId) -> Result<(), PoolError> {
        self.guard("forget_template", |driver| driver.forget_template(cx, template))
    }
    fn recover(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        self.guard("recover", |driver| driver.recover(cx))
    }
}
