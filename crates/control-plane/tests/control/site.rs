//! A database, a key file, a host with its disks: what outlives a process. And the check that all of it is in order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use strongroom_control_plane::{
    ControlPlane, NewOffering, NewPool, NewTemplate, NewVolume, PoolDrivers, PoolRecord, Recovered,
    VolumeRecord, VolumeState,
};
use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_endpoint_selector::{
    CreateDisk, DiskContent, Endpoint, EndpointSelector, Protection, RegisteredEndpoints, SourceImage,
};
use strongroom_passphrase_store::sqlite::Database;
use strongroom_passphrase_store::{FileKek, KeyEncryptionKey};
use strongroom_pool_file::{FilePool, FilePoolConfig};
use strongroom_storage_pool::fake::MemoryPool;
use strongroom_storage_pool::{ErrorKind, PoolDriver, PoolError};
use strongroom_types::{
    ByteSize, Call, Capability, DiskFormat, Finding, GuestSize, HostFacts, PoolId, VolumeId,
};
use tempfile::TempDir;

use crate::fragile::{FragileDriver, FragileHost, Fuse};

/// What a kill does not touch.
pub(crate) struct Site {
    place: TempDir,
    kek: Arc<dyn KeyEncryptionKey>,
    pub(crate) host: Arc<FragileHost>,
    pub(crate) fuse: Arc<Fuse>,
    pools: Mutex<BTreeMap<PoolId, Arc<dyn PoolDriver>>>,
    /// Pools of which the driver cannot even be opened.
    pub(crate) broken: Arc<Mutex<BTreeSet<PoolId>>>,
}

#[derive(Debug)]
struct Drivers {
    fuse: Arc<Fuse>,
    pools: BTreeMap<PoolId, Arc<dyn PoolDriver>>,
    broken: Arc<Mutex<BTreeSet<PoolId>>>,
}

impl PoolDrivers for Drivers {
    fn driver(&self, pool: &PoolRecord) -> Result<Arc<dyn PoolDriver>, PoolError> {
        if self.broken.lock().unwrap().contains(&pool.id) {
            return Err(PoolError::new(ErrorKind::Io, "open", "the array does not answer"));
        }
        let inner: Arc<dyn PoolDriver> = match (pool.kind.as_str(), self.pools.get(&pool.id)) {
            ("given", Some(driver)) => driver.clone(),
            ("file", _) => {
                let directory = pool.settings.get("directory").map(PathBuf::from).unwrap();
                Arc::new(FilePool::open(FilePoolConfig::new(pool.id.clone(), directory))?)
            }
            _ => return Err(PoolError::unsupported("open", "no driver for this kind")),
        };
        let fuse = self.fuse.clone();
        Ok(Arc::new(FragileDriver { inner, fuse }))
    }
}

/// A host that can do everything and reaches the pools.
pub(crate) fn able_host(name: &str, pools: &[&str]) -> HostFacts {
    let mut facts = HostFacts::new(name.parse().unwrap());
    facts.free_memory = ByteSize::gib(4);
    facts.free_cores = 4;
    facts.pools = pools.iter().map(|p| p.parse().unwrap()).collect();
    for capability in Capability::ALL {
        facts
            .capabilities
            .record(capability, Finding::Works("in memory".into()));
    }
    facts
}

pub(crate) fn mib(n: u64) -> GuestSize {
    GuestSize::new(n << 20).unwrap()
}

pub(crate) fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

impl Site {
    /// A pool `main` of files on a host `local`, and offerings `plain`, `plain-raw`, `secret` and `secret-raw`.
    pub(crate) fn new() -> (Self, Arc<ControlPlane>) {
        let (site, control) = Self::bare(able_host("local", &["main", "other"]));
        add_file_pool(&control, "main");
        (site, control)
    }

    /// The same with a second pool `other`, and a template `t` of 1 MiB.
    pub(crate) fn with_template() -> (Self, Arc<ControlPlane>) {
        let (site, control) = Self::new();
        add_file_pool(&control, "other");
        site.put_image("/images/t", "/content/t");
        let template = NewTemplate::new(id("t"), "/images/t", DiskFormat::Raw);
        control.add_template(&Call::new(), &template).unwrap();
        (site, control)
    }

    /// Puts a plain raw image of 1 MiB on the host, with the content that this path stands for.
    pub(crate) fn put_image(&self, path: &str, content: &str) {
        let content = SourceImage::new(Path::new(content), DiskFormat::Raw);
        let create = CreateDisk::new(
            Path::new(path),
            DiskFormat::Raw,
            mib(1),
            Protection::Plain,
            DiskContent::Template(content),
        );
        self.host.inner.run(&Call::new(), &create.into()).unwrap();
    }

    /// No pool yet.
    pub(crate) fn bare(facts: HostFacts) -> (Self, Arc<ControlPlane>) {
        // A killed process leaves the same on every file system, and here syncing costs nothing.
        let place = tempfile::tempdir_in("/dev/shm").unwrap();
        let kek = Arc::new(FileKek::create(place.path().join("kek")).unwrap());
        let fuse = Arc::new(Fuse::default());
        let host = FragileHost {
            inner: MemoryEndpoint::new(facts),
            fuse: fuse.clone(),
            backups: Mutex::default(),
        };
        let site = Self {
            place,
            kek,
            host: Arc::new(host),
            fuse,
            pools: Mutex::default(),
            broken: Arc::default(),
        };
        let control = site.start();
        for (name, encrypt, format) in [
            ("plain", false, DiskFormat::Qcow2),
            ("plain-raw", false, DiskFormat::Raw),
            ("secret", true, DiskFormat::Qcow2),
            ("secret-raw", true, DiskFormat::Raw),
        ] {
            control
                .create_offering(&NewOffering::new(id(name), encrypt, format))
                .unwrap();
        }
        (site, control)
    }

    /// Adds a pool in memory.
    pub(crate) fn add_memory(
        &self,
        control: Arc<ControlPlane>,
        pool: MemoryPool,
    ) -> (Arc<MemoryPool>, Arc<ControlPlane>) {
        let pool = Arc::new(pool);
        (pool.clone(), self.add_driver(control, pool))
    }

    /// Adds a pool with this driver.
    pub(crate) fn add_driver(
        &self,
        control: Arc<ControlPlane>,
        driver: Arc<dyn PoolDriver>,
    ) -> Arc<ControlPlane> {
        drop(control);
        let pool = driver.pool().clone();
        self.pools.lock().unwrap().insert(pool.clone(), driver);
        let control = self.start();
        control
            .add_pool(&Call::new(), &NewPool::new(pool, "given", []))
            .unwrap();
        control
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.place.path().join("strongroom.db")
    }

    /// A new process that has not recovered yet.
    pub(crate) fn start(&self) -> Arc<ControlPlane> {
        let mut endpoints = RegisteredEndpoints::new();
        endpoints.register(self.host.clone());
        self.start_with(Arc::new(endpoints))
    }

    pub(crate) fn start_with(&self, endpoints: Arc<dyn EndpointSelector>) -> Arc<ControlPlane> {
        self.start_all(endpoints, self.kek.clone())
    }

    /// A new process with a key-encryption key that does more than this site's own, around which it is made.
    pub(crate) fn start_with_kek<K: KeyEncryptionKey + 'static>(
        &self,
        kek: impl FnOnce(Arc<dyn KeyEncryptionKey>) -> K,
    ) -> Arc<ControlPlane> {
        let mut endpoints = RegisteredEndpoints::new();
        endpoints.register(self.host.clone());
        self.start_all(Arc::new(endpoints), Arc::new(kek(self.kek.clone())))
    }

    fn start_all(
        &self,
        endpoints: Arc<dyn EndpointSelector>,
        kek: Arc<dyn KeyEncryptionKey>,
    ) -> Arc<ControlPlane> {
        let drivers = Drivers {
            fuse: self.fuse.clone(),
            pools: self.pools.lock().unwrap().clone(),
            broken: self.broken.clone(),
        };
        let database = Database::open(self.database()).unwrap();
        Arc::new(ControlPlane::open(database, kek, Arc::new(drivers), endpoints).unwrap())
    }

    /// A new process that has recovered.
    #[track_caller]
    pub(crate) fn recover(&self) -> (Arc<ControlPlane>, Vec<Recovered>) {
        let control = self.start();
        let recovered = control.recover(&Call::new()).unwrap();
        (control, recovered)
    }

    /// SQL on the database, past the control plane.
    pub(crate) fn sql(&self, sql: &str) {
        rusqlite::Connection::open(self.database())
            .unwrap()
            .execute_batch(sql)
            .unwrap();
    }

    pub(crate) fn count(&self, table: &str) -> usize {
        let count: u32 = rusqlite::Connection::open(self.database())
            .unwrap()
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
            .unwrap();
        count.try_into().unwrap()
    }

    /// The volumes of which there is a file in a pool on the host.
    pub(crate) fn disks(&self) -> Vec<String> {
        let pools = [Path::new("/pools/main"), Path::new("/pools/other")];
        let mut paths = self.host.inner.paths();
        paths.retain(|path| path.parent().is_some_and(|place| pools.contains(&place)));
        let mut names: Vec<_> = paths.iter().map(|p| stem(p)).collect();
        names.sort();
        names
    }

    pub(crate) fn backups(&self) -> Vec<PathBuf> {
        self.host.backups.lock().unwrap().iter().cloned().collect()
    }

    /// Every volume is ready and proves itself; disks, keys, references, snapshots and header backups are exactly those of
    /// the volumes; no job and no attachment is left. Returns the volumes.
    #[track_caller]
    pub(crate) fn assert_sound(&self, control: &ControlPlane) -> Vec<VolumeRecord> {
        let volumes = control.volumes().unwrap();
        let (mut keys, mut references, mut backups) = (BTreeSet::new(), 0, Vec::new());
        for volume in &volumes {
            assert_eq!(volume.state, VolumeState::Ready, "{}", volume.id);
            assert_eq!(volume.disk_of, None, "{}", volume.id);
            let verified = control.verify_volume(&Call::new(), &volume.id).unwrap();
            let snapshots: Vec<_> = control
                .snapshots(&volume.id)
                .unwrap()
                .into_iter()
                .map(|s| s.id)
                .collect();
            assert_eq!(verified.facts.snapshots, snapshots, "{}", volume.id);
            let copies = control.header_backups(&volume.id).unwrap();
            if let Some(key) = &volume.passphrase {
                keys.insert(key.clone());
                references += 1 + snapshots.len() + copies.len();
            }
            backups.extend(copies.into_iter().map(|b| b.path));
        }
        let mut disks: Vec<_> = volumes.iter().map(|v| v.disk.to_string()).collect();
        disks.sort();
        assert_eq!(
            self.disks(),
            disks,
            "disks on the host and volumes in the database"
        );
        assert_eq!(
            self.backups(),
            backups,
            "header backups on the host and in the database"
        );
        assert_eq!(self.count("passphrases"), keys.len());
        assert_eq!(self.count("passphrase_references"), references);
        assert_eq!(self.count("jobs") + self.count("vm_jobs"), 0);
        assert_eq!(self.count("attachments"), 0);
        assert_eq!(self.count("exports WHERE made = 0"), 0);
        volumes
    }
}

/// Adds a pool of files in `/pools/<name>`.
#[track_caller]
pub(crate) fn add_file_pool(control: &ControlPlane, name: &str) {
    let settings = [("directory".to_owned(), format!("/pools/{name}"))];
    let pool = NewPool::new(id(name), "file", settings);
    control.add_pool(&Call::new(), &pool).unwrap();
}

/// The name of a volume from that of its file.
fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.split('.').next().unwrap().to_owned()
}

pub(crate) fn new_volume(name: &str, offering: &str) -> NewVolume {
    let mut new = NewVolume::new(id(offering), mib(1));
    new.id = Some(id(name));
    new
}

/// Makes a volume of 1 MiB.
#[track_caller]
pub(crate) fn create(control: &ControlPlane, name: &str, offering: &str) -> VolumeId {
    control
        .create_volume(&Call::new(), &new_volume(name, offering))
        .unwrap()
        .id
}
