//! Disks that let go of their base.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use strongroom_endpoint_selector::{
    CompareContent, Disk, DiskLocation, Endpoint, ErrorKind, FlattenDisk, GrowDisk, HostAnswer, Protection,
    ReplaceContent, Sameness, SnapshotAction, SnapshotDisk, SweepStaging, VerifyDisk,
};
use strongroom_exec::{CommandSpec, Completed, RunError, Runner, SystemRunner, Watch};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_image::Qcow2Header;
use strongroom_types::{Call, Cancellation, DiskFormat};

use crate::bench::{Bench, pattern, raw, size, tool};
use crate::canary::{digest, only_in, sha256sum};
use crate::overlays::{images, overlay};

const MIB: u64 = 1 << 20;

/// A disk of 5 MiB on a base of 4 MiB, in which a part was overwritten and another with zeros.
fn written<'b>(
    bench: &'b Bench,
    location: &'b DiskLocation,
    base: &'b Path,
    protection: Protection<'b>,
) -> Disk<'b> {
    overlay(bench, "disk", 5 * MIB, protection, raw(base)).unwrap();
    let part = bench.path("part");
    let mut bytes = vec![0; 1 << 20];
    bytes[..100_352].copy_from_slice(&pattern(100_352));
    fs::write(&part, bytes).unwrap();
    let disk = Disk::new(location, DiskFormat::Qcow2, protection).on(Some(raw(base)));
    bench.disk(ReplaceContent::new(disk, raw(&part).into()));
    fs::remove_file(&part).unwrap();
    disk
}

#[track_caller]
fn stands_alone(path: &Path) {
    let header = Qcow2Header::read(&mut fs::File::open(path).unwrap()).unwrap();
    assert_eq!(header.backing, None);
}

#[test]
fn a_flattened_disk_stands_alone_and_reads_as_before() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    let before_base = fs::read(&base).unwrap();
    for protection in [Protection::Plain, bench.luks()] {
        let location = bench.at("disk");
        let disk = written(&bench, &location, &base, protection);
        if protection.key().is_none() {
            let image = format!(
                "driver=qcow2,file.driver=file,file.filename={}",
                location.path().display()
            );
            let done = tool("qemu-io", &["-c", "discard 2M 1M", "--image-opts", &image]);
            assert_eq!(done.code, 0, "{}", done.message());
        }
        let before = digest(&bench, disk);
        let alone = disk.on(None);
        for said in [disk, alone, disk] {
            if bench.names().contains(&"disk".to_owned()) && said.base.is_none() {
                stands_alone(location.path());
            }
            let facts = bench.disk(FlattenDisk::new(said));
            assert_eq!((facts.guest, facts.base), (size(5 * MIB), None));
            assert_eq!(facts.location, location);
        }
        stands_alone(location.path());
        assert_eq!(digest(&bench, alone), before);
        bench.run(VerifyDisk::new(alone)).unwrap();
        assert_eq!(bench.names(), ["disk", "images"]);
        assert!(fs::read(&base).unwrap() == before_base);
        // Nothing of it is read from there any more.
        fs::rename(&base, bench.path("images/hidden")).unwrap();
        assert_eq!(digest(&bench, alone), before);
        fs::rename(bench.path("images/hidden"), &base).unwrap();
        if protection.key().is_some() {
            only_in(&bench, &["base.raw", "base.qcow2"]);
        }
        bench.disk(GrowDisk::new(alone, size(6 * MIB)));
        fs::remove_file(location.path()).unwrap();
    }
}

#[test]
fn the_keyslots_of_the_disk_before_are_destroyed_whatever_its_name_is() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    for name in ["disk", "replaced", "second", "other"] {
        overlay(&bench, name, 4 * MIB, bench.luks(), raw(&base)).unwrap();
        fs::hard_link(bench.path(name), bench.path("before")).unwrap();
        let (location, before) = (bench.at(name), bench.at("before"));
        let [disk, before] = [&location, &before]
            .map(|at| Disk::new(at, DiskFormat::Qcow2, bench.luks()).on(Some(raw(&base))));
        bench.run(VerifyDisk::new(before)).unwrap();
        bench.disk(FlattenDisk::new(disk));
        bench.run(VerifyDisk::new(disk.on(None))).unwrap();
        let gone = bench.run(VerifyDisk::new(before)).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::WrongKey, "{name}: {gone}");
        assert_eq!(bench.names().len(), 3, "{:?}", bench.names());
        fs::remove_file(bench.path("before")).unwrap();
        fs::remove_file(bench.path(name)).unwrap();
    }
}

#[test]
fn what_was_overwritten_with_zeros_does_not_become_the_base_again() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    let location = bench.at("disk");
    let mut expected = fs::read(&base).unwrap();
    expected[..1 << 20].fill(0);
    expected[..100_352].copy_from_slice(&pattern(100_352));
    expected.resize(5 << 20, 0);
    fs::write(bench.path("expected"), expected).unwrap();
    let disk = written(&bench, &location, &base, bench.luks());
    bench.disk(FlattenDisk::new(disk));
    assert_eq!(digest(&bench, disk.on(None)), sha256sum(&bench.path("expected")));
}

#[test]
fn a_disk_with_snapshots_inside_is_not_flattened() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    let location = bench.at("disk");
    let disk = written(&bench, &location, &base, Protection::Plain);
    let id = "one".parse().unwrap();
    bench.disk(SnapshotDisk::new(disk, &id, SnapshotAction::Create));
    let refused = bench.run(FlattenDisk::new(disk)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    bench.disk(SnapshotDisk::new(disk, &id, SnapshotAction::Delete));
    let done = tool(
        "qemu-img",
        &["snapshot", "-c", "somebody's", location.path().to_str().unwrap()],
    );
    assert_eq!(done.code, 0, "{}", done.message());
    let refused = bench.run(FlattenDisk::new(disk)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    bench.run(VerifyDisk::new(disk)).unwrap();
}

#[test]
fn a_disk_that_is_open_is_not_flattened_and_a_raw_one_stands_alone_anyway() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    let location = bench.at("disk");
    let disk = written(&bench, &location, &base, Protection::Plain);
    let busy = bench.while_qemu_has_open("disk", || bench.run(FlattenDisk::new(disk)).unwrap_err());
    assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
    bench.run(VerifyDisk::new(disk)).unwrap();
    bench.create("raw", DiskFormat::Raw, MIB, bench.luks()).unwrap();
    let location = bench.at("raw");
    let alone = Disk::new(&location, DiskFormat::Raw, bench.luks());
    assert_eq!(bench.disk(FlattenDisk::new(alone)).guest, size(MIB));
    assert_eq!(bench.names(), ["disk", "images", "raw"]);
}

#[test]
fn a_cancelled_flatten_leaves_the_disk_on_its_base() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    let location = bench.at("disk");
    let disk = written(&bench, &location, &base, bench.luks());
    let before = (digest(&bench, disk), fs::read(location.path()).unwrap());
    for end in [0.1, 0.5, 0.9] {
        let cancellation = Cancellation::new();
        let stop = cancellation.clone();
        let call = Call::new()
            .with_cancellation(cancellation)
            .with_progress(Arc::new(move |done| {
                if done >= end {
                    stop.cancel();
                }
            }));
        let stopped = bench
            .agent
            .run(&call, &FlattenDisk::new(disk).into())
            .unwrap_err();
        assert_eq!(stopped.kind(), ErrorKind::Cancelled, "{stopped}");
        assert!(fs::read(location.path()).unwrap() == before.1);
        assert_eq!(bench.names(), ["disk", "images"]);
    }
    bench.disk(FlattenDisk::new(disk));
    assert_eq!(digest(&bench, disk.on(None)), before.0);
}

/// Keeps the directory as it is before each tool runs and after the last one: as a kill there would leave it.
#[derive(Debug)]
struct Killed {
    pool: PathBuf,
    states: PathBuf,
    count: AtomicUsize,
    tools: Mutex<Vec<String>>,
}

impl Killed {
    fn keep(&self) {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let state = self.states.join(number.to_string());
        let done = tool(
            "cp",
            &["-a", self.pool.to_str().unwrap(), state.to_str().unwrap()],
        );
        assert_eq!(done.code, 0, "{}", done.message());
    }
}

impl Runner for Killed {
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Result<Completed, RunError> {
        self.keep();
        let what = command.arguments().next().unwrap_or_default();
        self.tools.lock().unwrap().push(what.display().to_string());
        SystemRunner::new().run(command, watch)
    }
}

#[test]
fn a_flatten_that_was_killed_at_any_tool_lost_nothing_and_is_finished_by_the_same_command() {
    let bench = Bench::new();
    let (pool, states) = (bench.path("pool"), bench.path("states"));
    fs::create_dir(&pool).unwrap();
    fs::create_dir(&states).unwrap();
    fs::create_dir(pool.join("images")).unwrap();
    let base = pool.join("images/base.raw");
    fs::write(&base, pattern(512 << 10)).unwrap();
    overlay(&bench, "pool/disk", 640 << 10, bench.luks(), raw(&base)).unwrap();
    let location = bench.at("pool/disk");
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks()).on(Some(raw(&base)));
    let part = bench.path("part");
    fs::write(&part, vec![0; 128 << 10]).unwrap();
    bench.disk(ReplaceContent::new(disk, raw(&part).into()));
    let before = digest(&bench, disk);

    let runner = Arc::new(Killed {
        pool: pool.clone(),
        states: states.clone(),
        count: AtomicUsize::new(0),
        tools: Mutex::default(),
    });
    let agent = HostAgent::new("killed".parse().unwrap(), ToolPaths::system(), runner.clone());
    agent.run(&Call::new(), &FlattenDisk::new(disk).into()).unwrap();
    runner.keep();
    let tools = runner.tools.lock().unwrap().clone();
    assert!(tools.iter().filter(|t| *t == "convert").count() >= 3, "{tools:?}");

    let (mut on_base, mut alone) = (0, 0);
    for number in 0..runner.count.load(Ordering::SeqCst) {
        let state = states.join(number.to_string());
        let (location, base) = (
            DiskLocation::File(state.join("disk")),
            state.join("images/base.raw"),
        );
        let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks()).on(Some(raw(&base)));
        let header = Qcow2Header::read(&mut fs::File::open(state.join("disk")).unwrap()).unwrap();
        let as_left = match header.backing {
            Some(_) => disk,
            None => disk.on(None),
        };
        if header.backing.is_some() {
            on_base += 1;
        } else {
            alone += 1;
        }
        assert_eq!(digest(&bench, as_left), before, "{number}");
        bench.disk(FlattenDisk::new(disk));
        stands_alone(location.path());
        assert_eq!(digest(&bench, disk.on(None)), before, "{number}");
        bench.run(SweepStaging::new(&state)).unwrap();
        let mut names: Vec<_> = fs::read_dir(&state)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["disk", "images"]);
        fs::remove_dir_all(&state).unwrap();
    }
    assert!(on_base > 5 && alone > 1, "{on_base} {alone} {tools:?}");
    let same = bench
        .run(CompareContent::new(disk.on(None), raw(&base).into()))
        .unwrap();
    assert_eq!(same, HostAnswer::Compared(Sameness::Different));
}
