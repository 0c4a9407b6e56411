//! A file system that is full in the middle of it: an error that says so, nothing left over, and every disk still opens.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{
    BackUpHeader, CreateDisk, Disk, DiskContent, DiskLocation, EraseKeyslots, ErrorKind, GrowDisk,
    Protection, ReplaceContent, SnapshotAction, SnapshotDisk,
};
use strongroom_types::DiskFormat;

use crate::bench::{Bench, pattern, raw, size, tool};

/// A small file system, unmounted when dropped.
pub(crate) struct Small(pub(crate) PathBuf);

impl Small {
    fn new(path: PathBuf, options: &str) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "mounting needs root: run the tests as root"
        );
        Self::mount(path, &["-t", "tmpfs", "-o", options, "none"])
    }

    /// One of the kind that holds no file of more than 16 TiB.
    pub(crate) fn ext4(bench: &Bench) -> Self {
        let image = bench.path("ext4");
        let made = tool("mkfs.ext4", &["-q", image.to_str().unwrap(), "32M"]);
        assert_eq!(made.code, 0, "{}", made.message());
        Self::mount(bench.path("small"), &["-o", "loop", image.to_str().unwrap()])
    }

    fn mount(path: PathBuf, what: &[&str]) -> Self {
        fs::create_dir(&path).unwrap();
        let mounted = tool("mount", &[what, &[path.to_str().unwrap()]].concat());
        assert_eq!(mounted.code, 0, "{}", mounted.message());
        Self(path)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: for a moment, a child that another test starts may hold what this process has open here.
        tool("umount", &["--lazy", self.0.to_str().unwrap()]);
    }
}

/// Again and again while it is busy: a child that another test starts may for a moment hold a file that this process has open there.
#[track_caller]
pub(crate) fn remount(point: &Path, how: &str) {
    let options = format!("remount,{how}");
    let begun = Instant::now();
    loop {
        let done = tool("mount", &["-o", &options, point.to_str().unwrap()]);
        if done.code == 0 {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", done.message());
    }
}

fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    let full = std::io::copy(&mut std::io::repeat(1), &mut file).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn a_create_that_finds_no_room_leaves_nothing() {
    let bench = Bench::new();
    let small = Small::new(bench.path("small"), "size=6m");
    let template = bench.path("template");
    fs::write(&template, pattern(8 << 20)).unwrap();
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        let disk = small.0.join("disk");
        let content = DiskContent::Template(raw(&template));
        let create = CreateDisk::new(&disk, format, size(8 << 20), bench.luks(), content);
        let full = bench.run(create).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::NoSpace, "{full}");
        assert_eq!(small.names(), Vec::<String>::new());
    }
    fill(&small.0.join("filler"));
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        let disk = small.0.join("disk");
        let create = CreateDisk::new(&disk, format, size(1 << 20), bench.luks(), DiskContent::Blank);
        let full = bench.run(create).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::NoSpace, "{full}");
        assert_eq!(small.names(), ["filler"]);
    }
}

#[test]
fn a_disk_on_a_full_file_system_keeps_its_key_and_can_be_erased() {
    let bench = Bench::new();
    let image = bench.path("image");
    fs::write(&image, pattern(4 << 20)).unwrap();
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        let small = Small::new(bench.path(format.as_str()), "size=5m");
        let path = small.0.join("disk");
        bench.disk(CreateDisk::new(
            &path,
            format,
            size(4 << 20),
            bench.luks(),
            DiskContent::Blank,
        ));
        let location = DiskLocation::File(path);
        let disk = Disk::new(&location, format, bench.luks());
        let filler = small.0.join("filler");
        fill(&filler);
        let full = bench
            .run(ReplaceContent::new(disk, raw(&image).into()))
            .unwrap_err();
        assert_eq!(full.kind(), ErrorKind::NoSpace, "{full}");
        match format {
            DiskFormat::Raw => {
                let backup = small.0.join("backup");
                let full = bench.run(BackUpHeader::new(disk, &backup)).unwrap_err();
                assert_eq!(full.kind(), ErrorKind::NoSpace, "{full}");
            }
            DiskFormat::Qcow2 => {
                let id = "one".parse().unwrap();
                let full = bench
                    .run(SnapshotDisk::new(disk, &id, SnapshotAction::Create))
                    .unwrap_err();
                assert_eq!(full.kind(), ErrorKind::NoSpace, "{full}");
                // Enough for the size, too little for the tables of the new size.
                let full = bench.run(GrowDisk::new(disk, size(1 << 50))).unwrap_err();
                assert_eq!(full.kind(), ErrorKind::NoSpace, "{full}");
            }
        }
        assert_eq!(small.names(), ["disk", "filler"]);
        let verified = bench.verify(&location, format, bench.luks()).unwrap();
        assert_eq!(verified.facts.guest, size(4 << 20));
        bench.run(EraseKeyslots::new(&location, format)).unwrap();
        let erased = bench.verify(&location, format, bench.luks()).unwrap_err();
        assert_eq!(erased.kind(), ErrorKind::WrongKey);
    }
}

/// The clusters that nobody refers to.
fn leaks(path: &Path) -> u64 {
    let checked = tool(
        "qemu-img",
        &["check", "--output=json", "-f", "qcow2", path.to_str().unwrap()],
    );
    let report: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    report
        .get("leaks")
        .and_then(serde_json::Value::as_u64)
        .unwrap_or(0)
}

/// Takes this many bytes of a filler away.
fn shorten(filler: &Path, bytes: u64) {
    let file = fs::File::options().write(true).open(filler).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
}

#[test]
fn a_snapshot_that_found_no_room_wastes_none_and_the_same_request_again_takes_it() {
    let bench = Bench::new();
    let image = bench.path("image");
    fs::write(&image, pattern(4 << 20)).unwrap();
    // What is leaked behind the end of the file is seen only when the file is longer.
    for (number, rooms) in [vec![0, 4 << 10, 0], vec![0]].into_iter().enumerate() {
        let small = Small::new(bench.path(&number.to_string()), "size=16m");
        let path = small.0.join("disk");
        let content = DiskContent::Template(raw(&image));
        bench.disk(CreateDisk::new(
            &path,
            DiskFormat::Qcow2,
            size(1 << 40),
            Protection::Plain,
            content,
        ));
        let location = DiskLocation::File(path.clone());
        let disk = Disk::new(&location, DiskFormat::Qcow2, Protection::Plain);
        let id = "one".parse().unwrap();
        let take = SnapshotDisk::new(disk, &id, SnapshotAction::Create);
        let filler = small.0.join("filler");
        fill(&filler);
        for room in rooms {
            shorten(&filler, room);
            let full = bench.run(take).unwrap_err();
            assert_eq!(full.kind(), ErrorKind::NoSpace, "{full}");
            assert_eq!(leaks(&path), 0, "{number} {room}");
        }
        fs::remove_file(&filler).unwrap();
        assert!(bench.disk(take).snapshots.contains(&id));
        assert_eq!(leaks(&path), 0, "{number}");
        bench
            .verify(&location, DiskFormat::Qcow2, Protection::Plain)
            .unwrap();
    }
}

#[test]
fn leaked_clusters_are_named_by_a_verification_and_freed_by_the_next_snapshot() {
    let bench = Bench::new();
    let image = bench.path("image");
    fs::write(&image, pattern(4 << 20)).unwrap();
    let small = Small::new(bench.path("small"), "size=16m");
    let path = small.0.join("disk");
    let content = DiskContent::Template(raw(&image));
    bench.disk(CreateDisk::new(
        &path,
        DiskFormat::Qcow2,
        size(4 << 20),
        Protection::Plain,
        content,
    ));
    let filler = small.0.join("filler");
    fill(&filler);
    shorten(&filler, 4 << 10);
    let failed = tool(
        "qemu-img",
        &["snapshot", "-c", "snap-one", path.to_str().unwrap()],
    );
    assert_ne!(failed.code, 0);
    let leaked = leaks(&path);
    assert!(leaked > 0);
    let location = DiskLocation::File(path.clone());
    let verified = bench
        .verify(&location, DiskFormat::Qcow2, Protection::Plain)
        .unwrap();
    let text = verified.checked.join("; ");
    assert!(text.contains(&format!("{leaked} clusters")), "{text}");
    assert!(!text.contains("is consistent"), "{text}");
    fs::remove_file(&filler).unwrap();
    let disk = Disk::new(&location, DiskFormat::Qcow2, Protection::Plain);
    bench.disk(SnapshotDisk::new(
        disk,
        &"one".parse().unwrap(),
        SnapshotAction::Create,
    ));
    assert_eq!(leaks(&path), 0);
    let verified = bench
        .verify(&location, DiskFormat::Qcow2, Protection::Plain)
        .unwrap();
    assert!(
        verified
            .checked
            .contains(&"the metadata is consistent".to_owned())
    );
}

#[test]
fn a_read_only_file_system_is_said_to_be_one() {
    let bench = Bench::new();
    let small = Small::new(bench.path("small"), "size=5m");
    let path = small.0.join("disk");
    bench.disk(CreateDisk::new(
        &path,
        DiskFormat::Raw,
        size(1 << 20),
        bench.luks(),
        DiskContent::Blank,
    ));
    remount(&small.0, "ro");
    let location = DiskLocation::File(path);
    let disk = Disk::new(&location, DiskFormat::Raw, bench.luks());
    let other = small.0.join("other");
    let create = CreateDisk::new(
        &other,
        DiskFormat::Raw,
        size(1 << 20),
        bench.luks(),
        DiskContent::Blank,
    );
    for refused in [
        bench.run(create).unwrap_err(),
        bench.run(GrowDisk::new(disk, size(2 << 20))).unwrap_err(),
        bench
            .run(EraseKeyslots::new(&location, DiskFormat::Raw))
            .unwrap_err(),
    ] {
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused}");
    }
    bench.verify(&location, DiskFormat::Raw, bench.luks()).unwrap();
}
