//! Growing, snapshots, content, and what is refused on the way.

use std::fs;

use strongroom_endpoint_selector::{
    CompareContent, DeleteDisk, Disk, EraseKeyslots, ErrorKind, GrowDisk, HostAnswer, InspectDisk,
    OpenDirectory, Protection, ReplaceContent, Sameness, SnapshotAction, SnapshotDisk, SweepStaging,
};
use strongroom_secret::Passphrase;
use strongroom_types::{DiskFormat, SnapshotId};

use crate::bench::{Bench, LUKS1, pattern, raw, size};

#[test]
fn growing_is_exact_repeatable_and_one_way() {
    let bench = Bench::new();
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        for protection in [Protection::Plain, bench.luks()] {
            bench.create("disk", format, 1 << 20, protection).unwrap();
            let location = bench.at("disk");
            let disk = Disk::new(&location, format, protection);
            for to in [(1 << 20) + 512, (1 << 20) + 512, 2 << 30] {
                assert_eq!(bench.disk(GrowDisk::new(disk, size(to))).guest, size(to));
            }
            let smaller = bench.run(GrowDisk::new(disk, size(1 << 20))).unwrap_err();
            assert_eq!(smaller.kind(), ErrorKind::InvalidRequest);
            bench.verify(&location, format, protection).unwrap();
            bench.run(DeleteDisk::new(location.path())).unwrap();
        }
    }
}

#[test]
fn nothing_is_done_with_a_wrong_key_or_a_wrong_word() {
    let bench = Bench::new();
    let other = Passphrase::generate().unwrap();
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        bench.create("disk", format, 1 << 20, bench.luks()).unwrap();
        let before = fs::read(bench.path("disk")).unwrap();
        let location = bench.at("disk");
        let wrong = Disk::new(
            &location,
            format,
            Protection::Luks {
                format: LUKS1,
                key: &other,
            },
        );
        assert_eq!(
            bench.run(GrowDisk::new(wrong, size(2 << 20))).unwrap_err().kind(),
            ErrorKind::WrongKey
        );
        let plain = Disk::new(&location, format, Protection::Plain);
        assert_eq!(
            bench.run(GrowDisk::new(plain, size(2 << 20))).unwrap_err().kind(),
            ErrorKind::WrongDisk
        );
        let inspected = bench.run(InspectDisk::new(&location, format, None)).unwrap_err();
        assert_eq!(inspected.kind(), ErrorKind::WrongDisk);
        assert_eq!(fs::read(bench.path("disk")).unwrap(), before);
        fs::remove_file(bench.path("disk")).unwrap();
    }
    bench
        .create("disk", DiskFormat::Raw, 1 << 20, Protection::Plain)
        .unwrap();
    let location = bench.at("disk");
    let encrypted = Disk::new(&location, DiskFormat::Raw, bench.luks());
    assert_eq!(
        bench
            .run(GrowDisk::new(encrypted, size(2 << 20)))
            .unwrap_err()
            .kind(),
        ErrorKind::WrongDisk
    );
}

#[test]
fn a_snapshot_brings_content_and_size_back() {
    let bench = Bench::new();
    let (first, second) = (bench.path("first"), bench.path("second"));
    fs::write(&first, pattern(1 << 20)).unwrap();
    fs::write(&second, vec![9; 1 << 20]).unwrap();
    bench
        .create("disk", DiskFormat::Qcow2, 1 << 20, bench.luks())
        .unwrap();
    let location = bench.at("disk");
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks());
    bench.disk(ReplaceContent::new(disk, raw(&first).into()));
    // A name of digits is a number for QEMU.
    for name in ["before", "1", "2"] {
        let id: SnapshotId = name.parse().unwrap();
        assert!(
            bench
                .disk(SnapshotDisk::new(disk, &id, SnapshotAction::Create))
                .snapshots
                .contains(&id)
        );
        bench.disk(SnapshotDisk::new(disk, &id, SnapshotAction::Create));
    }
    bench.disk(ReplaceContent::new(disk, raw(&second).into()));
    bench.disk(GrowDisk::new(disk, size(5 << 20)));
    let id = "before".parse().unwrap();
    let restored = bench.disk(SnapshotDisk::new(disk, &id, SnapshotAction::Restore));
    assert_eq!((restored.guest, restored.snapshots.len()), (size(1 << 20), 3));
    assert_eq!(
        bench.run(CompareContent::new(disk, raw(&first).into())).unwrap(),
        HostAnswer::Compared(Sameness::Identical)
    );
    assert_eq!(
        bench.run(CompareContent::new(disk, raw(&second).into())).unwrap(),
        HostAnswer::Compared(Sameness::Different)
    );
    assert_eq!(
        bench
            .disk(SnapshotDisk::new(disk, &id, SnapshotAction::Delete))
            .snapshots
            .len(),
        2
    );
    bench.disk(SnapshotDisk::new(disk, &id, SnapshotAction::Delete));
    let gone = bench
        .run(SnapshotDisk::new(disk, &id, SnapshotAction::Restore))
        .unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    bench.verify(&location, DiskFormat::Qcow2, bench.luks()).unwrap();
}

#[test]
fn raw_disks_keep_no_snapshots() {
    let bench = Bench::new();
    bench.create("disk", DiskFormat::Raw, 512, bench.luks()).unwrap();
    let location = bench.at("disk");
    let disk = Disk::new(&location, DiskFormat::Raw, bench.luks());
    let id = "s".parse().unwrap();
    let refused = bench
        .run(SnapshotDisk::new(disk, &id, SnapshotAction::Create))
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_directory_is_looked_at_before_it_is_used() {
    let bench = Bench::new();
    let HostAnswer::Directory(facts) = bench.run(OpenDirectory::new(bench.place.path())).unwrap() else {
        panic!("not a directory")
    };
    assert!(
        facts.writable && facts.total.get() > 0 && facts.free <= facts.total,
        "{facts:?}"
    );
    std::os::unix::fs::symlink(bench.place.path(), bench.path("link")).unwrap();
    fs::write(bench.path("file"), "").unwrap();
    for (name, kind) in [
        ("link", ErrorKind::InvalidRequest),
        ("file", ErrorKind::InvalidRequest),
        ("none", ErrorKind::NotFound),
    ] {
        assert_eq!(
            bench
                .run(OpenDirectory::new(&bench.path(name)))
                .unwrap_err()
                .kind(),
            kind,
            "{name}"
        );
    }
    for name in ["link", "directory"] {
        let _ = fs::create_dir(bench.path("directory"));
        assert_eq!(
            bench.run(DeleteDisk::new(&bench.path(name))).unwrap_err().kind(),
            ErrorKind::WrongDisk
        );
    }
    assert_eq!(
        bench.run(DeleteDisk::new(&bench.path("none"))).unwrap(),
        HostAnswer::Done
    );
}

#[test]
fn a_shorter_image_leaves_the_rest_of_the_disk_as_it_was() {
    let bench = Bench::new();
    let (long, short, both) = (bench.path("long"), bench.path("short"), bench.path("both"));
    let old = pattern(3 << 20);
    // Zeros too: what is overwritten with zeros does not come through from below.
    let new = [&[9; 1 << 20][..], &[0; 512 << 10], &[8; 512]].concat();
    fs::write(&long, &old).unwrap();
    fs::write(&short, &new).unwrap();
    fs::write(&both, [&new, &old[new.len()..]].concat()).unwrap();
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        for protection in [Protection::Plain, bench.luks()] {
            bench.create("disk", format, 3 << 20, protection).unwrap();
            let location = bench.at("disk");
            let disk = Disk::new(&location, format, protection);
            for image in [&long, &short] {
                assert_eq!(
                    bench.disk(ReplaceContent::new(disk, raw(image).into())).guest,
                    size(3 << 20)
                );
            }
            assert_eq!(
                bench.run(CompareContent::new(disk, raw(&both).into())).unwrap(),
                HostAnswer::Compared(Sameness::Identical),
                "{format} {protection:?}"
            );
            assert_eq!(
                bench.run(CompareContent::new(disk, raw(&long).into())).unwrap(),
                HostAnswer::Compared(Sameness::Different)
            );
            fs::remove_file(location.path()).unwrap();
        }
    }
}

#[test]
fn a_disk_that_somebody_has_open_is_left_alone() {
    let bench = Bench::new();
    let image = bench.path("image");
    fs::write(&image, pattern(1 << 20)).unwrap();
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        bench.create("disk", format, 1 << 20, bench.luks()).unwrap();
        let before = fs::read(bench.path("disk")).unwrap();
        let location = bench.at("disk");
        let disk = Disk::new(&location, format, bench.luks());
        let id = "one".parse().unwrap();
        let refused = bench.while_qemu_has_open("disk", || {
            let grown = bench.run(GrowDisk::new(disk, size(2 << 20))).unwrap_err();
            let replaced = bench
                .run(ReplaceContent::new(disk, raw(&image).into()))
                .unwrap_err();
            let taken = match format {
                DiskFormat::Raw => None,
                DiskFormat::Qcow2 => {
                    let take = SnapshotDisk::new(disk, &id, SnapshotAction::Create);
                    Some(bench.run(take).unwrap_err())
                }
            };
            let erased = bench.run(EraseKeyslots::new(&location, format)).unwrap_err();
            let deleted = bench.run(DeleteDisk::new(location.path())).unwrap_err();
            // Only metadata of its own keeps a disk from being verified meanwhile.
            let verified = bench.verify(&location, format, bench.luks());
            let unverified = match format {
                DiskFormat::Raw => verified.map(|_| None).unwrap(),
                DiskFormat::Qcow2 => Some(verified.unwrap_err()),
            };
            [
                Some(grown),
                Some(replaced),
                taken,
                Some(erased),
                Some(deleted),
                unverified,
            ]
        });
        for error in refused.into_iter().flatten() {
            assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
        }
        assert!(fs::read(bench.path("disk")).unwrap() == before);
        bench.run(DeleteDisk::new(location.path())).unwrap();
        assert!(!location.path().exists());
    }
}

#[test]
fn a_sweep_takes_what_a_killed_agent_left_and_no_disk() {
    let bench = Bench::new();
    bench
        .create("disk", DiskFormat::Qcow2, 1 << 20, bench.luks())
        .unwrap();
    let left = bench.path(".strongroom-staging-vol-1");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("disk"), "half").unwrap();
    // cryptsetup's wrapper has a name of its own for a backup that it has not finished.
    fs::write(left.join(".header-backup-half"), "half").unwrap();
    for expected in [vec![left], vec![]] {
        assert_eq!(
            bench.run(SweepStaging::new(bench.place.path())).unwrap(),
            HostAnswer::Swept(expected)
        );
    }
    bench
        .verify(&bench.at("disk"), DiskFormat::Qcow2, bench.luks())
        .unwrap();
    assert_eq!(bench.names(), ["disk"]);
}
