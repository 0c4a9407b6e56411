use std::path::PathBuf;

use strongroom_endpoint_selector::SnapshotAction;
use strongroom_storage_pool::{ErrorKind, PoolError, PoolUsage, Reach};
use strongroom_types::{ByteSize, Call, DeviceSize, HostId, PoolId, SECTOR, SnapshotId, VolumeId};

use crate::shelf_device::{self, ShelfDevice};
use crate::shelf_file::{Assignment, ShelfFile};
use crate::{BlockStorage, Claim, HandedOver, Label, Provided, StorageFeatures, Supply};

/// A storage without an array: a fixed list of block devices, each of which a volume gets as a whole.
///
/// Which volume has which device is in one small file, which is replaced as a whole and locked for that, so that several processes
/// may have the shelf open, also with lists that differ. The file is the only record: without it nobody knows whose a device is.
/// A device that is gone from the list, has another serial number there or became smaller is an error for its volume, and
/// only for that.
#[derive(Debug)]
pub struct DeviceShelf {
    pool: PoolId,
    file: ShelfFile,
    devices: Vec<ShelfDevice>,
    reach: Reach,
}

impl DeviceShelf {
    /// The shelf of a pool: these devices, and this file for what is recorded of them. Nothing on a device is
    /// read.
    ///
    /// The file lies on a file system with locks; beside it there are others for locks, named like it with `.lock` at the end.
    ///
    /// # Errors
    /// [`InvalidRequest`](ErrorKind::InvalidRequest) when a path is not absolute or a device is on the list twice.
    pub fn open(
        pool: PoolId,
        file: impl Into<PathBuf>,
        devices: impl IntoIterator<Item = ShelfDevice>,
    ) -> Result<Self, PoolError> {
        let (file, devices) = (file.into(), Vec::from_iter(devices));
        if !file.is_absolute() {
            let message = format!("the path {} of the shelf's file is not absolute", file.display());
            return Err(PoolError::new(ErrorKind::InvalidRequest, "open", message));
        }
        shelf_device::check(&devices)?;
        Ok(Self {
            file: ShelfFile::new(file, pool.clone()),
            pool,
            devices,
            reach: Reach::Host,
        })
    }

    /// The same, with devices that more hosts than one reach, each by the same path.
    #[must_use]
    pub fn reached_by(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// The device of an assignment as it is on the list.
    fn listed(
        &self,
        operation: &'static str,
        volume: &VolumeId,
        assignment: &Assignment,
    ) -> Result<&ShelfDevice, PoolError> {
        let path = assignment.path.display();
        let wrong = |what: String| {
            let message = format!("volume {volume} is on {path}, {what}");
            PoolError::new(ErrorKind::WrongDisk, operation, message)
        };
        let device = self
            .devices
            .iter()
            .find(|d| d.path == assignment.path)
            .ok_or_else(|| wrong("which is not on the list of devices any more".to_owned()))?;
        let (listed, recorded) = (&device.identity.serial, &assignment.serial);
        if listed != recorded {
            return Err(wrong(format!(
                "which has serial number {listed:?} on the list, and had {recorded:?}"
            )));
        }
        if device.identity.size < assignment.size {
            return Err(wrong(format!(
                "which has {} bytes on the list, and had {}",
                device.identity.size.get(),
                assignment.size.get()
            )));
        }
        Ok(device)
    }

    fn provided(
        &self,
        operation: &'static str,
        volume: &VolumeId,
        assignment: &Assignment,
    ) -> Result<Provided, PoolError> {
        let device = self.listed(operation, volume, assignment)?;
        let size = assignment.size_of(device);
        Ok(Provided::new(size, assignment.label.clone()))
    }
}

impl Assignment {
    /// How large its device is: what the list says, or what a host found since.
    fn size_of(&self, device: &ShelfDevice) -> DeviceSize {
        self.grown
            .map_or(device.identity.size, |grown| grown.max(device.identity.size))
    }
}

fn missing(operation: &'static str, volume: &VolumeId) -> PoolError {
    let message = format!("volume {volume} has no device");
    PoolError::new(ErrorKind::NotFound, operation, message)
}

#[deny(clippy::missing_trait_methods)]
impl BlockStorage for DeviceShelf {
    fn pool(&self) -> &PoolId {
        &self.pool
    }

    fn features(&self) -> StorageFeatures {
        let mut features = StorageFeatures::new(SECTOR, Supply::Reused);
        features.reach = self.reach;
        features.grow = true;
        features
    }

    fn prepare(&self, call: &Call) -> Result<(), PoolError> {
        self.file.prepare(call)
    }

    fn usage(&self, _: &Call) -> Result<PoolUsage, PoolError> {
        let assignments = self.file.read("usage")?;
        let (mut total, mut free) = (0u64, 0u64);
        for ShelfDevice { path, identity } in &self.devices {
            let serial = identity.serial.as_deref();
            total = total.saturating_add(identity.size.get());
            if !assignments.values().any(|a| a.is_on(path, serial)) {
                free = free.saturating_add(identity.size.get());
            }
        }
        Ok(PoolUsage::new(ByteSize::bytes(total), ByteSize::bytes(free)))
    }

    fn volumes(&self, _: &Call) -> Result<Vec<VolumeId>, PoolError> {
        Ok(self.file.read("volumes")?.into_keys().collect())
    }

    fn claim(&self, call: &Call, volume: &VolumeId) -> Result<Claim, PoolError> {
        self.file.claim("claim", call, volume)
    }

    fn find(&self, _: &Call, volume: &VolumeId) -> Result<Option<Provided>, PoolError> {
        let assignments = self.file.read("find")?;
        let assignment = assignments.get(volume);
        assignment.map(|a| self.provided("find", volume, a)).transpose()
    }

    fn provision(
        &self,
        call: &Call,
        volume: &VolumeId,
        size: DeviceSize,
        label: &Label,
    ) -> Result<Provided, PoolError> {
        self.file.change("provision", call, |assignments| {
            if let Some(there) = assignments.get(volume) {
                if there.label == *label {
                    return self.provided("provision", volume, there);
                }
                let message = format!("volume {volume} has the device {} already", there.path.display());
                return Err(PoolError::new(ErrorKind::AlreadyExists, "provision", message));
            }
            let free = |path: &_, serial: Option<&_>| !assignments.values().any(|a| a.is_on(path, serial));
            let device = shelf_device::smallest(&self.devices, size, free)?;
            let assignment = Assignment {
                path: device.path.clone(),
                serial: device.identity.serial.clone(),
                size: device.identity.size,
                grown: None,
                label: label.clone(),
            };
            let provided = self.provided("provision", volume, &assignment)?;
            assignments.insert(volume.clone(), assignment);
            Ok(provided)
        })
    }

    fn relabel(&self, call: &Call, volume: &VolumeId, from: &Label, to: &Label) -> Result<(), PoolError> {
        self.file.change("relabel", call, |assignments| {
            let there = assignments
                .get_mut(volume)
                .ok_or_else(|| missing("relabel", volume))?;
            if there.label != *from && there.label != *to {
                let message = format!("somebody else works on volume {volume}");
                return Err(PoolError::new(ErrorKind::Busy, "relabel", message));
            }
            there.label = to.clone();
            Ok(())
        })
    }

    /// The operator makes a device larger and says so on the list. Here it is only looked whether it is large enough.
    fn resize(&self, call: &Call, volume: &VolumeId, size: DeviceSize) -> Result<Provided, PoolError> {
        self.file.change("resize", call, |assignments| {
            let there = assignments
                .get_mut(volume)
                .ok_or_else(|| missing("resize", volume))?;
            let provided = self.provided("resize", volume, there)?;
            if provided.size < size {
                let message = format!(
                    "{} has {} bytes, volume {volume} needs {}; make the device larger and say its new size on the list",
                    there.path.display(),
                    provided.size.get(),
                    size.get()
                );
                return Err(PoolError::new(ErrorKind::NoSpace, "resize", message));
            }
            there.size = self.listed("resize", volume, there)?.identity.size;
            Ok(provided)
        })
    }

    fn found_larger(&self, call: &Call, volume: &VolumeId, size: DeviceSize) -> Result<(), PoolError> {
        self.file.change("found_larger", call, |assignments| {
            let there = assignments
                .get_mut(volume)
                .ok_or_else(|| missing("found_larger", volume))?;
            let device = self.listed("found_larger", volume, there)?;
            if size > there.size_of(device) {
                there.grown = Some(size);
            }
            Ok(())
        })
    }

    fn remove(&self, call: &Call, volume: &VolumeId) -> Result<(), PoolError> {
        self.file.change("remove", call, |assignments| {
            assignments.remove(volume);
            Ok(())
        })
    }

    /// Every host that reaches the shelf has all its devices.
    fn hand_over(&self, _: &Call, volume: &VolumeId, _: &HostId) -> Result<HandedOver, PoolError> {
        let assignments = self.file.read("hand_over")?;
        let there = assignments
            .get(volume)
            .ok_or_else(|| missing("hand_over", volume))?;
        let device = self.listed("hand_over", volume, there)?;
        let mut identity = device.identity.clone();
        identity.size = there.size_of(device);
        Ok(HandedOver::new(device.path.clone(), identity))
    }

    fn take_back(&self, _: &Call, _: &VolumeId, _: &HostId) -> Result<(), PoolError> {
        Ok(())
    }

    fn snapshot(
        &self,
        _: &Call,
        volume: &VolumeId,
        _: &SnapshotId,
        _: SnapshotAction,
    ) -> Result<(), PoolError> {
        let message = format!("a shelf keeps no snapshots of devices, so none of volume {volume}");
        Err(PoolError::unsupported("snapshot", message))
    }
}
