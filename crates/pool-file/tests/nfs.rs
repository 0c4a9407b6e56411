//! A pool on an NFS server that hangs in the middle of a write, in a guest with the kernel's client.

#![expect(clippy::unwrap_used, reason = "a test that cannot make its input has failed")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::RegisteredEndpoints;
use strongroom_exec::SystemRunner;
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_lab::{Export, Guest, NfsMount, NfsServer, in_guest};
use strongroom_pool_file::{FilePool, FilePoolConfig};
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{
    CreateVolume, ErrorKind, OpContext, PoolDriver, PoolError, SourceImage, Template, Volume, VolumeContent,
    VolumeKey,
};
use strongroom_types::{Call, DiskFormat, GuestSize, VolumeId};

const MIB: u64 = 1 << 20;
/// What a call is given, and what it may take longer on this slow machine.
const DEADLINE: Duration = Duration::from_secs(15);
const SLACK: Duration = Duration::from_secs(30);

struct Site {
    hosts: RegisteredEndpoints,
    key: Passphrase,
}

impl Site {
    fn new() -> Self {
        let agent = HostAgent::new(
            "here".parse().unwrap(),
            ToolPaths::system(),
            Arc::new(SystemRunner::new()),
        );
        agent.probe(&Call::new(), "/tmp".as_ref()).unwrap();
        for pool in ["nfs", "local"] {
            agent.reach(pool.parse().unwrap());
        }
        let mut hosts = RegisteredEndpoints::new();
        hosts.register(Arc::new(agent));
        Self {
            hosts,
            key: Passphrase::generate().unwrap(),
        }
    }

    fn open(&self, config: FilePoolConfig) -> FilePool {
        let pool = FilePool::open(config).unwrap();
        pool.prepare(&OpContext::new(&Call::new(), &self.hosts)).unwrap();
        pool
    }

    fn create(
        &self,
        pool: &FilePool,
        id: &str,
        size: u64,
        content: VolumeContent<'_>,
    ) -> Result<Volume, PoolError> {
        let (call, id) = (Call::new().with_timeout(DEADLINE), id.parse().unwrap());
        let (guest, key) = (GuestSize::new(size).unwrap(), VolumeKey::Encrypted(&self.key));
        let request = CreateVolume::new(&id, guest, DiskFormat::Raw, key, content);
        pool.create(&OpContext::new(&call, &self.hosts), &request)
    }

    fn get(&self, pool: &FilePool, id: &VolumeId) -> Result<Option<Volume>, PoolError> {
        let call = Call::new().with_timeout(DEADLINE);
        pool.get(&OpContext::new(&call, &self.hosts), id)
    }
}

/// Waits until the condition holds, for as long as a guest may take.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "waited in vain until {what}"
        );
        thread::yield_now();
    }
}

/// What the unfinished volume takes on the server so far, in bytes.
fn begun(export: &Path) -> u64 {
    let staging = fs::read_dir(export).unwrap().map(|entry| entry.unwrap().path());
    staging
        .filter(|path| path.to_string_lossy().contains(".strongroom-staging-"))
        .filter_map(|path| fs::metadata(path.join("half.luks")).ok())
        .map(|file| file.blocks() * 512)
        .sum()
}

fn volumes(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names
        .filter(|name| name != ".strongroom-pool" && name != "templates")
        .collect();
    names.sort();
    names
}

#[test]
fn a_server_that_hangs_in_the_middle_of_a_write_delays_its_pool_alone() {
    let guest = Guest::new()
        .with_nfs()
        .with_programs(["qemu-img", "cryptsetup"])
        .with_memory(1280)
        .with_timeout(Duration::from_secs(600));
    in_guest(&guest, || {
        let export = PathBuf::from("/tmp/export");
        for directory in ["/tmp/export", "/tmp/local"] {
            fs::create_dir_all(directory).unwrap();
        }
        let server = NfsServer::start(&Export::of(&export).unwrap()).unwrap();
        let mount = NfsMount::new("/mnt/pool", "hard").unwrap();
        let site = Site::new();
        let pool = site.open(FilePoolConfig::nfs(
            "nfs".parse().unwrap(),
            mount.path().to_owned(),
            "127.0.0.1:/pool",
        ));
        let local = site.open(FilePoolConfig::new("local".parse().unwrap(), "/tmp/local".into()));
        let image = PathBuf::from("/tmp/image");
        fs::write(&image, vec![0x5a; 64 << 20]).unwrap();
        let template = VolumeContent::Template(Template::unnamed(SourceImage::new(&image, DiskFormat::Raw)));
        let made = site.create(&pool, "whole", MIB, VolumeContent::Blank).unwrap();

        thread::scope(|scope| {
            let (site, pool) = (&site, &pool);
            let create = scope.spawn(move || {
                let begun = Instant::now();
                (site.create(pool, "half", 64 * MIB, template), begun.elapsed())
            });
            until("the copy is under way", || {
                begun(&export) > 3 * MIB || create.is_finished()
            });
            server.hang().unwrap();
            // The other pool does not notice, and neither does who asks this one wait for longer than it said.
            site.create(&local, "beside", MIB, VolumeContent::Blank).unwrap();
            let asked = Instant::now();
            let refused = site.get(pool, &made.id).unwrap_err();
            assert!(
                matches!(refused.kind(), ErrorKind::Io | ErrorKind::Deadline),
                "{refused:?}"
            );
            assert!(asked.elapsed() < DEADLINE + SLACK, "{:?}", asked.elapsed());
            let (half, time) = create.join().unwrap();
            let error = half.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Io | ErrorKind::Deadline),
                "{error:?}"
            );
            assert!(time < DEADLINE + SLACK, "{time:?}");
            println!("the create returned after {time:?}: {error}");
        });

        server.resume().unwrap();
        until("the host finds that the server answers", || {
            site.get(&pool, &made.id).is_ok()
        });
        assert_eq!(site.get(&pool, &made.id).unwrap(), Some(made.clone()));
        assert_eq!(
            site.create(&pool, "whole", MIB, VolumeContent::Blank).unwrap(),
            made
        );
        assert_eq!(site.get(&pool, &"half".parse().unwrap()).unwrap(), None);
        until("what was begun is out of work", || {
            let call = Call::new().with_timeout(DEADLINE);
            pool.recover(&OpContext::new(&call, &site.hosts)).unwrap();
            volumes(&export) == ["whole.luks"]
        });
        site.create(&pool, "half", MIB, VolumeContent::Blank).unwrap();
        assert_eq!(volumes(&export), ["half.luks", "whole.luks"]);
        assert_eq!(volumes("/tmp/local".as_ref()), ["beside.luks"]);
    });
}
