//! Keyslots that are gone, and what a header backup means for it.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use strongroom_endpoint_selector::{
    BackUpHeader, CreateDisk, Disk, DiskContent, EraseKeyslots, ErrorKind, HostAnswer, InspectDisk,
    Protection, SnapshotAction, SnapshotDisk,
};
use strongroom_types::{DiskFormat, EncryptionFormat};

use crate::bench::{Bench, LUKS1, pattern, raw, size, tool};

/// Where the LUKS header begins: at the beginning of a cluster.
fn luks_at(bytes: &[u8]) -> usize {
    let clusters = (0..bytes.len()).step_by(65_536);
    clusters
        .into_iter()
        .find(|at| bytes[*at..].starts_with(b"LUKS\xba\xbe"))
        .unwrap()
}

/// Pieces of what lies at these bytes behind the LUKS header, as long as a cipher block.
fn pieces(bytes: &[u8], place: std::ops::Range<usize>) -> HashSet<&[u8]> {
    let start = luks_at(bytes);
    let pieces = bytes[start + place.start..start + place.end].chunks(16);
    pieces.filter(|piece| piece.iter().any(|b| *b != 0)).collect()
}

#[track_caller]
fn opens_with_no_key(bench: &Bench, name: &str, format: DiskFormat, protection: Protection<'_>) {
    let refused = bench.verify(&bench.at(name), format, protection).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WrongKey, "{refused}");
}

#[test]
fn erased_disks_open_with_no_key() {
    let bench = Bench::new();
    let luks2 = Protection::Luks {
        format: EncryptionFormat::Luks2,
        key: &bench.key,
    };
    // The material of the one slot that was written of a raw LUKS1 disk, of all eight in a qcow2, which are noise there, and of the
    // one slot that LUKS2 has.
    for (format, protection, material) in [
        (DiskFormat::Raw, bench.luks(), 4096..260_096),
        (DiskFormat::Qcow2, bench.luks(), 4096..2_066_432),
        (DiskFormat::Raw, luks2, 32_768..290_816),
    ] {
        bench.create("disk", format, 1 << 20, protection).unwrap();
        let before = fs::read(bench.path("disk")).unwrap();
        assert!(pieces(&before, material.clone()).len() >= 16_000);
        let location = bench.at("disk");
        for _ in 0..2 {
            assert_eq!(
                bench.run(EraseKeyslots::new(&location, format)).unwrap(),
                HostAnswer::Done
            );
            opens_with_no_key(&bench, "disk", format, protection);
        }
        let after = fs::read(bench.path("disk")).unwrap();
        let material = pieces(&before, material);
        let survivors = after.chunks(16).filter(|piece| material.contains(piece)).count();
        assert_eq!(
            survivors, 0,
            "{format} {protection:?}: key material is still there"
        );
        fs::remove_file(bench.path("disk")).unwrap();
    }
    let nowhere = bench.at("nowhere");
    assert_eq!(
        bench.run(EraseKeyslots::new(&nowhere, DiskFormat::Raw)).unwrap(),
        HostAnswer::Done
    );
}

#[test]
fn only_the_header_is_written_and_the_tools_agree_that_it_is_sound() {
    let bench = Bench::new();
    let template = bench.path("template");
    fs::write(&template, pattern(4 << 20)).unwrap();
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        let disk = bench.path("disk");
        let content = DiskContent::Template(raw(&template));
        bench.disk(CreateDisk::new(
            &disk,
            format,
            size(4 << 20),
            bench.luks(),
            content,
        ));
        let before = fs::read(&disk).unwrap();
        bench.run(EraseKeyslots::new(&bench.at("disk"), format)).unwrap();
        let after = fs::read(&disk).unwrap();
        let luks = luks_at(&before)..luks_at(&before) + (2 << 20);
        assert!(before[..luks.start] == after[..luks.start] && before[luks.end..] == after[luks.end..]);
        assert_eq!(
            bench
                .disk(InspectDisk::new(&bench.at("disk"), format, Some(LUKS1)))
                .guest,
            size(4 << 20)
        );
        fs::write(bench.path("header"), &after[luks]).unwrap();
        let dump = tool(
            "cryptsetup",
            &["luksDump", bench.path("header").to_str().unwrap()],
        );
        let text = String::from_utf8(dump.stdout).unwrap();
        assert_eq!((dump.code, text.matches("DISABLED").count()), (0, 8), "{text}");
        fs::remove_file(disk).unwrap();
    }
}

#[test]
fn an_erased_disk_is_erased_under_each_of_its_names() {
    let bench = Bench::new();
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        bench.create("disk", format, 1 << 20, bench.luks()).unwrap();
        fs::hard_link(bench.path("disk"), bench.path("link")).unwrap();
        bench.run(EraseKeyslots::new(&bench.at("disk"), format)).unwrap();
        fs::remove_file(bench.path("disk")).unwrap();
        opens_with_no_key(&bench, "link", format, bench.luks());
        fs::remove_file(bench.path("link")).unwrap();
    }
}

#[test]
fn snapshots_inside_an_image_go_with_its_only_header() {
    let bench = Bench::new();
    bench
        .create("disk", DiskFormat::Qcow2, 1 << 20, bench.luks())
        .unwrap();
    let location = bench.at("disk");
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks());
    let id = "before".parse().unwrap();
    bench.disk(SnapshotDisk::new(disk, &id, SnapshotAction::Create));
    let bytes = fs::read(bench.path("disk")).unwrap();
    assert_eq!(bytes.windows(6).filter(|w| w == b"LUKS\xba\xbe").count(), 1);
    bench
        .run(EraseKeyslots::new(&location, DiskFormat::Qcow2))
        .unwrap();
    let restore = bench
        .run(SnapshotDisk::new(disk, &id, SnapshotAction::Restore))
        .unwrap_err();
    assert_eq!(restore.kind(), ErrorKind::WrongKey);
    opens_with_no_key(&bench, "disk", DiskFormat::Qcow2, bench.luks());
}

#[test]
fn an_erasure_that_was_killed_has_done_its_work_and_can_be_finished() {
    let bench = Bench::new();
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        bench.create("disk", format, 1 << 20, bench.luks()).unwrap();
        let mut torn = fs::read(bench.path("disk")).unwrap();
        let records = luks_at(&torn) + 208..luks_at(&torn) + 592;
        let active = torn[records.clone()].to_vec();
        bench.run(EraseKeyslots::new(&bench.at("disk"), format)).unwrap();
        // As it is after the material and before the records.
        torn = fs::read(bench.path("disk")).unwrap();
        torn[records].copy_from_slice(&active);
        fs::write(bench.path("disk"), &torn).unwrap();
        opens_with_no_key(&bench, "disk", format, bench.luks());
        bench.run(EraseKeyslots::new(&bench.at("disk"), format)).unwrap();
        opens_with_no_key(&bench, "disk", format, bench.luks());
        fs::remove_file(bench.path("disk")).unwrap();
    }
}

#[test]
fn a_disk_that_qemu_has_open_is_not_erased() {
    let bench = Bench::new();
    let luks2 = Protection::Luks {
        format: EncryptionFormat::Luks2,
        key: &bench.key,
    };
    for (format, protection) in [
        (DiskFormat::Raw, bench.luks()),
        (DiskFormat::Qcow2, bench.luks()),
        (DiskFormat::Raw, luks2),
    ] {
        bench.create("disk", format, 1 << 20, protection).unwrap();
        let before = fs::read(bench.path("disk")).unwrap();
        let refused = bench.while_qemu_has_open("disk", || {
            bench
                .run(EraseKeyslots::new(&bench.at("disk"), format))
                .unwrap_err()
        });
        assert_eq!(refused.kind(), ErrorKind::Busy, "{refused}");
        assert!(fs::read(bench.path("disk")).unwrap() == before);
        bench.run(EraseKeyslots::new(&bench.at("disk"), format)).unwrap();
        opens_with_no_key(&bench, "disk", format, protection);
        fs::remove_file(bench.path("disk")).unwrap();
    }
}

#[test]
fn a_header_that_cannot_be_understood_is_not_written_to() {
    let bench = Bench::new();
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        bench.create("disk", format, 1 << 20, bench.luks()).unwrap();
        let mut bytes = fs::read(bench.path("disk")).unwrap();
        // The material of the first slot lies where it cannot lie: over the payload.
        let slot = luks_at(&bytes) + 208;
        bytes[slot + 40..slot + 44].copy_from_slice(&5000u32.to_be_bytes());
        fs::write(bench.path("disk"), &bytes).unwrap();
        let refused = bench
            .run(EraseKeyslots::new(&bench.at("disk"), format))
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongDisk, "{refused}");
        assert!(refused.message().contains("key material"), "{refused}");
        assert_eq!(fs::read(bench.path("disk")).unwrap(), bytes);
        fs::remove_file(bench.path("disk")).unwrap();
    }
}

#[test]
fn what_is_not_encrypted_is_not_erased() {
    let bench = Bench::new();
    for (name, format) in [("raw", DiskFormat::Raw), ("qcow2", DiskFormat::Qcow2)] {
        bench
            .create(
                name,
                format,
                1 << 20,
                strongroom_endpoint_selector::Protection::Plain,
            )
            .unwrap();
        let before = fs::read(bench.path(name)).unwrap();
        let refused = bench
            .run(EraseKeyslots::new(&bench.at(name), format))
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongDisk, "{refused}");
        assert_eq!(fs::read(bench.path(name)).unwrap(), before);
    }
}

#[test]
fn a_header_backup_brings_an_erased_disk_back() {
    let bench = Bench::new();
    bench
        .create("disk", DiskFormat::Raw, 1 << 20, bench.luks())
        .unwrap();
    let location = bench.at("disk");
    let disk = Disk::new(&location, DiskFormat::Raw, bench.luks());
    let backup = bench.path("backup");
    assert_eq!(
        bench.run(BackUpHeader::new(disk, &backup)).unwrap(),
        HostAnswer::Done
    );
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o077, 0);
    assert_eq!(bench.names(), ["backup", "disk"]);
    assert_eq!(
        bench.run(BackUpHeader::new(disk, &backup)).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    bench.run(EraseKeyslots::new(&location, DiskFormat::Raw)).unwrap();
    bench
        .verify(&location, DiskFormat::Raw, bench.luks())
        .unwrap_err();
    let restore = [
        "luksHeaderRestore",
        "-q",
        "--header-backup-file",
        backup.to_str().unwrap(),
    ];
    let path = bench.path("disk");
    assert_eq!(
        tool("cryptsetup", &[&restore[..], &[path.to_str().unwrap()]].concat()).code,
        0
    );
    bench.verify(&location, DiskFormat::Raw, bench.luks()).unwrap();
    bench
        .create("image", DiskFormat::Qcow2, 1 << 20, bench.luks())
        .unwrap();
    let location = bench.at("image");
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks());
    let refused = bench
        .run(BackUpHeader::new(disk, &bench.path("other")))
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert_eq!(disk.protection.format(), Some(LUKS1));
}
