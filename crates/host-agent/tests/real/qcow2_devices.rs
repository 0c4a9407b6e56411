//! Qcow2 disks on block devices that are smaller than what the guest sees.

use std::fs;

use sha2::{Digest, Sha256};
use strongroom_endpoint_selector::{
    CompareContent, Disk, DiskFacts, DiskLocation, EndpointError, ErrorKind, FormatQcow2, GrowDisk,
    HostAnswer, Protection, ReplaceContent, RescanDevice, Sameness, SnapshotAction, SnapshotDisk,
};
use strongroom_secret::Passphrase;
use strongroom_types::{DiskFormat, EncryptionFormat, VolumeId};

use crate::bench::{Bench, LUKS1, pattern, raw, size};
use crate::loops::{Loop, behind};

const MIB: u64 = 1 << 20;
const QCOW2: DiskFormat = DiskFormat::Qcow2;

fn volume() -> VolumeId {
    "v".parse().unwrap()
}

fn format(
    bench: &Bench,
    location: &DiskLocation,
    guest: u64,
    protection: Protection<'_>,
) -> Result<DiskFacts, EndpointError> {
    match bench.run(FormatQcow2::new(&volume(), location, size(guest), protection))? {
        HostAnswer::Disk(facts) => Ok(facts),
        other => panic!("{other:?}"),
    }
}

fn both(bench: &Bench) -> [Protection<'_>; 2] {
    [Protection::Plain, bench.luks()]
}

#[test]
fn a_thin_disk_on_a_device_grows_and_is_snapshotted_and_leaves_what_is_behind_it_alone() {
    let bench = Bench::new();
    let image = bench.path("image");
    fs::write(&image, pattern(4 << 20)).unwrap();
    for protection in both(&bench) {
        let others = behind(1 << 20);
        let device = Loop::with(&bench, &[vec![0; 16 << 20], others.clone()].concat());
        let location = device.first(16 * MIB);
        let made = format(&bench, &location, 1 << 40, protection).unwrap();
        assert_eq!(made.guest, size(1 << 40));
        assert_eq!(made.device.get(), 16 * MIB);
        assert_eq!(made.encryption, protection.format());
        let before = device.bytes();
        assert_eq!(format(&bench, &location, 1 << 40, protection).unwrap(), made);
        assert!(device.bytes() == before);
        bench.verify(&location, QCOW2, protection).unwrap();

        let disk = Disk::new(&location, QCOW2, protection);
        bench.disk(ReplaceContent::new(disk, raw(&image).into()));
        let id = "one".parse().unwrap();
        let taken = bench.disk(SnapshotDisk::new(disk, &id, SnapshotAction::Create));
        assert!(taken.snapshots.contains(&id));
        let grown = bench.disk(GrowDisk::new(disk, size((1 << 40) + MIB)));
        assert_eq!(grown.guest, size((1 << 40) + MIB));
        let same = bench.run(CompareContent::new(disk, raw(&image).into()));
        assert_eq!(same.unwrap(), HostAnswer::Compared(Sameness::Identical));
        bench.verify(&location, QCOW2, protection).unwrap();
        assert!(device.bytes().get(16 << 20..) == Some(&others));
    }
}

#[test]
fn a_disk_that_fills_its_device_says_so_and_goes_on_when_the_device_is_larger() {
    let bench = Bench::new();
    let image = bench.path("image");
    fs::write(&image, pattern(8 << 20)).unwrap();
    for protection in both(&bench) {
        let device = Loop::new(&bench, 6 * MIB);
        let location = device.whole();
        format(&bench, &location, 1 << 30, protection).unwrap();
        let disk = Disk::new(&location, QCOW2, protection);
        let full = bench
            .run(ReplaceContent::new(disk, raw(&image).into()))
            .unwrap_err();
        assert_eq!(full.kind(), ErrorKind::NoSpace, "{full}");
        bench.verify(&location, QCOW2, protection).unwrap();
        device.resize_file(16 * MIB);
        bench.run(RescanDevice::new(device.path.as_ref())).unwrap();
        bench.disk(ReplaceContent::new(disk, raw(&image).into()));
        let same = bench.run(CompareContent::new(disk, raw(&image).into()));
        assert_eq!(same.unwrap(), HostAnswer::Compared(Sameness::Identical));
    }
}

#[test]
fn what_is_on_a_device_stays_unless_it_is_the_very_same_disk() {
    let bench = Bench::new();
    let other = Passphrase::generate().unwrap();
    let another_key = Protection::Luks {
        format: LUKS1,
        key: &other,
    };
    let device = Loop::new(&bench, 8 * MIB);
    let location = device.whole();
    format(&bench, &location, MIB, bench.luks()).unwrap();
    let before = device.bytes();
    for (guest, protection) in [
        (2 * MIB, bench.luks()),
        (MIB, Protection::Plain),
        (MIB, another_key),
    ] {
        let refused = format(&bench, &location, guest, protection).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{refused}");
    }
    assert!(device.bytes() == before);
    for at in [0, 600, 70_000, 8 * MIB - 1] {
        device.put(&vec![0; 8 << 20], 0);
        device.put(b"x", at);
        let before = device.bytes();
        let refused = format(&bench, &location, MIB, bench.luks()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{at}: {refused}");
        assert!(device.bytes() == before);
    }
}

#[test]
fn a_disk_with_content_or_a_snapshot_is_never_the_answer() {
    let bench = Bench::new();
    let image = bench.path("image");
    fs::write(&image, pattern(8 << 20)).unwrap();
    let (w, id) = ("w".parse().unwrap(), "one".parse().unwrap());
    for protection in both(&bench) {
        for snapshot in [false, true] {
            let device = Loop::new(&bench, 16 * MIB);
            let location = device.whole();
            format(&bench, &location, 1 << 30, protection).unwrap();
            let disk = Disk::new(&location, QCOW2, protection);
            if snapshot {
                bench.disk(SnapshotDisk::new(disk, &id, SnapshotAction::Create));
            } else {
                bench.disk(ReplaceContent::new(disk, raw(&image).into()));
            }
            let before = device.bytes();
            for volume in [&w, &volume()] {
                let again = FormatQcow2::new(volume, &location, size(1 << 30), protection);
                let refused = bench.run(again).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{refused}");
            }
            assert!(device.bytes() == before);
        }
    }
}

#[test]
fn what_the_same_command_left_is_finished_and_what_another_volumes_left_stays() {
    let bench = Bench::new();
    for protection in both(&bench) {
        let device = Loop::new(&bench, 8 * MIB);
        let location = device.whole();
        format(&bench, &location, 1 << 40, protection).unwrap();
        let made = device.bytes();
        let end = made.iter().rposition(|byte| *byte != 0).unwrap();
        let mark = mark(end as u64 + 1);
        for written in [512, 4096, end / 2, end + 1] {
            device.put(&vec![0; 8 << 20], 0);
            device.put(&made[..written], 0);
            device.put(&mark, 0);
            let before = device.bytes();
            let w = "w".parse().unwrap();
            let another = FormatQcow2::new(&w, &location, size(MIB), protection);
            let refused = bench.run(another).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{refused}");
            assert!(device.bytes() == before);
            // Another size is fine: nobody has used the disk yet.
            let again = format(&bench, &location, MIB, protection).unwrap();
            assert_eq!(again.guest, size(MIB));
            bench.verify(&location, QCOW2, protection).unwrap();
        }
    }
}

/// The first sector as it is while the rest, so many bytes, is written.
fn mark(bytes: u64) -> Vec<u8> {
    let mut sector = b"strongroom: a qcow2 disk is begun here\n".to_vec();
    sector.extend_from_slice(&Sha256::digest("v"));
    sector.extend(bytes.to_be_bytes());
    sector.resize(512, 0);
    sector
}

#[test]
fn files_luks2_and_devices_without_room_are_refused() {
    let bench = Bench::new();
    let device = Loop::new(&bench, MIB);
    let luks2 = Protection::Luks {
        format: EncryptionFormat::Luks2,
        key: &bench.key,
    };
    fs::write(bench.path("file"), vec![0; 4 << 20]).unwrap();
    for (location, protection, kind) in [
        (bench.at("file"), Protection::Plain, ErrorKind::InvalidRequest),
        (device.whole(), luks2, ErrorKind::Unsupported),
        (device.whole(), bench.luks(), ErrorKind::InvalidRequest),
    ] {
        let refused = format(&bench, &location, MIB, protection).unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
    }
    assert!(device.bytes().iter().all(|byte| *byte == 0));
}
