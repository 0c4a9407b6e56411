//! A driver that stands before a sound one and does some things wrong.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use strongroom_storage_pool::{
    Attachment, Capabilities, CloneVolume, CreateVolume, ErrorKind, FlattenVolume, LimitVolume, OpContext,
    PoolDriver, PoolError, PoolUsage, ResizeVolume, SnapshotGroup, SnapshotVolume, Volume,
};
use strongroom_types::{HostId, PoolId, TemplateId, VolumeId};

type Inner = dyn PoolDriver;

/// What a fault remembers.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) seen: Mutex<BTreeSet<String>>,
}

impl Memory {
    pub(crate) fn seen(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.seen.lock().unwrap()
    }

    /// Whether this is the first time.
    pub(crate) fn first(&self, what: impl fmt::Display) -> bool {
        self.seen().insert(what.to_string())
    }
}

macro_rules! faulty {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+) => {
        /// What is done instead of each method.
        #[derive(Clone, Default)]
        pub(crate) struct Faults {
            pub(crate) capabilities: Option<Arc<dyn Fn(&Inner, &Memory) -> Capabilities + Send + Sync>>,
            $(pub(crate) $name: Option<
                Arc<dyn Fn(&Inner, &Memory, &OpContext<'_>, $($type),*) -> Result<$answer, PoolError> + Send + Sync>,
            >,)+
        }

        impl PoolDriver for Faulty {
            fn pool(&self) -> &PoolId {
                self.inner.pool()
            }
            fn capabilities(&self) -> Capabilities {
                match &self.faults.capabilities {
                    Some(fault) => fault(self.inner.as_ref(), &self.memory),
                    None => self.inner.capabilities(),
                }
            }
            $(fn $name(&self, cx: &OpContext<'_>, $($argument: $type),*) -> Result<$answer, PoolError> {
                match &self.faults.$name {
                    Some(fault) => fault(self.inner.as_ref(), &self.memory, cx, $($argument),*),
                    None => self.inner.$name(cx, $($argument),*),
                }
            })+
        }
    };
}

faulty! {
    prepare() -> ();
    usage() -> PoolUsage;
    create(request: &CreateVolume<'_>) -> Volume;
    delete(volume: &VolumeId) -> ();
    get(volume: &VolumeId) -> Option<Volume>;
    attach(volume: &VolumeId, host: &HostId) -> Attachment;
    detach(volume: &VolumeId, host: &HostId) -> ();
    grow(request: &ResizeVolume<'_>) -> Volume;
    shrink(request: &ResizeVolume<'_>) -> Volume;
    snapshot(request: &SnapshotVolume<'_>) -> Volume;
    snapshot_group(request: &SnapshotGroup<'_>) -> Vec<Volume>;
    clone_volume(request: &CloneVolume<'_>) -> Volume;
    flatten(request: &FlattenVolume<'_>) -> Volume;
    limit(request: &LimitVolume<'_>) -> ();
    forget_template(template: &TemplateId) -> ();
    recover() -> ();
}

pub(crate) struct Faulty {
    pub(crate) inner: Arc<dyn PoolDriver>,
    pub(crate) faults: Faults,
    pub(crate) memory: Memory,
}

impl Clone for Faulty {
    /// The same storage; what a fault remembers is each driver's own.
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            faults: self.faults.clone(),
            memory: Memory::default(),
        }
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

pub(crate) fn error(kind: ErrorKind, what: &str) -> PoolError {
    PoolError::new(kind, "faulty", what)
}

/// Whether a call failed because the answer of a host was lost.
pub(crate) fn lost<T>(result: &Result<T, PoolError>) -> bool {
    let source = |e: &PoolError| std::error::Error::source(e).map(ToString::to_string);
    let text = result.as_ref().err().and_then(source).unwrap_or_default();
    text.contains("died")
}
