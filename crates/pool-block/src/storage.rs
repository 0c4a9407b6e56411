use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use strongroom_endpoint_selector::{DeviceIdentity, SnapshotAction};
use strongroom_storage_pool::{PoolError, PoolUsage, Reach};
use strongroom_types::{Call, DeviceSize, HostId, PoolId, SnapshotId, VolumeId};

use crate::{Claim, Label};

/// Whether a storage gives each device to one volume after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Supply {
    /// The storage makes a device for a volume and destroys it with the volume. A new one reads as zeros, and so does what a
    /// device got when it was made larger.
    Made,
    /// The devices are there before the volume and stay after it. What is on a device is unknown until somebody looks, and what a
    /// volume wrote there is still there when the next one gets it.
    Reused,
}

/// What a storage can do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorageFeatures {
    /// Every device is a multiple of this many bytes: 512 or a multiple of it.
    pub granularity: u64,
    /// Where devices come from.
    pub supply: Supply,
    /// Who reaches the devices.
    pub reach: Reach,
    /// [`BlockStorage::resize`] works.
    pub grow: bool,
    /// [`BlockStorage::snapshot`] works while no host has the device.
    pub snapshots: bool,
    /// It also takes and removes them while a host has the device.
    pub snapshots_online: bool,
    /// What a guest discards is given back.
    pub discard: bool,
}

impl StorageFeatures {
    /// A storage that one host reaches and that can do nothing beyond the required operations.
    #[must_use]
    pub fn new(granularity: u64, supply: Supply) -> Self {
        Self {
            granularity,
            supply,
            reach: Reach::Host,
            grow: false,
            snapshots: false,
            snapshots_online: false,
            discard: false,
        }
    }
}

/// A device that a storage provides for a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Provided {
    /// How large it is.
    pub size: DeviceSize,
    /// What is written on it.
    pub label: Label,
    /// The hosts that have it now, where the storage keeps track of that.
    pub hosts: BTreeSet<HostId>,
    /// The storage's own snapshots of it, with what was written on it when each was taken.
    pub snapshots: BTreeMap<SnapshotId, Label>,
}

impl Provided {
    /// A device that no host has.
    #[must_use]
    pub fn new(size: DeviceSize, label: Label) -> Self {
        Self {
            size,
            label,
            hosts: BTreeSet::new(),
            snapshots: BTreeMap::new(),
        }
    }
}

/// A device as a host finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandedOver {
    /// Its path on the host: one that stays with the device, as those in `/dev/disk/by-id` do.
    pub path: PathBuf,
    /// By what the host knows that it is the right one.
    pub identity: DeviceIdentity,
}

impl HandedOver {
    /// The device at this path, if it is this one.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, identity: DeviceIdentity) -> Self {
        Self {
            path: path.into(),
            identity,
        }
    }
}

/// A storage that gives block devices to hosts: what is to be written for a storage array.
///
/// It knows nothing of keys, and a host reads and writes what is on a device, never this. Methods may be called from several threads
/// and several processes at once. Each one either did what it says or left things as they were, and an answer that was lost is
/// given again by the same call. The operation in an error is the name of the method.
pub trait BlockStorage: Send + Sync + fmt::Debug {
    /// Which pool the storage is.
    fn pool(&self) -> &PoolId;

    /// What it can do. The answer does not change.
    fn features(&self) -> StorageFeatures;

    /// Makes the storage ready for being this pool; again is fine.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when it is another pool's; other [`PoolError`]s when it cannot be used.
    fn prepare(&self, call: &Call) -> Result<(), PoolError>;

    /// How full it is.
    ///
    /// # Errors
    /// [`PoolError`] when the storage does not answer.
    fn usage(&self, call: &Call) -> Result<PoolUsage, PoolError>;

    /// Every volume that has a device.
    ///
    /// # Errors
    /// [`PoolError`] when the storage does not answer.
    fn volumes(&self, call: &Call) -> Result<Vec<VolumeId>, PoolError>;

    /// Keeps every other thread and process from working on a volume until the answer is dropped, and waits while somebody does.
    ///
    /// Without it, a volume that one process still makes and another one deletes is written on after its device has gone to somebody
    /// else. A storage that can hold no such right relies on its callers.
    ///
    /// # Errors
    /// [`Busy`](crate::ErrorKind::Busy) when somebody works on it for long; the call's own end; other [`PoolError`]s.
    fn claim(&self, _: &Call, _: &VolumeId) -> Result<Claim, PoolError> {
        Ok(Claim::of_nothing())
    }

    /// The device of a volume; `None` when it has none.
    ///
    /// # Errors
    /// [`PoolError`] when it cannot be known.
    fn find(&self, call: &Call, volume: &VolumeId) -> Result<Option<Provided>, PoolError>;

    /// Gives a volume a device of at least this size, with this label on it. A volume that has one with the very same label
    /// keeps it.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when it has one with another label;
    /// [`NoSpace`](crate::ErrorKind::NoSpace) when there is no such device; other [`PoolError`]s.
    fn provision(
        &self,
        call: &Call,
        volume: &VolumeId,
        size: DeviceSize,
        label: &Label,
    ) -> Result<Provided, PoolError>;

    /// Writes `to` on the device of a volume if it says `from`, as one step. One that says `to` already is fine.
    ///
    /// # Errors
    /// [`Busy`](crate::ErrorKind::Busy) when it says something else, for then somebody else works on the volume; other [`PoolError`]s.
    fn relabel(&self, call: &Call, volume: &VolumeId, from: &Label, to: &Label) -> Result<(), PoolError>;

    /// Makes the device of a volume at least this large. One that is, stays as it is.
    ///
    /// Requires [`StorageFeatures::grow`].
    ///
    /// # Errors
    /// [`NoSpace`](crate::ErrorKind::NoSpace) when it cannot be; other [`PoolError`]s.
    fn resize(&self, call: &Call, volume: &VolumeId, size: DeviceSize) -> Result<Provided, PoolError>;

    /// Takes note that a host finds the device of a volume, which has the serial number that the storage says, to be this large: somebody
    /// made it larger and did not say so here. One that is known to be so large stays as it is.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) where the storage alone knows how large its devices are; other [`PoolError`]s.
    fn found_larger(&self, _: &Call, volume: &VolumeId, _: DeviceSize) -> Result<(), PoolError> {
        let message = format!("the storage knows how large the device of volume {volume} is");
        Err(PoolError::unsupported("found_larger", message))
    }

    /// Takes the device from a volume, with its snapshots, and from every host that has it. A volume without one is fine.
    ///
    /// # Errors
    /// [`PoolError`] when it may still have one.
    fn remove(&self, call: &Call, volume: &VolumeId) -> Result<(), PoolError>;

    /// Makes the device of a volume available on a host and says where. The same again gives the same answer.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when the volume has none; other [`PoolError`]s when the host cannot reach it.
    fn hand_over(&self, call: &Call, volume: &VolumeId, host: &HostId) -> Result<HandedOver, PoolError>;

    /// Ends what [`hand_over`](Self::hand_over) began. A host that does not have the device, and a volume without one, are fine.
    ///
    /// # Errors
    /// [`PoolError`] when the host may still have it.
    fn take_back(&self, call: &Call, volume: &VolumeId, host: &HostId) -> Result<(), PoolError>;

    /// Takes, restores or removes a snapshot of a whole device together with its label, each as one step. Taking one that is there
    /// and removing one that is not change nothing. After a restore the device may be larger than it was then.
    ///
    /// Requires [`StorageFeatures::snapshots`].
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for a restore of one that is not there; other [`PoolError`]s.
    fn snapshot(
        &self,
        _: &Call,
        volume: &VolumeId,
        _: &SnapshotId,
        _: SnapshotAction,
    ) -> Result<(), PoolError> {
        let message = format!("the storage keeps no snapshots, so none of volume {volume}");
        Err(PoolError::unsupported("snapshot", message))
    }
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<S: BlockStorage + ?Sized> BlockStorage for $pointer {
            fn pool(&self) -> &PoolId {
                (**self).pool()
            }
            fn features(&self) -> StorageFeatures {
                (**self).features()
            }
            fn prepare(&self, call: &Call) -> Result<(), PoolError> {
                (**self).prepare(call)
            }
            fn usage(&self, call: &Call) -> Result<PoolUsage, PoolError> {
                (**self).usage(call)
            }
            fn volumes(&self, call: &Call) -> Result<Vec<VolumeId>, PoolError> {
                (**self).volumes(call)
            }
            fn claim(&self, call: &Call, volume: &VolumeId) -> Result<Claim, PoolError> {
                (**self).claim(call, volume)
            }
            fn find(&self, call: &Call, volume: &VolumeId) -> Result<Option<Provided>, PoolError> {
                (**self).find(call, volume)
            }
            fn provision(
                &self,
                call: &Call,
                volume: &VolumeId,
                size: DeviceSize,
                label: &Label,
            ) -> Result<Provided, PoolError> {
                (**self).provision(call, volume, size, label)
            }
            fn relabel(&self, call: &Call, volume: &VolumeId, from: &Label, to: &Label) -> Result<(), PoolError> {
                (**self).relabel(call, volume, from, to)
            }
            fn resize(&self, call: &Call, volume: &VolumeId, size: DeviceSize) -> Result<Provided, PoolError> {
                (**self).resize(call, volume, size)
            }
            fn found_larger(&self, call: &Call, volume: &VolumeId, size: DeviceSize) -> Result<(), PoolError> {
                (**self).found_larger(call, volume, size)
            }
            fn remove(&self, call: &Call, volume: &VolumeId) -> Result<(), PoolError> {
                (**self).remove(call, volume)
            }
            fn hand_over(&self, call: &Call, volume: &VolumeId, host: &HostId) -> Result<HandedOver, PoolError> {
                (**self).hand_over(call, volume, host)
            }
            fn take_back(&self, call: &Call, volume: &VolumeId, host: &HostId) -> Result<(), PoolError> {
                (**self).take_back(call, volume, host)
            }
            fn snapshot(
                &self,
                call: &Call,
                volume: &VolumeId,
                snapshot: &SnapshotId,
                action: SnapshotAction,
            ) -> Result<(), PoolError> {
                (**self).snapshot(call, volume, snapshot, action)
            }
        }
    )+};
}
forward!(&S, Box<S>, std::sync::Arc<S>);
