use std::path::PathBuf;
use std::sync::Arc;

use strongroom_endpoint_selector::{
    CompareContent, Disk, Endpoint, HostAnswer, Protection, RegisteredEndpoints, ReplaceContent, Sameness,
    SourceImage,
};
use strongroom_exec::SystemRunner;
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_http_drivers::{InStoragePool, OnHostPool};
use strongroom_http_storage::Service;
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{
    CreateVolume, OpContext, PoolDriver, PoolError, ResizeVolume, SnapshotAction, SnapshotVolume, Template,
    Volume, VolumeContent, VolumeKey,
};
use strongroom_types::{
    Call, Capability, DiskFormat, EncryptionFormat, Finding, GuestSize, HostFacts, VolumeId,
};
use tempfile::TempDir;

pub(crate) const MIB: u64 = 1 << 20;

/// A service, a driver for it, and a host.
pub(crate) struct Site {
    pub(crate) driver: Box<dyn PoolDriver>,
    pub(crate) service: Option<Service>,
    pub(crate) hosts: RegisteredEndpoints,
    pub(crate) node: Arc<dyn Endpoint>,
    pub(crate) call: Call,
    pub(crate) key: Passphrase,
    pub(crate) luks: bool,
    pub(crate) directory: TempDir,
}

/// One with each driver.
pub(crate) fn both() -> [Site; 2] {
    [false, true].map(Site::new)
}

impl Site {
    pub(crate) fn new(luks: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let service = Service::start(directory.path(), "127.0.0.1:0".parse().unwrap()).unwrap();
        let node = host_of("shelf");
        let mut hosts = RegisteredEndpoints::new();
        hosts.register(Arc::clone(&node));
        let mut site = Self {
            driver: Box::new(InStoragePool::new("shelf".parse().unwrap(), service.address())),
            service: Some(service),
            hosts,
            node,
            call: Call::new(),
            key: Passphrase::generate().unwrap(),
            luks,
            directory,
        };
        site.connect();
        site
    }

    /// A new driver, which knows nothing of an earlier one.
    fn connect(&mut self) {
        let (pool, at) = ("shelf".parse().unwrap(), self.service().address());
        self.driver = if self.luks {
            Box::new(OnHostPool::new(pool, at))
        } else {
            Box::new(InStoragePool::new(pool, at))
        };
    }

    pub(crate) fn service(&self) -> &Service {
        self.service.as_ref().unwrap()
    }

    /// Ends the service and starts another on what it left.
    pub(crate) fn restart(&mut self) {
        self.service = None;
        self.service = Some(Service::start(self.directory.path(), "127.0.0.1:0".parse().unwrap()).unwrap());
        self.connect();
    }

    pub(crate) fn cx(&self) -> OpContext<'_> {
        OpContext::new(&self.call, &self.hosts)
    }

    pub(crate) fn encrypted(&self) -> VolumeKey<'_> {
        VolumeKey::Encrypted(&self.key)
    }

    pub(crate) fn create(&self, name: &str, mib: u64, key: VolumeKey<'_>) -> Result<Volume, PoolError> {
        self.create_with(name, mib, key, VolumeContent::Blank)
    }

    pub(crate) fn create_with(
        &self,
        name: &str,
        mib: u64,
        key: VolumeKey<'_>,
        content: VolumeContent<'_>,
    ) -> Result<Volume, PoolError> {
        let (id, guest) = (id(name), size(mib));
        let request = CreateVolume::new(&id, guest, DiskFormat::Raw, key, content);
        self.driver.create(&self.cx(), &request)
    }

    pub(crate) fn grow(&self, name: &str, mib: u64, key: VolumeKey<'_>) -> Result<Volume, PoolError> {
        self.driver
            .grow(&self.cx(), &ResizeVolume::new(&id(name), size(mib), key))
    }

    pub(crate) fn snapshot(&self, name: &str, action: SnapshotAction) -> Result<Volume, PoolError> {
        let (id, snapshot) = (id(name), "before".parse().unwrap());
        let request = SnapshotVolume::new(&id, &snapshot, action, self.encrypted());
        self.driver.snapshot(&self.cx(), &request)
    }

    /// A file with one MiB of this text.
    pub(crate) fn image(&self, text: &str) -> PathBuf {
        let path = self.directory.path().join(format!("{}.raw", text.len()));
        let mut bytes = text
            .repeat(usize::try_from(MIB).unwrap() / text.len() + 1)
            .into_bytes();
        bytes.truncate(usize::try_from(MIB).unwrap());
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn protection(&self) -> Protection<'_> {
        if self.luks {
            Protection::Luks {
                format: EncryptionFormat::Luks1,
                key: &self.key,
            }
        } else {
            Protection::Plain
        }
    }

    /// What a guest would do: attach the encrypted volume, write the text over its beginning, and detach it.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let (image, at) = (
            self.image(text),
            self.driver.attach(&self.cx(), &id(name), &host()).unwrap(),
        );
        let disk = Disk::new(&at.location, DiskFormat::Raw, self.protection());
        let source = SourceImage::new(&image, DiskFormat::Raw);
        self.node
            .run(&self.call, &ReplaceContent::new(disk, source.into()).into())
            .unwrap();
        self.driver.detach(&self.cx(), &id(name), &host()).unwrap();
    }

    /// Whether a guest reads the text at the beginning. The rest of the volume must never have been written.
    pub(crate) fn reads(&self, name: &str, text: &str) -> bool {
        let (image, at) = (
            self.image(text),
            self.driver.attach(&self.cx(), &id(name), &host()).unwrap(),
        );
        assert_eq!(at.encryption, self.luks.then_some(EncryptionFormat::Luks1));
        let disk = Disk::new(&at.location, DiskFormat::Raw, self.protection());
        let source = SourceImage::new(&image, DiskFormat::Raw);
        let answer = self
            .node
            .run(&self.call, &CompareContent::new(disk, source.into()).into())
            .unwrap();
        self.driver.detach(&self.cx(), &id(name), &host()).unwrap();
        answer == HostAnswer::Compared(Sameness::Identical)
    }

    /// Every byte that the service keeps of its volumes.
    pub(crate) fn at_rest(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut directories = vec![self.directory.path().join("volumes")];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    all.extend(std::fs::read(path).unwrap());
                }
            }
        }
        all
    }
}

/// The agent of this machine, as a host that reaches the pool. What it can do, the tests find out.
fn host_of(pool: &str) -> Arc<dyn Endpoint> {
    let agent = HostAgent::new(host(), ToolPaths::system(), Arc::new(SystemRunner::new()));
    let mut facts = HostFacts::new(host());
    for capability in [Capability::PlainImages, Capability::RawLuks1] {
        let works = Finding::Works("taken for granted here".into());
        facts.capabilities.record(capability, works);
    }
    agent.restore(facts);
    agent.reach(pool.parse().unwrap());
    Arc::new(agent)
}

pub(crate) fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

pub(crate) fn id(name: &str) -> VolumeId {
    name.parse().unwrap()
}

pub(crate) fn host() -> strongroom_types::HostId {
    "node-1".parse().unwrap()
}

pub(crate) fn size(mib: u64) -> GuestSize {
    GuestSize::new(mib * MIB).unwrap()
}

pub(crate) fn template(path: &std::path::Path) -> VolumeContent<'_> {
    VolumeContent::Template(Template::unnamed(SourceImage::new(path, DiskFormat::Raw)))
}
