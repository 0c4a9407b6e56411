use std::path::Path;
use std::sync::Arc;

use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_endpoint_selector::{DirectoryFacts, EndpointSelector, RegisteredEndpoints};
use strongroom_pool_file::{FilePool, FilePoolConfig};
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{
    CloneKey, CloneVolume, CreateVolume, ErrorKind, FlattenVolume, OpContext, PoolDriver, PoolError,
    ResizeVolume, SnapshotAction, SnapshotVolume, SourceImage, Template, Volume, VolumeContent, VolumeKey,
};
use strongroom_types::{
    ByteSize, Call, Capability, DiskFormat, Finding, GuestSize, HostFacts, TemplateId, VolumeId,
};

pub(crate) const MIB: u64 = 1 << 20;

pub(crate) fn guest(bytes: u64) -> GuestSize {
    GuestSize::new(bytes).unwrap()
}

pub(crate) fn volume(name: &str) -> VolumeId {
    name.parse().unwrap()
}

pub(crate) fn config() -> FilePoolConfig {
    FilePoolConfig::new("main".parse().unwrap(), "/pool".into())
}

/// A host that reaches pool `main` and can do these things.
pub(crate) fn host(name: &str, capabilities: &[Capability]) -> Arc<MemoryEndpoint> {
    let mut facts = HostFacts::new(name.parse().unwrap());
    facts.pools.insert("main".parse().unwrap());
    for capability in capabilities {
        facts
            .capabilities
            .record(*capability, Finding::Works("seen".into()));
    }
    let node = Arc::new(MemoryEndpoint::new(facts));
    node.set_directory(directory("/pool", true));
    node
}

/// What a directory is that was prepared for pool `main`.
pub(crate) fn directory(path: &str, writable: bool) -> DirectoryFacts {
    let (total, free) = (ByteSize::gib(4), ByteSize::gib(3));
    let mut facts = DirectoryFacts::new(path.into(), 1, "ext4".into(), total, free, writable);
    facts.pool = Some("main".parse().unwrap());
    facts
}

/// A raw image that is no pool's, for one volume.
pub(crate) fn unnamed(path: &Path) -> VolumeContent<'_> {
    VolumeContent::Template(Template::unnamed(SourceImage::new(path, DiskFormat::Raw)))
}

/// A raw image that the pool keeps by this name.
pub(crate) fn named<'a>(template: &'a TemplateId, path: &'a Path) -> Template<'a> {
    Template::named(template, SourceImage::new(path, DiskFormat::Raw))
}

/// A pool, the hosts that it may ask, a call and a key.
#[derive(Debug)]
pub(crate) struct Site<S> {
    pub(crate) pool: FilePool,
    pub(crate) hosts: S,
    pub(crate) call: Call,
    pub(crate) key: Passphrase,
}

/// With one host that can do all it takes.
pub(crate) fn in_memory(config: FilePoolConfig) -> (Site<RegisteredEndpoints>, Arc<MemoryEndpoint>) {
    let node = host(
        "node-1",
        &[
            Capability::PlainImages,
            Capability::Qcow2Luks,
            Capability::RawLuks1,
            Capability::EncryptedOverlay,
        ],
    );
    let mut hosts = RegisteredEndpoints::new();
    hosts.register(node.clone());
    (Site::new(config, hosts), node)
}

impl<S: EndpointSelector> Site<S> {
    pub(crate) fn new(config: FilePoolConfig, hosts: S) -> Self {
        let (pool, call) = (FilePool::open(config).unwrap(), Call::new());
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
        self.create_with(name, size, format, key, VolumeContent::Blank)
    }

    pub(crate) fn create_with(
        &self,
        name: &str,
        size: u64,
        format: DiskFormat,
        key: VolumeKey<'_>,
        content: VolumeContent<'_>,
    ) -> Result<Volume, PoolError> {
        self.pool.create(
            &self.cx(),
            &CreateVolume::new(&volume(name), guest(size), format, key, content),
        )
    }

    pub(crate) fn get(&self, name: &str) -> Result<Option<Volume>, PoolError> {
        self.pool.get(&self.cx(), &volume(name))
    }

    pub(crate) fn delete(&self, name: &str) -> Result<(), PoolError> {
        self.pool.delete(&self.cx(), &volume(name))
    }

    pub(crate) fn grow(&self, name: &str, to: u64, key: VolumeKey<'_>) -> Result<Volume, PoolError> {
        self.pool
            .grow(&self.cx(), &ResizeVolume::new(&volume(name), guest(to), key))
    }

    pub(crate) fn shrink(&self, name: &str, to: u64, key: VolumeKey<'_>) -> Result<Volume, PoolError> {
        self.pool
            .shrink(&self.cx(), &ResizeVolume::new(&volume(name), guest(to), key))
    }

    pub(crate) fn clone(
        &self,
        source: &str,
        source_key: VolumeKey<'_>,
        name: &str,
        key: VolumeKey<'_>,
    ) -> Result<Volume, PoolError> {
        let (source, name) = (volume(source), volume(name));
        let request = CloneVolume::new(&source, source_key, &name, CloneKey::Own(key));
        self.pool.clone_volume(&self.cx(), &request)
    }

    pub(crate) fn flatten(&self, name: &str, key: VolumeKey<'_>) -> Result<Volume, PoolError> {
        self.pool
            .flatten(&self.cx(), &FlattenVolume::new(&volume(name), key))
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
        let snapshot = "s".parse().unwrap();
        self.pool.snapshot(
            &self.cx(),
            &SnapshotVolume::new(&volume(name), &snapshot, action, key),
        )
    }
}

/// Fails unless the call failed in this way with these words.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, PoolError>, kind: ErrorKind, words: &[&str]) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let text = told(&error);
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

/// An error with all its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
