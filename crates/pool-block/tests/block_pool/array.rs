//! A storage array made of files: it makes a device for each volume, in units of 8 MiB, maps it to a host as a loop device, and
//! keeps snapshots of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use strongroom_endpoint_selector::{DeviceIdentity, SnapshotAction};
use strongroom_pool_block::{BlockStorage, ErrorKind, HandedOver, Label, Provided, StorageFeatures, Supply};
use strongroom_storage_pool::{PoolError, PoolUsage};
use strongroom_types::{ByteSize, Call, DeviceSize, HostId, PoolId, SnapshotId, VolumeId};

use crate::machine::Loop;
use crate::site::{MIB, pool_id};

pub(crate) const UNIT: u64 = 8 * MIB;

#[derive(Debug)]
struct Lun {
    provided: Provided,
    mapped: Option<Loop>,
}

#[derive(Debug)]
pub(crate) struct Array {
    pool: PoolId,
    place: PathBuf,
    luns: Mutex<BTreeMap<VolumeId, Lun>>,
}

fn absent(operation: &'static str, volume: &VolumeId) -> PoolError {
    PoolError::new(
        ErrorKind::NotFound,
        operation,
        format!("no device of volume {volume}"),
    )
}

impl Array {
    pub(crate) fn new(place: &Path) -> Self {
        Self {
            pool: pool_id(),
            place: place.to_owned(),
            luns: Mutex::default(),
        }
    }

    fn luns(&self) -> MutexGuard<'_, BTreeMap<VolumeId, Lun>> {
        self.luns.lock().unwrap()
    }

    fn file(&self, volume: &VolumeId) -> PathBuf {
        self.place.join(format!("{volume}.lun"))
    }

    fn snapshot_file(&self, volume: &VolumeId, snapshot: &SnapshotId) -> PathBuf {
        self.place.join(format!("{volume}.{snapshot}.lun"))
    }

    /// Whether a host has the device of a volume.
    pub(crate) fn is_mapped(&self, volume: &VolumeId) -> bool {
        self.luns().get(volume).is_some_and(|lun| lun.mapped.is_some())
    }

    /// Has every snapshot of a volume say that it is something else.
    pub(crate) fn mislabel_snapshot(&self, volume: &VolumeId, label: &Label) {
        if let Some(lun) = self.luns().get_mut(volume) {
            lun.provided
                .snapshots
                .values_mut()
                .for_each(|l| *l = label.clone());
        }
    }

    /// The files that are there.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.place).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".lun")).collect()
    }
}

impl BlockStorage for Array {
    fn pool(&self) -> &PoolId {
        &self.pool
    }

    fn features(&self) -> StorageFeatures {
        let mut features = StorageFeatures::new(UNIT, Supply::Made);
        features.grow = true;
        features.snapshots = true;
        features.discard = true;
        features
    }

    fn prepare(&self, _: &Call) -> Result<(), PoolError> {
        Ok(())
    }

    fn usage(&self, _: &Call) -> Result<PoolUsage, PoolError> {
        let taken: u64 = self.luns().values().map(|lun| lun.provided.size.get()).sum();
        let total = ByteSize::gib(1);
        Ok(PoolUsage::new(total, ByteSize::bytes(total.get() - taken)))
    }

    fn volumes(&self, _: &Call) -> Result<Vec<VolumeId>, PoolError> {
        Ok(self.luns().keys().cloned().collect())
    }

    fn find(&self, _: &Call, volume: &VolumeId) -> Result<Option<Provided>, PoolError> {
        Ok(self.luns().get(volume).map(|lun| lun.provided.clone()))
    }

    fn provision(
        &self,
        _: &Call,
        volume: &VolumeId,
        size: DeviceSize,
        label: &Label,
    ) -> Result<Provided, PoolError> {
        let mut luns = self.luns();
        if let Some(there) = luns.get(volume) {
            if there.provided.label == *label {
                return Ok(there.provided.clone());
            }
            return Err(PoolError::new(
                ErrorKind::AlreadyExists,
                "provision",
                "there is one",
            ));
        }
        let size = DeviceSize::new(size.get().next_multiple_of(UNIT)).unwrap();
        File::create_new(self.file(volume))
            .unwrap()
            .set_len(size.get())
            .unwrap();
        let provided = Provided::new(size, label.clone());
        luns.insert(
            volume.clone(),
            Lun {
                provided: provided.clone(),
                mapped: None,
            },
        );
        Ok(provided)
    }

    fn relabel(&self, _: &Call, volume: &VolumeId, from: &Label, to: &Label) -> Result<(), PoolError> {
        let mut luns = self.luns();
        let lun = luns.get_mut(volume).ok_or_else(|| absent("relabel", volume))?;
        if lun.provided.label != *from && lun.provided.label != *to {
            return Err(PoolError::new(
                ErrorKind::Busy,
                "relabel",
                "it says something else",
            ));
        }
        lun.provided.label = to.clone();
        Ok(())
    }

    fn resize(&self, _: &Call, volume: &VolumeId, size: DeviceSize) -> Result<Provided, PoolError> {
        let mut luns = self.luns();
        let lun = luns.get_mut(volume).ok_or_else(|| absent("resize", volume))?;
        if lun.provided.size < size {
            lun.provided.size = DeviceSize::new(size.get().next_multiple_of(UNIT)).unwrap();
            let file = File::options().write(true).open(self.file(volume)).unwrap();
            file.set_len(lun.provided.size.get()).unwrap();
        }
        Ok(lun.provided.clone())
    }

    fn remove(&self, _: &Call, volume: &VolumeId) -> Result<(), PoolError> {
        if let Some(Lun { provided, mapped }) = self.luns().remove(volume) {
            drop(mapped);
            for snapshot in provided.snapshots.keys() {
                fs::remove_file(self.snapshot_file(volume, snapshot)).unwrap();
            }
            fs::remove_file(self.file(volume)).unwrap();
        }
        Ok(())
    }

    fn hand_over(&self, _: &Call, volume: &VolumeId, host: &HostId) -> Result<HandedOver, PoolError> {
        let mut luns = self.luns();
        let lun = luns.get_mut(volume).ok_or_else(|| absent("hand_over", volume))?;
        let file = self.file(volume);
        let serial = file.to_str().unwrap().to_owned();
        let mapped = lun.mapped.get_or_insert_with(|| Loop::on(file));
        lun.provided.hosts.insert(host.clone());
        let identity = DeviceIdentity::new(lun.provided.size, Some(serial));
        Ok(HandedOver::new(&mapped.path, identity))
    }

    fn take_back(&self, _: &Call, volume: &VolumeId, host: &HostId) -> Result<(), PoolError> {
        if let Some(lun) = self.luns().get_mut(volume)
            && lun.provided.hosts.remove(host)
        {
            lun.mapped = None;
        }
        Ok(())
    }

    fn snapshot(
        &self,
        _: &Call,
        volume: &VolumeId,
        snapshot: &SnapshotId,
        action: SnapshotAction,
    ) -> Result<(), PoolError> {
        let mut luns = self.luns();
        let lun = luns.get_mut(volume).ok_or_else(|| absent("snapshot", volume))?;
        let (device, kept) = (self.file(volume), self.snapshot_file(volume, snapshot));
        let taken = lun.provided.snapshots.get(snapshot).cloned();
        match (action, taken) {
            (SnapshotAction::Create, None) => {
                fs::copy(&device, &kept).unwrap();
                let label = lun.provided.label.clone();
                lun.provided.snapshots.insert(snapshot.clone(), label);
            }
            (SnapshotAction::Restore, Some(label)) => {
                assert!(lun.mapped.is_none(), "restored below a host that has the device");
                fs::copy(&kept, &device).unwrap();
                let file = File::options().write(true).open(&device).unwrap();
                file.set_len(lun.provided.size.get()).unwrap();
                lun.provided.label = label;
            }
            (SnapshotAction::Delete, Some(_)) => {
                fs::remove_file(&kept).unwrap();
                lun.provided.snapshots.remove(snapshot);
            }
            (SnapshotAction::Restore, None) => return Err(absent("snapshot", volume)),
            (SnapshotAction::Create, Some(_)) | (SnapshotAction::Delete, None) => {}
        }
        Ok(())
    }
}
