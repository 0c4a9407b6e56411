//! Storage that is full or broken in the middle of work with content: nothing half-made, and every disk still opens.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use strongroom_endpoint_selector::{
    CompareContent, CreateDisk, DigestContent, Disk, DiskContent, DiskLocation, ErrorKind, FlattenDisk,
    HostAnswer, Protection, ReplaceContent, Sameness, ShrinkDisk, VerifyDisk,
};
use strongroom_types::DiskFormat;

use crate::bench::{Bench, pattern, raw, size, tool};
use crate::canary::{content, digest, sha256sum};

const MIB: u64 = 1 << 20;

/// A mounted file system, unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: PathBuf, what: &[&str]) -> Self {
        fs::create_dir(&path).unwrap();
        let mounted = tool("mount", &[what, &[path.to_str().unwrap()]].concat());
        assert_eq!(mounted.code, 0, "{}: mounting needs root", mounted.message());
        Self(path)
    }

    fn in_memory(bench: &Bench, name: &str, bytes: u64) -> Self {
        let options = format!("size={bytes}");
        Self::new(bench.path(name), &["-t", "tmpfs", "-o", &options, "none"])
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "lost+found")
            .collect();
        names.sort();
        names
    }
}

impl Drop for Mounted {
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

/// Takes so many bytes of a filler away.
fn shorten(filler: &Path, bytes: u64) {
    let file = fs::File::options().write(true).open(filler).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
}

#[test]
fn a_copy_that_finds_no_room_at_whatever_point_leaves_nothing() {
    let bench = Bench::new();
    fs::write(bench.path("file"), content(4 << 20)).unwrap();
    let (file, source) = (bench.path("file"), bench.path("source"));
    let template = DiskContent::Template(raw(&file));
    bench.disk(CreateDisk::new(
        &source,
        DiskFormat::Qcow2,
        size(4 * MIB),
        bench.luks(),
        template,
    ));
    let at = bench.at("source");
    let from = Disk::new(&at, DiskFormat::Qcow2, bench.luks());
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        let small = Mounted::in_memory(&bench, format.as_str(), 16 << 20);
        let path = small.0.join("disk");
        let filler = small.0.join("filler");
        let create = CreateDisk::new(
            &path,
            format,
            size(4 * MIB),
            bench.luks(),
            DiskContent::Copy(from),
        );
        let (mut failed, mut room) = (0, 0);
        fill(&filler);
        loop {
            match bench.run(create) {
                Ok(_) => break,
                Err(full) => assert_eq!(full.kind(), ErrorKind::NoSpace, "{room}: {full}"),
            }
            assert_eq!(small.names(), ["filler"], "{room}");
            failed += 1;
            shorten(&filler, 768 << 10);
            room += 768 << 10;
        }
        assert!(failed >= 6, "{failed}");
        let location = DiskLocation::File(path);
        let made = Disk::new(&location, format, bench.luks());
        assert_eq!(digest(&bench, made), sha256sum(&file));
        bench.run(VerifyDisk::new(from)).unwrap();
    }
}

#[test]
fn an_overlay_that_finds_no_room_leaves_nothing() {
    let bench = Bench::new();
    let base = bench.path("base");
    fs::write(&base, content(1 << 20)).unwrap();
    let small = Mounted::in_memory(&bench, "small", 8 << 20);
    let (path, filler) = (small.0.join("disk"), small.0.join("filler"));
    fill(&filler);
    for protection in [Protection::Plain, bench.luks()] {
        for room in [0, 64 << 10, 128 << 10] {
            shorten(&filler, room);
            let content = DiskContent::Overlay(raw(&base));
            let create = CreateDisk::new(&path, DiskFormat::Qcow2, size(MIB), protection, content);
            let full = bench.run(create).unwrap_err();
            assert_eq!(full.kind(), ErrorKind::NoSpace, "{room}: {full}");
            assert_eq!(small.names(), ["filler"]);
            if protection.key().is_none() && room > 0 {
                break;
            }
        }
        fill(&filler);
    }
}

#[test]
fn a_flatten_that_finds_no_room_at_whatever_point_leaves_the_disk_on_its_base() {
    let bench = Bench::new();
    let base = bench.path("base");
    fs::write(&base, content(3 << 20)).unwrap();
    let small = Mounted::in_memory(&bench, "small", 16 << 20);
    let (path, filler) = (small.0.join("disk"), small.0.join("filler"));
    let content = DiskContent::Overlay(raw(&base));
    bench.disk(CreateDisk::new(
        &path,
        DiskFormat::Qcow2,
        size(3 * MIB),
        bench.luks(),
        content,
    ));
    let location = DiskLocation::File(path);
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks()).on(Some(raw(&base)));
    let before = digest(&bench, disk);
    fill(&filler);
    let mut failed = 0;
    loop {
        match bench.run(FlattenDisk::new(disk)) {
            Ok(_) => break,
            Err(full) => assert_eq!(full.kind(), ErrorKind::NoSpace, "{full}"),
        }
        assert_eq!(small.names(), ["disk", "filler"]);
        assert_eq!(digest(&bench, disk), before);
        failed += 1;
        shorten(&filler, 768 << 10);
    }
    assert!(failed >= 4, "{failed}");
    assert_eq!(digest(&bench, disk.on(None)), before);
}

#[test]
fn a_replacement_that_finds_no_room_leaves_a_disk_that_opens_and_the_same_command_finishes_it() {
    let bench = Bench::new();
    let image = bench.path("image");
    fs::write(&image, content(4 << 20)).unwrap();
    let base = bench.path("base");
    fs::write(&base, pattern(4 << 20)).unwrap();
    let small = Mounted::in_memory(&bench, "small", 16 << 20);
    let (path, filler) = (small.0.join("disk"), small.0.join("filler"));
    let content = DiskContent::Overlay(raw(&base));
    bench.disk(CreateDisk::new(
        &path,
        DiskFormat::Qcow2,
        size(4 * MIB),
        bench.luks(),
        content,
    ));
    let location = DiskLocation::File(path);
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks()).on(Some(raw(&base)));
    let replace = ReplaceContent::new(disk, raw(&image).into());
    fill(&filler);
    for _ in 0..3 {
        let full = bench.run(replace).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::NoSpace, "{full}");
        bench.run(VerifyDisk::new(disk)).unwrap();
        // Neither a digest nor a shorter disk needs room.
        digest(&bench, disk);
        shorten(&filler, MIB);
    }
    bench.disk(ShrinkDisk::new(disk, size(4 * MIB)));
    fs::remove_file(&filler).unwrap();
    bench.disk(replace);
    let same = bench.run(CompareContent::new(disk, raw(&image).into())).unwrap();
    assert_eq!(same, HostAnswer::Compared(Sameness::Identical));
}

#[test]
fn a_medium_that_cannot_be_read_is_an_error_and_no_copy_is_left_half_made() {
    let bench = Bench::new();
    let file = bench.path("file");
    fs::write(&file, content(8 << 20)).unwrap();
    // A file system on a medium that ends in the middle: reads and writes behind its end fail with EIO.
    let medium = bench.path("medium");
    let made = tool(
        "mkfs.ext4",
        &[
            "-q",
            "-b",
            "1024",
            "-O",
            "^has_journal",
            medium.to_str().unwrap(),
            "48M",
        ],
    );
    assert_eq!(made.code, 0, "{}", made.message());
    let small = Mounted::new(
        bench.path("small"),
        &["-o", "loop,errors=continue", medium.to_str().unwrap()],
    );
    let path = small.0.join("disk");
    let template = DiskContent::Template(raw(&file));
    bench.disk(CreateDisk::new(
        &path,
        DiskFormat::Qcow2,
        size(8 * MIB),
        bench.luks(),
        template,
    ));
    let location = DiskLocation::File(path.clone());
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks());
    let before = digest(&bench, disk);
    let forget = || {
        let file = fs::File::open(&path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    };
    forget();
    let whole = fs::metadata(&medium).unwrap().len();
    let end = physical_end(&path);
    let cut = fs::File::options().write(true).open(&medium).unwrap();
    let kept = fs::read(&medium).unwrap();
    // Behind the header and the first half of the content.
    cut.set_len(end - 3 * MIB).unwrap();
    forget();
    let copy = bench.path("copy");
    let create = CreateDisk::new(
        &copy,
        DiskFormat::Raw,
        size(8 * MIB),
        bench.luks(),
        DiskContent::Copy(disk),
    );
    for failed in [
        bench.run(create).unwrap_err(),
        bench.run(DigestContent::new(disk)).unwrap_err(),
    ] {
        assert!(
            matches!(failed.kind(), ErrorKind::Io | ErrorKind::Tool),
            "{failed}"
        );
        assert!(failed.message().contains("Input/output error"), "{failed}");
    }
    assert!(!copy.exists());
    assert!(
        !bench.names().iter().any(|name| name.contains("staging")),
        "{:?}",
        bench.names()
    );
    // The medium is whole again.
    cut.set_len(whole).unwrap();
    fs::write(&medium, kept).unwrap();
    forget();
    assert_eq!(digest(&bench, disk), before);
}

#[test]
fn a_medium_that_cannot_be_written_is_an_error_and_the_disks_on_it_stay_as_they_were() {
    let bench = Bench::new();
    let (base, part) = (bench.path("base"), bench.path("part"));
    fs::write(&base, content(4 << 20)).unwrap();
    fs::write(&part, pattern(3 << 20)).unwrap();
    // A medium in memory that is sealed later: then every write to it fails with EIO.
    let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
    let memory = fs::File::from(rustix::fs::memfd_create("medium", flags).unwrap());
    memory.set_len(64 << 20).unwrap();
    let medium = format!("/proc/{}/fd/{}", std::process::id(), memory.as_raw_fd());
    let made = tool("mkfs.ext4", &["-q", "-O", "^has_journal", &medium]);
    assert_eq!(made.code, 0, "{}", made.message());
    let small = Mounted::new(bench.path("small"), &["-o", "loop,errors=continue", &medium]);
    let path = small.0.join("disk");
    let on_base = DiskContent::Overlay(raw(&base));
    bench.disk(CreateDisk::new(
        &path,
        DiskFormat::Qcow2,
        size(4 * MIB),
        bench.luks(),
        on_base,
    ));
    let location = DiskLocation::File(path.clone());
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks()).on(Some(raw(&base)));
    let before = digest(&bench, disk);
    fs::File::open(&path).unwrap().sync_all().unwrap();
    rustix::fs::fcntl_add_seals(&memory, rustix::fs::SealFlags::WRITE).unwrap();
    let other = small.0.join("other");
    let create = CreateDisk::new(
        &other,
        DiskFormat::Qcow2,
        size(4 * MIB),
        bench.luks(),
        DiskContent::Copy(disk),
    );
    for failed in [
        bench.run(create).unwrap_err(),
        bench.run(FlattenDisk::new(disk)).unwrap_err(),
        bench
            .run(ReplaceContent::new(disk, raw(&part).into()))
            .unwrap_err(),
    ] {
        assert!(
            matches!(failed.kind(), ErrorKind::Io | ErrorKind::Tool),
            "{failed}"
        );
        assert!(failed.to_string().contains("Input/output error"), "{failed}");
        assert_eq!(small.names(), ["disk"]);
    }
    assert_eq!(digest(&bench, disk), before);
    bench.run(VerifyDisk::new(disk)).unwrap();
}

/// Where the last block of a file lies on its medium, in bytes.
fn physical_end(path: &Path) -> u64 {
    let done = tool("filefrag", &["-v", "-b1", path.to_str().unwrap()]);
    assert_eq!(done.code, 0, "{}", done.message());
    let text = String::from_utf8(done.stdout).unwrap();
    let extents = text.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(2);
        let (_, end) = fields.next()?.split_once("..")?;
        end.trim().parse::<u64>().ok()
    });
    extents.max().unwrap()
}
