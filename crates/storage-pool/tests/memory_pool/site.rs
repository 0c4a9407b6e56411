use std::sync::Arc;

use strongroom_endpoint_selector::RegisteredEndpoints;
use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_secret::Passphrase;
use strongroom_storage_pool::fake::MemoryPool;
use strongroom_storage_pool::{
    CreateVolume, ErrorKind, OpContext, PoolDriver, PoolError, ResizeVolume, SnapshotAction, SnapshotVolume,
    Volume, VolumeContent, VolumeKey,
};
use strongroom_types::{Call, Capability, DiskFormat, Finding, GuestSize, HostFacts, SnapshotId, VolumeId};

pub(crate) const MIB: u64 = 1 << 20;

pub(crate) fn guest(bytes: u64) -> GuestSize {
    GuestSize::new(bytes).unwrap()
}

pub(crate) fn volume(name: &str) -> VolumeId {
    name.parse().unwrap()
}

pub(crate) fn pool() -> MemoryPool {
    MemoryPool::new("gold".parse().unwrap())
}

/// A host that reaches pool `gold` and can do these things.
pub(crate) fn host(name: &str, capabilities: &[Capability]) -> HostFacts {
    let mut facts = HostFacts::new(name.parse().unwrap());
    facts.pools.insert("gold".parse().unwrap());
    for capability in capabilities {
        facts
            .capabilities
            .record(*capability, Finding::Works("seen".into()));
    }
    facts
}

/// A pool, the hosts that it may ask, a call and a key.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) pool: MemoryPool,
    pub(crate) hosts: RegisteredEndpoints,
    pub(crate) call: Call,
    pub(crate) key: Passphrase,
}

impl Site {
    /// With a host that can do all it takes.
    pub(crate) fn new(pool: MemoryPool) -> Self {
        let able = [
            Capability::PlainImages,
            Capability::Qcow2Luks,
            Capability::RawLuks1,
            Capability::Luks2,
        ];
        let mut site = Self::without_hosts(pool);
        site.hosts
            .register(Arc::new(MemoryEndpoint::new(host("node-1", &able))));
        site
    }

    pub(crate) fn without_hosts(pool: MemoryPool) -> Self {
        let (hosts, call) = (RegisteredEndpoints::new(), Call::new());
        Self {
            pool,
            hosts,
            call,
            key: Passphrase::generate().unwrap(),
        }
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
    ) -> Result<Volume, PoolError> {
        let id = volume(name);
        self.pool.create(
            &self.cx(),
            &CreateVolume::new(&id, guest(size), format, key, VolumeContent::Blank),
        )
    }

    pub(crate) fn create_with(
        &self,
        name: &str,
        format: DiskFormat,
        key: VolumeKey<'_>,
        content: VolumeContent<'_>,
    ) -> Result<Volume, PoolError> {
        let (cx, id) = (self.cx(), volume(name));
        let request = CreateVolume::new(&id, guest(4 * MIB), format, key, content);
        self.pool.create(&cx, &request)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Volume> {
        self.pool.get(&self.cx(), &volume(name)).unwrap()
    }

    pub(crate) fn grow(&self, name: &str, to: u64, key: VolumeKey<'_>) -> Result<Volume, PoolError> {
        self.pool
            .grow(&self.cx(), &ResizeVolume::new(&volume(name), guest(to), key))
    }

    pub(crate) fn snapshot(
        &self,
        name: &str,
        snapshot: &str,
        action: SnapshotAction,
    ) -> Result<Volume, PoolError> {
        self.snapshot_with(name, snapshot, action, self.encrypted())
    }

    pub(crate) fn snapshot_with(
        &self,
        name: &str,
        snapshot: &str,
        action: SnapshotAction,
        key: VolumeKey<'_>,
    ) -> Result<Volume, PoolError> {
        let snapshot: SnapshotId = snapshot.parse().unwrap();
        self.pool.snapshot(
            &self.cx(),
            &SnapshotVolume::new(&volume(name), &snapshot, action, key),
        )
    }
}

/// Fails unless the call failed in this way with these words.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(
    result: Result<T, PoolError>,
    kind: ErrorKind,
    words: &[&str],
) -> PoolError {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let text = told(&error);
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    error
}

/// An error with all its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
