use std::sync::Arc;

use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_endpoint_selector::{DeviceFacts, Endpoint, RegisteredEndpoints};
use strongroom_pool_block::{BlockPool, BlockStorage, DeviceShelf, ErrorKind, ShelfDevice};
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{
    CloneKey, CloneVolume, CreateVolume, DiskLocation, FlattenVolume, OpContext, PoolDriver, PoolError,
    ResizeVolume, SnapshotAction, SnapshotVolume, Volume, VolumeContent, VolumeKey,
};
use strongroom_types::{
    Call, Capability, DeviceSize, DiskFormat, Finding, GuestSize, HostFacts, PoolId, VolumeId,
};
use tempfile::TempDir;

use crate::fuse::{Fuse, Fused};

pub(crate) const MIB: u64 = 1 << 20;

pub(crate) fn guest(bytes: u64) -> GuestSize {
    GuestSize::new(bytes).unwrap()
}

pub(crate) fn volume(name: &str) -> VolumeId {
    name.parse().unwrap()
}

pub(crate) fn pool_id() -> PoolId {
    "disks".parse().unwrap()
}

/// A pool, the hosts that it may ask, a call and a key.
#[derive(Debug)]
pub(crate) struct Site<S> {
    pub(crate) pool: BlockPool<Fused<S>>,
    pub(crate) hosts: RegisteredEndpoints,
    pub(crate) call: Call,
    pub(crate) key: Passphrase,
    pub(crate) fuse: Fuse,
}

impl<S: BlockStorage> Site<S> {
    /// A pool as a program that was just started opens it, prepared.
    pub(crate) fn new<E: Endpoint + 'static>(storage: S, host: E) -> Self {
        let fuse = Fuse::default();
        let mut hosts = RegisteredEndpoints::new();
        hosts.register(Arc::new(Fused {
            inner: host,
            fuse: fuse.clone(),
        }));
        let site = Self {
            pool: BlockPool::new(Fused {
                inner: storage,
                fuse: fuse.clone(),
            }),
            hosts,
            call: Call::new(),
            key: Passphrase::generate().unwrap(),
            fuse,
        };
        site.pool.prepare(&site.cx()).unwrap();
        site
    }

    pub(crate) fn cx(&self) -> OpContext<'_> {
        OpContext::new(&self.call, &self.hosts)
    }

    pub(crate) fn encrypted(&self) -> VolumeKey<'_> {
        VolumeKey::Encrypted(&self.key)
    }

    pub(crate) fn create(
        &self,
        name: &str,
        size: u64,
        format: DiskFormat,
        key: VolumeKey<'_>,
        content: VolumeContent<'_>,
    ) -> Result<Volume, PoolError> {
        let volume = volume(name);
        let request = CreateVolume::new(&volume, guest(size), format, key, content);
        self.pool.create(&self.cx(), &request)
    }

    pub(crate) fn get(&self, name: &str) -> Result<Option<Volume>, PoolError> {
        self.pool.get(&self.cx(), &volume(name))
    }

    pub(crate) fn delete(&self, name: &str) -> Result<(), PoolError> {
        self.pool.delete(&self.cx(), &volume(name))
    }

    pub(crate) fn grow(&self, name: &str, to: u64, key: VolumeKey<'_>) -> Result<Volume, PoolError> {
        let volume = volume(name);
        self.pool
            .grow(&self.cx(), &ResizeVolume::new(&volume, guest(to), key))
    }

    pub(crate) fn shrink(&self, name: &str, to: u64, key: VolumeKey<'_>) -> Result<Volume, PoolError> {
        let volume = volume(name);
        self.pool
            .shrink(&self.cx(), &ResizeVolume::new(&volume, guest(to), key))
    }

    pub(crate) fn flatten(&self, name: &str) -> Result<Volume, PoolError> {
        let volume = volume(name);
        self.pool
            .flatten(&self.cx(), &FlattenVolume::new(&volume, self.encrypted()))
    }

    pub(crate) fn forget(&self, template: &str) -> Result<(), PoolError> {
        self.pool.forget_template(&self.cx(), &template.parse().unwrap())
    }

    pub(crate) fn snapshot(
        &self,
        name: &str,
        action: SnapshotAction,
        key: VolumeKey<'_>,
    ) -> Result<Volume, PoolError> {
        let (volume, snapshot) = (volume(name), "s".parse().unwrap());
        let request = SnapshotVolume::new(&volume, &snapshot, action, key);
        self.pool.snapshot(&self.cx(), &request)
    }

    pub(crate) fn clone_with(
        &self,
        source: &str,
        source_key: VolumeKey<'_>,
        name: &str,
        key: CloneKey<'_>,
    ) -> Result<Volume, PoolError> {
        let (source, volume) = (volume(source), volume(name));
        let request = CloneVolume::new(&source, source_key, &volume, key);
        self.pool.clone_volume(&self.cx(), &request)
    }

    /// Where a volume is, on the host `node`.
    pub(crate) fn location(&self, name: &str) -> DiskLocation {
        let host = "node".parse().unwrap();
        let attached = self.pool.attach(&self.cx(), &volume(name), &host).unwrap();
        attached.location
    }

    pub(crate) fn free(&self) -> u64 {
        self.pool.usage(&self.cx()).unwrap().free.get()
    }
}

/// A host in memory with devices, and the shelf of these devices.
#[derive(Debug)]
pub(crate) struct Memory {
    place: TempDir,
    pub(crate) node: Arc<MemoryEndpoint>,
    pub(crate) devices: Vec<ShelfDevice>,
}

impl Memory {
    /// Devices of these sizes: `/dev/by-id/0` and so on, with serial numbers `serial-0` and so on.
    pub(crate) fn new(sizes: &[u64]) -> Self {
        let node = Arc::new(MemoryEndpoint::new(host("node")));
        let devices = sizes.iter().enumerate().map(|(number, size)| {
            let (path, size) = (format!("/dev/by-id/{number}"), DeviceSize::new(*size).unwrap());
            let serial = Some(format!("serial-{number}"));
            let mut facts = DeviceFacts::new(&path, size);
            facts.serial.clone_from(&serial);
            node.add_device(facts);
            ShelfDevice::new(path, size, serial)
        });
        let devices = devices.collect();
        Self {
            // Every step writes and syncs the file of the shelf, which a disk takes its time for.
            place: tempfile::tempdir_in("/dev/shm").unwrap(),
            node,
            devices,
        }
    }

    pub(crate) fn shelf_file(&self) -> std::path::PathBuf {
        self.place.path().join("shelf")
    }

    pub(crate) fn shelf(&self) -> DeviceShelf {
        DeviceShelf::open(pool_id(), self.shelf_file(), self.devices.clone()).unwrap()
    }

    pub(crate) fn site(&self) -> Site<DeviceShelf> {
        Site::new(self.shelf(), self.node.clone())
    }
}

/// A host that can do all it takes.
pub(crate) fn host(name: &str) -> HostFacts {
    let mut facts = HostFacts::new(name.parse().unwrap());
    facts.pools.insert(pool_id());
    for capability in [
        Capability::PlainImages,
        Capability::Qcow2Luks,
        Capability::RawLuks1,
        Capability::EncryptedOverlay,
    ] {
        facts
            .capabilities
            .record(capability, Finding::Works("seen".into()));
    }
    facts
}

/// Fails unless the call failed in this way with these words.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, PoolError>, kind: ErrorKind, words: &[&str]) {
    let error = result.unwrap_err();
    let text = told(&error);
    assert_eq!(error.kind(), kind, "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

/// An error with all its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
