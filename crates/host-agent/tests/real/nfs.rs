//! A real NFS server, in a guest of the lab, which hangs, and goes on.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{
    CreateDisk, Disk, DiskContent, DiskLocation, Endpoint, ErrorKind, GrowDisk, HostAnswer, HostCommand,
    Locking, MarkDirectory, OpenDirectory, SnapshotAction, SnapshotDisk, SweepStaging, VerifyDisk,
};
use strongroom_exec::SystemRunner;
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_lab::{Export, Guest, NfsMount, NfsServer, in_guest};
use strongroom_types::{Call, DiskFormat};

use crate::bench::{Bench, pattern, raw, size};
use crate::hook::Hook;

const MIB: u64 = 1 << 20;
const QCOW2: DiskFormat = DiskFormat::Qcow2;

/// How long a caller waits, in a guest that is emulated.
const TIMEOUT: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(5);

fn guest() -> Guest {
    Guest::new()
        .with_nfs()
        .with_programs(["qemu-img", "cryptsetup"])
        .with_memory(768)
}

fn export() -> Export {
    fs::create_dir_all("/tmp/export").unwrap();
    Export::of("/tmp/export").unwrap()
}

/// Waits until something is so.
#[track_caller]
/// Asks until it is so. In between the guest's only processor is left to the server and the client, which have to do it.
fn until(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(120), "it never came");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[test]
fn a_pool_on_nfs_lives_and_is_left_alone_while_its_server_hangs() {
    in_guest(&guest(), || {
        let server = NfsServer::start(&export()).unwrap();
        let pool = NfsMount::new("/mnt/pool", "hard").unwrap();
        let bench = Bench::new();
        let one = "one".parse().unwrap();
        let HostAnswer::Directory(facts) = bench.run(MarkDirectory::new(pool.path(), &one)).unwrap() else {
            panic!("not a directory")
        };
        assert_eq!((facts.kind.as_str(), facts.writable), ("nfs", true));
        assert_eq!(facts.pool, Some(one));
        assert_eq!(facts.locking, Locking::Works);
        assert!(
            facts.clock_skew.is_some_and(|ms| ms.abs() < 1000),
            "{:?}",
            facts.clock_skew
        );
        let mount = facts.mount.unwrap();
        assert_eq!(
            (mount.source.as_str(), mount.kind.as_str()),
            ("127.0.0.1:/pool", "nfs4")
        );
        assert!(mount.options.contains(&"hard".to_owned()), "{mount:?}");

        let path = pool.path().join("disk");
        let make = |path| CreateDisk::new(path, QCOW2, size(MIB), bench.luks(), DiskContent::Blank);
        bench.disk(make(&path));
        assert_eq!(
            bench.run(make(&path)).unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
        let location = DiskLocation::file(&path);
        let disk = Disk::new(&location, QCOW2, bench.luks());
        assert_eq!(
            bench.disk(GrowDisk::new(disk, size(2 * MIB))).guest,
            size(2 * MIB)
        );
        let id = "first".parse().unwrap();
        bench.disk(SnapshotDisk::new(disk, &id, SnapshotAction::Create));

        server.hang().unwrap();
        let limited = || Call::new().with_timeout(TIMEOUT);
        let (open, verify) = (OpenDirectory::new(pool.path()), VerifyDisk::new(disk));
        let begun = Instant::now();
        let silent = bench.agent.run(&limited(), &open.into()).unwrap_err();
        assert_eq!(silent.kind(), ErrorKind::Io, "{silent}");
        assert!(begun.elapsed() < TIMEOUT + SLACK, "{:?}", begun.elapsed());
        let begun = Instant::now();
        for command in [HostCommand::from(open), verify.into(), make(&path).into()] {
            let silent = bench.agent.run(&limited(), &command).unwrap_err();
            assert_eq!(silent.kind(), ErrorKind::Io, "{silent}");
        }
        assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
        bench.disk(make(&bench.path("near")));

        server.resume().unwrap();
        until(|| bench.run(open).is_ok());
        bench.run(verify).unwrap();
    });
}

#[test]
fn a_disk_that_is_made_while_its_server_hangs_is_not_there_and_can_be_made_later() {
    in_guest(&guest(), || {
        let server = Arc::new(NfsServer::start(&export()).unwrap());
        let pool = NfsMount::new("/mnt/pool", "hard").unwrap();
        let bench = Bench::new();
        let template = bench.path("template");
        fs::write(&template, pattern(4 << 20)).unwrap();
        let (hanging, once) = (server.clone(), AtomicBool::new(false));
        let hook = Hook::before(move |_, command| {
            let copies = command.arguments().any(|word| word == "convert");
            if copies && !once.swap(true, Ordering::SeqCst) {
                hanging.hang().unwrap();
            }
        });
        let agent = HostAgent::new("here".parse().unwrap(), ToolPaths::system(), Arc::new(hook));
        let path = pool.path().join("disk");
        let content = DiskContent::Template(raw(&template));
        let create = CreateDisk::new(&path, QCOW2, size(4 * MIB), bench.luks(), content);
        let begun = Instant::now();
        let call = Call::new().with_timeout(2 * TIMEOUT);
        let silent = agent.run(&call, &create.into()).unwrap_err();
        assert_eq!(silent.kind(), ErrorKind::Io, "{silent}");
        assert!(begun.elapsed() < 2 * TIMEOUT + SLACK, "{:?}", begun.elapsed());

        server.resume().unwrap();
        let open = OpenDirectory::new(pool.path());
        until(|| agent.run(&Call::new(), &open.into()).is_ok());
        assert!(!path.exists());
        bench.run(SweepStaging::new(pool.path())).unwrap();
        assert_eq!(fs::read_dir(pool.path()).unwrap().count(), 0);
        let plain = HostAgent::new(
            "here".parse().unwrap(),
            ToolPaths::system(),
            Arc::new(SystemRunner::new()),
        );
        plain.run(&Call::new(), &create.into()).unwrap();
        let location = DiskLocation::file(&path);
        bench.verify(&location, QCOW2, bench.luks()).unwrap();
    });
}
