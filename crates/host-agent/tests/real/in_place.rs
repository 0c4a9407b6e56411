//! What changes a qcow2 disk in place is not stopped in the middle.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{Disk, Endpoint, ErrorKind, GrowDisk, SnapshotAction, SnapshotDisk};
use strongroom_exec::SystemRunner;
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_types::{Call, Cancellation, DiskFormat};

use crate::bench::{Bench, size};

/// An agent whose `qemu-img` says when it is about to do `action` and goes on when it may.
fn slow_agent(bench: &Bench, action: &str) -> HostAgent {
    let tools = bench.path("tools");
    fs::create_dir_all(&tools).unwrap();
    let place = bench.place.path().display();
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in {action}) : > {place}/waiting; while [ ! -e {place}/go ] && [ -d {place} ]; do read -r _ < /proc/self/stat; done;; esac\nexec /usr/bin/qemu-img \"$@\"\n"
    );
    let draft = bench.path("draft");
    fs::write(&draft, script).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&draft, tools.join("qemu-img")).unwrap();
    HostAgent::new(
        "slow".parse().unwrap(),
        ToolPaths::in_directory(&tools),
        Arc::new(SystemRunner::new()),
    )
}

#[test]
fn a_snapshot_or_a_grow_that_has_begun_is_finished_before_the_caller_is_told_of_its_end() {
    let bench = Bench::new();
    bench
        .create("disk", DiskFormat::Qcow2, 1 << 20, bench.luks())
        .unwrap();
    let location = bench.at("disk");
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks());
    let snapshot = "s".parse().unwrap();
    let take = SnapshotDisk::new(disk, &snapshot, SnapshotAction::Create);
    let grow = GrowDisk::new(disk, size(2 << 20));
    for (action, command) in [("snapshot", take.into()), ("resize", grow.into())] {
        let agent = slow_agent(&bench, action);
        let stop = Cancellation::new();
        let call = Call::new().with_cancellation(stop.clone());
        let error = std::thread::scope(|scope| {
            let work = scope.spawn(|| agent.run(&call, &command));
            while !bench.path("waiting").exists() {
                assert!(!work.is_finished(), "{:?}", work.join());
                std::thread::yield_now();
            }
            stop.cancel();
            // A runner that heeds it does so within 50 ms, and the work is over then.
            let begun = Instant::now();
            while !work.is_finished() && begun.elapsed() < Duration::from_millis(250) {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            fs::write(bench.path("go"), "").unwrap();
            work.join().unwrap().unwrap_err()
        });
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
        for name in ["waiting", "go"] {
            fs::remove_file(bench.path(name)).unwrap();
        }
        let verified = bench.verify(&location, DiskFormat::Qcow2, bench.luks()).unwrap();
        assert!(
            verified.checked.iter().any(|c| c == "the metadata is consistent"),
            "{verified:?}"
        );
        assert_eq!(verified.facts.snapshots, std::slice::from_ref(&snapshot));
        let expected = if action == "resize" { 2 << 20 } else { 1 << 20 };
        assert_eq!(verified.facts.guest, size(expected), "{action} was done");
    }
}
