//! Disks that become smaller.

use std::fs;

use strongroom_endpoint_selector::{
    CreateDisk, Disk, DiskContent, DiskLocation, ErrorKind, FormatQcow2, GrowDisk, Protection, ShrinkDisk,
    SnapshotAction, SnapshotDisk, VerifyDisk,
};
use strongroom_types::{DiskFormat, EncryptionFormat};

use crate::bench::{Bench, raw, size};
use crate::canary::{content, digest, sha256sum};
use crate::loops::Loop;

const MIB: u64 = 1 << 20;

#[test]
fn shrinking_is_exact_repeatable_and_keeps_what_is_before_the_end() {
    let bench = Bench::new();
    let bytes = content(4 << 20);
    fs::write(bench.path("file"), &bytes).unwrap();
    let (file, path, part) = (bench.path("file"), bench.path("disk"), bench.path("part"));
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        for protection in [Protection::Plain, bench.luks()] {
            let content = DiskContent::Template(raw(&file));
            bench.disk(CreateDisk::new(&path, format, size(4 * MIB), protection, content));
            let location = bench.at("disk");
            let disk = Disk::new(&location, format, protection);
            for to in [3 * MIB + 512, 3 * MIB + 512, 64 << 10, 512] {
                assert_eq!(bench.disk(ShrinkDisk::new(disk, size(to))).guest, size(to));
                fs::write(&part, &bytes[..to as usize]).unwrap();
                assert_eq!(
                    digest(&bench, disk),
                    sha256sum(&part),
                    "{format} {protection:?} {to}"
                );
                bench.run(VerifyDisk::new(disk)).unwrap();
            }
            let larger = bench.run(ShrinkDisk::new(disk, size(1024))).unwrap_err();
            assert_eq!(larger.kind(), ErrorKind::InvalidRequest, "{larger}");
            fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn a_luks2_disk_is_cut_behind_its_header() {
    let bench = Bench::new();
    let luks2 = Protection::Luks {
        format: EncryptionFormat::Luks2,
        key: &bench.key,
    };
    bench.create("disk", DiskFormat::Raw, MIB, luks2).unwrap();
    let location = bench.at("disk");
    let disk = Disk::new(&location, DiskFormat::Raw, luks2);
    bench.disk(ShrinkDisk::new(disk, size(512)));
    assert_eq!(fs::metadata(location.path()).unwrap().len(), 16 * MIB + 512);
    bench.run(VerifyDisk::new(disk)).unwrap();
}

#[test]
fn snapshots_inside_outlive_a_shrink_with_their_size() {
    let bench = Bench::new();
    fs::write(bench.path("file"), content(4 << 20)).unwrap();
    let (file, path) = (bench.path("file"), bench.path("disk"));
    let content = DiskContent::Template(raw(&file));
    bench.disk(CreateDisk::new(
        &path,
        DiskFormat::Qcow2,
        size(4 * MIB),
        bench.luks(),
        content,
    ));
    let location = bench.at("disk");
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks());
    let id = "one".parse().unwrap();
    bench.disk(SnapshotDisk::new(disk, &id, SnapshotAction::Create));
    assert_eq!(bench.disk(ShrinkDisk::new(disk, size(MIB))).guest, size(MIB));
    bench.run(VerifyDisk::new(disk)).unwrap();
    let restored = bench.disk(SnapshotDisk::new(disk, &id, SnapshotAction::Restore));
    assert_eq!(restored.guest, size(4 * MIB));
    assert_eq!(digest(&bench, disk), sha256sum(&file));
}

#[test]
fn a_disk_that_is_open_or_opens_with_another_key_is_not_cut() {
    let bench = Bench::new();
    let other = strongroom_secret::Passphrase::generate().unwrap();
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        bench.create("disk", format, MIB, bench.luks()).unwrap();
        let before = fs::read(bench.path("disk")).unwrap();
        let location = bench.at("disk");
        let disk = Disk::new(&location, format, bench.luks());
        let shrink = ShrinkDisk::new(disk, size(512));
        let busy = bench.while_qemu_has_open("disk", || bench.run(shrink).unwrap_err());
        assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
        let wrong = Protection::Luks {
            format: crate::bench::LUKS1,
            key: &other,
        };
        let refused = bench
            .run(ShrinkDisk::new(Disk::new(&location, format, wrong), size(512)))
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongKey, "{refused}");
        assert!(fs::read(bench.path("disk")).unwrap() == before);
        fs::remove_file(bench.path("disk")).unwrap();
    }
}

#[test]
fn a_device_is_made_smaller_by_its_storage() {
    let bench = Bench::new();
    fs::write(bench.path("file"), vec![0; 1 << 20]).unwrap();
    let file = bench.path("file");
    let done = crate::bench::tool("losetup", &["--find", "--show", file.to_str().unwrap()]);
    assert_eq!(done.code, 0, "{}: loop devices need root", done.message());
    let device = String::from_utf8(done.stdout).unwrap().trim().to_owned();
    let location = DiskLocation::block(&device);
    let disk = Disk::new(&location, DiskFormat::Raw, Protection::Plain);
    let refused = bench.run(ShrinkDisk::new(disk, size(512)));
    let same = bench.run(ShrinkDisk::new(disk, size(MIB)));
    crate::bench::tool("losetup", &["--detach", &device]);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
    same.unwrap();
}

#[test]
fn what_a_shrink_took_from_a_qcow2_disk_does_not_come_back_when_it_grows() {
    let bench = Bench::new();
    let bytes = content(20 << 20);
    fs::write(bench.path("file"), &bytes).unwrap();
    let (file, path, expected) = (bench.path("file"), bench.path("disk"), bench.path("expected"));
    let end = 10 * MIB - (32 << 10);
    let mut left = bytes;
    left[end as usize..].fill(0);
    fs::write(&expected, left).unwrap();
    for protection in [Protection::Plain, bench.luks()] {
        let content = DiskContent::Template(raw(&file));
        bench.disk(CreateDisk::new(
            &path,
            DiskFormat::Qcow2,
            size(20 * MIB),
            protection,
            content,
        ));
        let location = bench.at("disk");
        let disk = Disk::new(&location, DiskFormat::Qcow2, protection);
        bench.disk(ShrinkDisk::new(disk, size(end)));
        bench.disk(GrowDisk::new(disk, size(20 * MIB)));
        assert_eq!(digest(&bench, disk), sha256sum(&expected), "{protection:?}");
        bench.run(VerifyDisk::new(disk)).unwrap();
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn more_than_64_gib_are_not_cut_off_a_qcow2_disk() {
    const GIB: u64 = 1 << 30;
    let bench = Bench::new();
    let volume = "v".parse().unwrap();
    for protection in [Protection::Plain, bench.luks()] {
        let device = Loop::new(&bench, 64 * MIB);
        let location = device.whole();
        bench.disk(FormatQcow2::new(&volume, &location, size(1 << 40), protection));
        let disk = Disk::new(&location, DiskFormat::Qcow2, protection);
        let before = device.bytes();
        for to in [(1 << 40) - 64 * GIB - 512, MIB] {
            let refused = bench.run(ShrinkDisk::new(disk, size(to))).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
            assert!(
                refused
                    .message()
                    .contains("copy what is to stay into a smaller disk"),
                "{refused}"
            );
        }
        assert!(device.bytes() == before);
        let to = size((1 << 40) - 64 * GIB);
        assert_eq!(bench.disk(ShrinkDisk::new(disk, to)).guest, to);
        bench.run(VerifyDisk::new(disk)).unwrap();
    }
}
