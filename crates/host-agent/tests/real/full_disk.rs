//! A file system that is full in the middle of it: an error that says so, nothing left over, and every disk still opens.

use std::fs;
use std::path::{Path, PathBuf};

use strongroom_endpoint_selector::{
    BackUpHeader, CreateDisk, Disk, DiskContent, DiskLocation, EraseKeyslots, ErrorKind, GrowDisk,
    ReplaceContent, SnapshotAction, SnapshotDisk,
};
use strongroom_types::DiskFormat;

use crate::bench::{Bench, pattern, raw, size, tool};

/// A small file system, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn new(path: PathBuf, options: &str) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "mounting needs root: run the tests as root"
        );
        fs::create_dir(&path).unwrap();
        let mounted = tool(
            "mount",
            &["-t", "tmpfs", "-o", options, "none", path.to_str().unwrap()],
        );
        assert_eq!(mounted.code, 0, "{}", mounted.message());
        Self(path)
    }

    fn names(&self) -> Vec<String> {
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
        let disk = Disk {
            location: &location,
            format,
            protection: bench.luks(),
        };
        let filler = small.0.join("filler");
        fill(&filler);
        let full = bench.run(ReplaceContent::new(disk, raw(&image))).unwrap_err();
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
    let remounted = tool("mount", &["-o", "remount,ro", small.0.to_str().unwrap()]);
    assert_eq!(remounted.code, 0, "{}", remounted.message());
    let location = DiskLocation::File(path);
    let disk = Disk {
        location: &location,
        format: DiskFormat::Raw,
        protection: bench.luks(),
    };
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
