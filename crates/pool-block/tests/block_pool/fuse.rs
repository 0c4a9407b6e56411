//! Something that ends at a step of the work: one answer that gets lost, or a process that is killed there.

use std::sync::{Arc, Mutex};

use strongroom_endpoint_selector::{Endpoint, EndpointError, HostAnswer, HostCommand, SnapshotAction};
use strongroom_pool_block::{BlockStorage, Claim, ErrorKind, HandedOver, Label, Provided, StorageFeatures};
use strongroom_storage_pool::{PoolError, PoolUsage};
use strongroom_types::{Call, DeviceSize, HostFacts, HostId, PoolId, SnapshotId, VolumeId};

/// How a step ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing is done, the answer is an error, and what comes next works.
    FailsBefore,
    /// All is done, and the answer is an error all the same.
    LosesAnswer,
    /// Nothing is done, now and later.
    KilledBefore,
    /// It is done, and nothing later.
    KilledAfter,
}

impl End {
    pub(crate) const ALL: [Self; 4] = [
        Self::FailsBefore,
        Self::LosesAnswer,
        Self::KilledBefore,
        Self::KilledAfter,
    ];
}

#[derive(Debug, Default)]
struct State {
    armed: Option<(usize, End)>,
    steps: usize,
    blown: bool,
}

/// Counts the steps of hosts and storage alike.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fuse(Arc<Mutex<State>>);

impl Fuse {
    /// The next steps go well up to this one.
    pub(crate) fn arm(&self, step: usize, end: End) {
        *self.0.lock().unwrap() = State {
            armed: Some((step, end)),
            ..State::default()
        };
    }

    /// Everything works again. Says whether the step was reached.
    pub(crate) fn disarm(&self) -> bool {
        std::mem::take(&mut *self.0.lock().unwrap()).blown
    }

    fn step<T, E>(&self, dead: impl Fn() -> E, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let (here, end) = {
            let mut state = self.0.lock().unwrap();
            state.steps += 1;
            let Some((step, end)) = state.armed else {
                drop(state);
                return work();
            };
            let here = state.steps.cmp(&(step + 1));
            state.blown |= here.is_eq();
            (here, end)
        };
        match end {
            _ if here.is_lt() => work(),
            End::LosesAnswer | End::KilledAfter if here.is_eq() => {
                let _ = work();
                Err(dead())
            }
            End::FailsBefore | End::LosesAnswer if here.is_gt() => work(),
            _ => Err(dead()),
        }
    }
}

/// A host or a storage with a fuse.
#[derive(Debug, Clone)]
pub(crate) struct Fused<T> {
    pub(crate) inner: T,
    pub(crate) fuse: Fuse,
}

impl<E: Endpoint> Endpoint for Fused<E> {
    fn host(&self) -> HostFacts {
        self.inner.host()
    }

    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        let dead = || EndpointError::new(ErrorKind::Io, command.name(), "the fuse has blown");
        self.fuse.step(dead, || self.inner.run(call, command))
    }
}

fn dead() -> PoolError {
    PoolError::new(ErrorKind::Io, "storage", "the fuse has blown")
}

impl<S: BlockStorage> BlockStorage for Fused<S> {
    fn pool(&self) -> &PoolId {
        self.inner.pool()
    }
    fn features(&self) -> StorageFeatures {
        self.inner.features()
    }
    fn prepare(&self, call: &Call) -> Result<(), PoolError> {
        self.fuse.step(dead, || self.inner.prepare(call))
    }
    fn usage(&self, call: &Call) -> Result<PoolUsage, PoolError> {
        self.fuse.step(dead, || self.inner.usage(call))
    }
    fn volumes(&self, call: &Call) -> Result<Vec<VolumeId>, PoolError> {
        self.fuse.step(dead, || self.inner.volumes(call))
    }
    fn claim(&self, call: &Call, volume: &VolumeId) -> Result<Claim, PoolError> {
        self.inner.claim(call, volume)
    }
    fn find(&self, call: &Call, volume: &VolumeId) -> Result<Option<Provided>, PoolError> {
        self.fuse.step(dead, || self.inner.find(call, volume))
    }
    fn provision(
        &self,
        call: &Call,
        volume: &VolumeId,
        size: DeviceSize,
        label: &Label,
    ) -> Result<Provided, PoolError> {
        self.fuse
            .step(dead, || self.inner.provision(call, volume, size, label))
    }
    fn relabel(&self, call: &Call, volume: &VolumeId, from: &Label, to: &Label) -> Result<(), PoolError> {
        self.fuse
            .step(dead, || self.inner.relabel(call, volume, from, to))
    }
    fn resize(&self, call: &Call, volume: &VolumeId, size: DeviceSize) -> Result<Provided, PoolError> {
        self.fuse.step(dead, || self.inner.resize(call, volume, size))
    }
    fn found_larger(&self, call: &Call, volume: &VolumeId, size: DeviceSize) -> Result<(), PoolError> {
        self.fuse
            .step(dead, || self.inner.found_larger(call, volume, size))
    }
    fn remove(&self, call: &Call, volume: &VolumeId) -> Result<(), PoolError> {
        self.fuse.step(dead, || self.inner.remove(call, volume))
    }
    fn hand_over(&self, call: &Call, volume: &VolumeId, host: &HostId) -> Result<HandedOver, PoolError> {
        self.fuse.step(dead, || self.inner.hand_over(call, volume, host))
    }
    fn take_back(&self, call: &Call, volume: &VolumeId, host: &HostId) -> Result<(), PoolError> {
        self.fuse.step(dead, || self.inner.take_back(call, volume, host))
    }
    fn snapshot(
        &self,
        call: &Call,
        volume: &VolumeId,
        snapshot: &SnapshotId,
        action: SnapshotAction,
    ) -> Result<(), PoolError> {
        self.fuse
            .step(dead, || self.inner.snapshot(call, volume, snapshot, action))
    }
}
