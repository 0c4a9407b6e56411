//! Keyslots that are gone, and what a header backup means for it.

use std::fs;

use strongroom_endpoint_selector::{BackUpHeader, Disk, EraseKeyslots, ErrorKind, HostAnswer};
use strongroom_types::DiskFormat;

use crate::bench::{Bench, LUKS1, tool};

#[test]
fn erased_disks_open_with_no_key() {
    let bench = Bench::new();
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        bench.create("disk", format, 1 << 20, bench.luks()).unwrap();
        let before = fs::read(bench.path("disk")).unwrap();
        let location = bench.at("disk");
        for _ in 0..2 {
            assert_eq!(
                bench.run(EraseKeyslots::new(&location, format)).unwrap(),
                HostAnswer::Done
            );
        }
        let refused = bench.verify(&location, format, bench.luks()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongKey, "{refused}");
        let after = fs::read(bench.path("disk")).unwrap();
        let material = before
            .windows(64)
            .skip(4096)
            .step_by(4096)
            .filter(|w| w.iter().any(|b| *b != 0));
        let survivors = material
            .filter(|w| after.windows(64).step_by(8).any(|a| a == *w))
            .take(1)
            .count();
        assert_eq!(survivors, 0, "{format}: key material is still there");
        fs::remove_file(bench.path("disk")).unwrap();
    }
    let nowhere = bench.at("nowhere");
    assert_eq!(
        bench.run(EraseKeyslots::new(&nowhere, DiskFormat::Raw)).unwrap(),
        HostAnswer::Done
    );
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
    let disk = Disk {
        location: &location,
        format: DiskFormat::Raw,
        protection: bench.luks(),
    };
    let backup = bench.path("backup");
    assert_eq!(
        bench.run(BackUpHeader::new(disk, &backup)).unwrap(),
        HostAnswer::Done
    );
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
    let disk = Disk {
        location: &location,
        format: DiskFormat::Qcow2,
        protection: bench.luks(),
    };
    let refused = bench
        .run(BackUpHeader::new(disk, &bench.path("other")))
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert_eq!(disk.protection.format(), Some(LUKS1));
}
