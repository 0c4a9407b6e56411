//! Devices of which only the beginning is the disk: nothing behind it is read or written.

use std::fs;

use strongroom_endpoint_selector::{
    CompareContent, Disk, DiskLocation, EndpointError, EraseKeyslots, ErrorKind, FormatDevice, GrowDisk,
    HostAnswer, InspectDisk, Protection, ReplaceContent, Sameness, VerifyDisk,
};
use strongroom_types::{DiskFormat, EncryptionFormat};

use crate::bench::{Bench, LUKS1, pattern, raw, size};
use crate::loops::{Loop, behind};

const MIB: u64 = 1 << 20;

/// A device with a disk of 24 MiB on it, and behind that somebody else's.
fn shared(bench: &Bench) -> (Loop, Vec<u8>) {
    let others = behind(1 << 20);
    let disk = Loop::with(bench, &[vec![0; 24 << 20], others.clone()].concat());
    (disk, others)
}

fn format(
    bench: &Bench,
    location: &DiskLocation,
    luks: EncryptionFormat,
) -> Result<HostAnswer, EndpointError> {
    bench.run(FormatDevice::new(
        &"v".parse().unwrap(),
        location,
        luks,
        &bench.key,
    ))
}

#[test]
fn what_lies_behind_the_disk_on_a_device_is_nobodys_business() {
    let bench = Bench::new();
    for luks in [LUKS1, EncryptionFormat::Luks2] {
        let (device, others) = shared(&bench);
        let location = device.first(24 * MIB);
        let untouched = |what: &str| {
            let bytes = device.bytes();
            assert!(bytes.get(24 << 20..) == Some(&others), "{luks}: {what}");
        };
        let HostAnswer::Disk(made) = format(&bench, &location, luks).unwrap() else {
            panic!("not a disk")
        };
        untouched("format");
        let header = if luks == LUKS1 { 2 * MIB } else { 16 * MIB };
        assert_eq!(made.guest, size(24 * MIB - header));
        assert_eq!(made.device.get(), 24 * MIB);
        assert_eq!(made.payload_offset.get(), header);
        assert_eq!(format(&bench, &location, luks).unwrap(), HostAnswer::Disk(made));
        let key = &bench.key;
        let disk = Disk::new(&location, DiskFormat::Raw, Protection::Luks { format: luks, key });
        bench.run(VerifyDisk::new(disk)).unwrap();
        if luks == LUKS1 {
            let content = bench.path("content");
            fs::write(&content, pattern(22 << 20)).unwrap();
            bench.disk(ReplaceContent::new(disk, raw(&content).into()));
            untouched("replace");
            let same = bench.run(CompareContent::new(disk, raw(&content).into()));
            assert_eq!(same.unwrap(), HostAnswer::Compared(Sameness::Identical));
            fs::write(&content, pattern((22 << 20) + 512)).unwrap();
            let too_much = bench.run(ReplaceContent::new(disk, raw(&content).into()));
            assert_eq!(too_much.unwrap_err().kind(), ErrorKind::InvalidRequest);
        }
        // The storage makes room: the disk then has what was behind it, when whoever says so says so.
        let larger = device.first(24 * MIB + 512);
        let grown = Disk::new(&larger, DiskFormat::Raw, Protection::Luks { format: luks, key });
        let to = size(24 * MIB + 512 - header);
        assert_eq!(bench.disk(GrowDisk::new(grown, to)).guest, to);
        let early = bench.run(GrowDisk::new(disk, to)).unwrap_err();
        assert_eq!(early.kind(), ErrorKind::Unsupported, "{early}");
        bench.run(EraseKeyslots::new(&location, DiskFormat::Raw)).unwrap();
        untouched("erase");
    }
}

#[test]
fn a_plain_disk_is_not_taken_for_what_lies_behind_it() {
    let bench = Bench::new();
    let image = bench.path("image");
    fs::write(&image, pattern(4096)).unwrap();
    // With LUKS2 behind it, whose second header the reader would look for at 16 KiB and so on.
    let luks = Loop::new(&bench, 24 * MIB);
    format(&bench, &luks.whole(), EncryptionFormat::Luks2).unwrap();
    let header = luks.bytes();
    let mut content = vec![0; 4096];
    content.extend_from_slice(&header[4096..]);
    let device = Loop::with(&bench, &content);
    let whole = device.whole();
    let found = bench
        .run(InspectDisk::new(&whole, DiskFormat::Raw, None))
        .unwrap_err();
    assert_eq!(found.kind(), ErrorKind::WrongDisk, "{found}");
    let location = device.first(4096);
    let disk = Disk::new(&location, DiskFormat::Raw, Protection::Plain);
    let facts = bench.disk(ReplaceContent::new(disk, raw(&image).into()));
    assert_eq!(facts.guest, size(4096));
    assert!(device.bytes().get(4096..) == content.get(4096..));
}

#[test]
fn a_header_in_front_of_others_data_that_was_stopped_anywhere_is_finished_by_the_same_command() {
    let bench = Bench::new();
    for (luks, header, material) in [
        (LUKS1, 2 << 20, 4096),
        (EncryptionFormat::Luks2, 16 << 20, 32 << 10),
    ] {
        let (device, others) = shared(&bench);
        let location = device.first(24 * MIB);
        format(&bench, &location, luks).unwrap();
        let made = device.bytes();
        // In the order in which it is written: from the first key material on, and then the header.
        for written in [512usize, 300 << 10, header - material, header - material + 4096] {
            let mut left = vec![0; 24 << 20];
            let (first, second) = (
                written.min(header - material),
                written.saturating_sub(header - material),
            );
            left[material..material + first].copy_from_slice(&made[material..material + first]);
            left[..second].copy_from_slice(&made[..second]);
            device.put(&left, 0);
            format(&bench, &location, luks).unwrap_or_else(|e| panic!("{luks}, {written} bytes: {e}"));
            let key = &bench.key;
            let protection = Protection::Luks { format: luks, key };
            bench.verify(&location, DiskFormat::Raw, protection).unwrap();
            // What a guest wrote is not blank, whosever header is in front.
            left[23 << 20] = 1;
            device.put(&left, 0);
            let before = device.bytes();
            if written < header - material {
                let refused = format(&bench, &location, luks).unwrap_err();
                assert_eq!(
                    refused.kind(),
                    ErrorKind::AlreadyExists,
                    "{luks}, {written}: {refused}"
                );
                assert!(device.bytes() == before);
            }
        }
        assert!(device.bytes().get(24 << 20..) == Some(&others));
    }
}

#[test]
fn a_device_whose_disk_is_not_blank_stays_and_one_without_room_for_a_header_too() {
    let bench = Bench::new();
    let (device, _) = shared(&bench);
    for at in [0, 511, 4096, MIB, 24 * MIB - 1] {
        device.put(&vec![0; 24 << 20], 0);
        device.put(b"x", at);
        let before = device.bytes();
        let refused = format(&bench, &device.first(24 * MIB), LUKS1).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{refused}");
        assert!(device.bytes() == before);
    }
    device.put(&vec![0; 24 << 20], 0);
    for (luks, used) in [(LUKS1, 2 * MIB), (EncryptionFormat::Luks2, 16 * MIB)] {
        let refused = format(&bench, &device.first(used), luks).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidRequest, "{refused}");
    }
}
