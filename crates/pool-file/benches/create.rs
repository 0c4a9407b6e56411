//! What a pool adds to the making of empty encrypted volumes, as ratios against the bare tools in the same run.
//!
//! `cargo bench -p strongroom-pool-file --bench create`, with `-- 1000` for a thousand volumes, which is the default.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that cannot be made has failed"
)]

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{CreateDisk, DiskContent, Endpoint, Protection, RegisteredEndpoints};
use strongroom_exec::{CommandSpec, Program, Runner, SystemRunner, Watch};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_pool_file::{FilePool, FilePoolConfig};
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_storage_pool::{CreateVolume, OpContext, PoolDriver, VolumeContent, VolumeKey};
use strongroom_types::{Call, DiskFormat, EncryptionFormat, GuestSize};

/// What the guest of each volume sees.
const GUEST: u64 = 64 << 20;
/// The LUKS1 header that cryptsetup makes.
const HEADER: u64 = 2 << 20;

/// How many volumes are made in one way before it is the next one's turn.
const ROUND: usize = 20;

/// Does the work for each of these numbers on all cores, and says how long that took.
fn timed(numbers: Range<usize>, work: impl Fn(usize) + Sync) -> Duration {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(numbers.start);
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    match next.fetch_add(1, Ordering::Relaxed) {
                        n if n < numbers.end => work(n),
                        _ => break,
                    }
                }
            });
        }
    });
    begun.elapsed()
}

struct Bench {
    place: tempfile::TempDir,
    agent: Arc<HostAgent>,
    key: Passphrase,
}

impl Bench {
    fn directory(&self, name: &str) -> std::path::PathBuf {
        let path = self.place.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn runs(spec: &CommandSpec<'_>) {
        let done = SystemRunner::new().run(spec, &Watch::nobody()).unwrap();
        assert_eq!(done.code, 0, "{spec:?}: {}", done.message());
    }

    /// `cryptsetup luksFormat` on a sparse file, with the least cost of its key derivation, which is what a random key needs.
    fn format(&self, path: &Path) {
        File::create_new(path).unwrap().set_len(GUEST + HEADER).unwrap();
        let key = SecretFile::new(&self.key).unwrap();
        let mut spec = CommandSpec::new(Program::find("cryptsetup").unwrap())
            .args(["luksFormat", "--batch-mode", "--type", "luks1"])
            .args(["--pbkdf-force-iterations", "1000"]);
        let file = key.path_in_child(|descriptor| spec.pass(descriptor));
        Self::runs(&spec.arg("--key-file").arg(file).arg(path));
    }

    /// The same, and then what nobody should do without before a guest gets the disk: the key is tried.
    fn format_and_try(&self, path: &Path) {
        self.format(path);
        let key = SecretFile::new(&self.key).unwrap();
        let mut spec =
            CommandSpec::new(Program::find("cryptsetup").unwrap()).args(["open", "--test-passphrase"]);
        let file = key.path_in_child(|descriptor| spec.pass(descriptor));
        Self::runs(&spec.arg("--key-file").arg(file).arg(path));
        File::open(path).unwrap().sync_all().unwrap();
    }

    /// The host's command alone, without a pool.
    fn command(&self, path: &Path) {
        let protection = Protection::Luks {
            format: EncryptionFormat::Luks1,
            key: &self.key,
        };
        let guest = GuestSize::new(GUEST).unwrap();
        let create = CreateDisk::new(path, DiskFormat::Raw, guest, protection, DiskContent::Blank);
        self.agent.run(&Call::new(), &create.into()).unwrap();
    }
}

fn main() {
    let volumes = std::env::args()
        .filter_map(|a| a.parse().ok())
        .next()
        .unwrap_or(1000);
    let agent = HostAgent::new(
        "here".parse().unwrap(),
        ToolPaths::system(),
        Arc::new(SystemRunner::new()),
    );
    let bench = Bench {
        place: tempfile::tempdir().unwrap(),
        agent: Arc::new(agent),
        key: Passphrase::generate().unwrap(),
    };
    bench.agent.probe(&Call::new(), bench.place.path()).unwrap();
    bench.agent.reach("gold".parse().unwrap());
    let mut hosts = RegisteredEndpoints::new();
    hosts.register(bench.agent.clone());
    let call = Call::new();
    let cx = OpContext::new(&call, &hosts);
    let pool = |name: &str, factor: Option<u32>| {
        let config = FilePoolConfig::new("gold".parse().unwrap(), bench.directory(name));
        let config = factor.into_iter().fold(config, FilePoolConfig::promising_up_to);
        let pool = FilePool::open(config).unwrap();
        pool.prepare(&cx).unwrap();
        pool
    };
    let create = |pool: &FilePool, n: usize| {
        let (id, guest) = (format!("v{n}").parse().unwrap(), GuestSize::new(GUEST).unwrap());
        let key = VolumeKey::Encrypted(&bench.key);
        let request = CreateVolume::new(&id, guest, DiskFormat::Raw, key, VolumeContent::Blank);
        pool.create(&cx, &request).unwrap();
    };

    let (bare, tried, command) = (
        bench.directory("bare"),
        bench.directory("tried"),
        bench.directory("command"),
    );
    let (plain, counted) = (pool("pool", None), pool("counted", Some(100_000)));
    let look = |n: usize| {
        let id = format!("absent{n}").parse().unwrap();
        assert_eq!(plain.get(&cx, &id).unwrap(), None);
    };
    let work: [(&str, &(dyn Fn(usize) + Sync)); 6] = [
        ("`cryptsetup luksFormat`", &|n| {
            bench.format(&bare.join(n.to_string()))
        }),
        ("`cryptsetup luksFormat`, `open --test-passphrase`, sync", &|n| {
            bench.format_and_try(&tried.join(n.to_string()))
        }),
        ("the host agent's command", &|n| {
            bench.command(&command.join(n.to_string()))
        }),
        ("the look for a volume that is not there", &look),
        ("the pool", &|n| create(&plain, n)),
        ("the pool with an account of what is promised", &|n| {
            create(&counted, n)
        }),
    ];
    // In turns, so that whatever else the machine does falls on all of them alike.
    let mut times = work.map(|(what, _)| (what, Duration::ZERO));
    for begin in (0..volumes).step_by(ROUND) {
        for ((_, work), (_, time)) in work.iter().zip(&mut times) {
            *time += timed(begin..volumes.min(begin + ROUND), work);
        }
    }
    println!("{volumes} empty encrypted volumes\n");
    println!("| what | all | each | volumes a second, of `luksFormat` |");
    println!("|---|---|---|---|");
    let (_, first) = times[0];
    for (what, time) in times {
        println!(
            "| {what} | {:.1} s | {:.1} ms | {:.2} |",
            time.as_secs_f64(),
            time.as_secs_f64() * 1000.0 / volumes as f64,
            first.as_secs_f64() / time.as_secs_f64()
        );
    }
}
