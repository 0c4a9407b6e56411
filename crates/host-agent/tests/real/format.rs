//! Devices that become LUKS disks, at once or after an interruption.

use std::fs;
use std::iter;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{
    CompareContent, Disk, DiskLocation, Endpoint, EndpointError, EraseKeyslots, ErrorKind, FormatDevice,
    GrowDisk, HostAnswer, Protection, ReplaceContent, RescanDevice, Sameness,
};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, DiskFormat, EncryptionFormat, VolumeId};

use crate::bench::{Bench, LUKS1, pattern, raw, size};
use crate::loops::Loop;

const MIB: u64 = 1 << 20;

const BOTH: [EncryptionFormat; 2] = [LUKS1, EncryptionFormat::Luks2];

fn volume(id: &str) -> VolumeId {
    id.parse().unwrap()
}

/// Formats for volume `v` with the key of the bench.
fn format(
    bench: &Bench,
    location: &DiskLocation,
    luks: EncryptionFormat,
) -> Result<HostAnswer, EndpointError> {
    bench.run(FormatDevice::new(&volume("v"), location, luks, &bench.key))
}

fn protection(bench: &Bench, format: EncryptionFormat) -> Protection<'_> {
    Protection::Luks {
        format,
        key: &bench.key,
    }
}

/// A file of zeros, all of them allocated.
fn blank(bench: &Bench, name: &str, bytes: u64) -> DiskLocation {
    fs::write(bench.path(name), vec![0; usize::try_from(bytes).unwrap()]).unwrap();
    bench.at(name)
}

#[track_caller]
fn refused_and_untouched(bench: &Bench, location: &DiskLocation, luks: EncryptionFormat) {
    let before = fs::read(location.path()).unwrap();
    let refused = format(bench, location, luks).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{refused}");
    assert!(fs::read(location.path()).unwrap() == before);
}

#[test]
fn a_device_is_formatted_when_it_is_blank_and_not_otherwise() {
    let bench = Bench::new();
    for luks in BOTH {
        for (offset, content) in [
            (0, &b"x"[..]),
            (24 * MIB - 1, b"x"),
            (1080, b"\x53\xef"),
            (MIB, b"x"),
            (4096, &pattern(512)[..100]),
            (4096 + 258_048, &pattern(4096)),
            (20 * MIB, &pattern(4096)),
        ] {
            let location = blank(&bench, "device", 24 * MIB);
            let file = fs::File::options().write(true).open(location.path()).unwrap();
            file.write_all_at(content, offset).unwrap();
            refused_and_untouched(&bench, &location, luks);
        }
        let location = blank(&bench, "device", 24 * MIB);
        let HostAnswer::Disk(made) = format(&bench, &location, luks).unwrap() else {
            panic!("not a disk")
        };
        let header = if luks == LUKS1 { 2 * MIB } else { 16 * MIB };
        assert_eq!(made.guest, size(24 * MIB - header));
        assert_eq!(made.payload_offset.get(), header);
        bench
            .verify(&location, DiskFormat::Raw, protection(&bench, luks))
            .unwrap();
    }
}

#[test]
fn formatting_again_is_the_same_disk_for_the_same_volume_and_key_and_refused_to_everybody_else() {
    let bench = Bench::new();
    let other = Passphrase::generate().unwrap();
    for (luks, another) in [(LUKS1, EncryptionFormat::Luks2), (EncryptionFormat::Luks2, LUKS1)] {
        let location = blank(&bench, "device", 24 * MIB);
        let made = format(&bench, &location, luks).unwrap();
        let before = fs::read(location.path()).unwrap();
        assert_eq!(format(&bench, &location, luks).unwrap(), made);
        let (v, w) = (volume("v"), volume("w"));
        for again in [
            FormatDevice::new(&w, &location, luks, &bench.key),
            FormatDevice::new(&v, &location, luks, &other),
            FormatDevice::new(&v, &location, another, &bench.key),
        ] {
            let refused = bench.run(again).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{refused}");
        }
        assert!(fs::read(location.path()).unwrap() == before);
    }
}

/// How often a format is interrupted, at instants that are spread over the time that it takes.
const STEPS: u32 = 16;
/// The most, when none of them hit what they are for.
const ROUNDS: usize = 160;

#[test]
fn a_format_that_was_stopped_at_any_instant_is_finished_by_the_same_command() {
    let bench = Bench::new();
    let other = Passphrase::generate().unwrap();
    for luks in BOTH {
        let begun = Instant::now();
        format(&bench, &blank(&bench, "device", 24 * MIB), luks).unwrap();
        let whole = begun.elapsed();
        let (mut torn, mut whole_header) = (0, 0);
        for (number, step) in (1..=2 * STEPS).cycle().take(ROUNDS).enumerate() {
            if number >= STEPS as usize && torn > 0 && whole_header > 0 {
                break;
            }
            let location = blank(&bench, "device", 24 * MIB);
            let v = volume("v");
            let command = FormatDevice::new(&v, &location, luks, &bench.key);
            let call = Call::new().with_timeout(whole * step / STEPS);
            if let Err(stopped) = bench.agent.run(&call, &command.into()) {
                assert_eq!(stopped.kind(), ErrorKind::Deadline, "{stopped}");
                let left = fs::read(location.path()).unwrap();
                let begun = left.iter().any(|byte| *byte != 0);
                torn += u32::from(begun);
                let magic = left.starts_with(b"LUKS");
                whole_header += u32::from(magic);
                if magic {
                    let w = volume("w");
                    let another = FormatDevice::new(&w, &location, luks, &bench.key);
                    let refused = bench.run(another).unwrap_err();
                    assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{refused}");
                    assert!(fs::read(location.path()).unwrap() == left);
                }
            }
            let made = bench.disk(command);
            assert_eq!(made.encryption, Some(luks));
            bench
                .verify(&location, DiskFormat::Raw, protection(&bench, luks))
                .unwrap();
            let with_another = FormatDevice::new(&v, &location, luks, &other);
            let refused = bench.run(with_another).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{refused}");
        }
        assert!(torn > 0, "{luks}: no stop hit the middle of {whole:?}");
        assert!(
            whole_header > 0,
            "{luks}: no stop came after the header was there, of {whole:?}"
        );
    }
}

#[test]
fn a_disk_without_keyslots_is_not_formatted_over_what_its_guest_wrote() {
    let bench = Bench::new();
    let location = blank(&bench, "device", 24 * MIB);
    format(&bench, &location, LUKS1).unwrap();
    let content = bench.path("content");
    fs::write(&content, pattern(1 << 20)).unwrap();
    let disk = Disk::new(&location, DiskFormat::Raw, bench.luks());
    bench.disk(ReplaceContent::new(disk, raw(&content).into()));
    bench.run(EraseKeyslots::new(&location, DiskFormat::Raw)).unwrap();
    refused_and_untouched(&bench, &location, LUKS1);
}

#[test]
fn a_loop_device_is_a_disk_like_any_other() {
    let bench = Bench::new();
    let device = Loop::new(&bench, 8 * MIB);
    // Names of devices are symlinks more often than not.
    let link = bench.path("link");
    std::os::unix::fs::symlink(&device.path, &link).unwrap();
    let location = DiskLocation::block(link);
    let HostAnswer::Disk(made) = format(&bench, &location, LUKS1).unwrap() else {
        panic!("not a disk")
    };
    assert_eq!(made.guest, size(6 * MIB));
    let content = bench.path("content");
    fs::write(&content, pattern(6 << 20)).unwrap();
    let disk = Disk::new(&location, DiskFormat::Raw, bench.luks());
    bench.disk(ReplaceContent::new(disk, raw(&content).into()));
    assert_eq!(
        bench
            .run(CompareContent::new(disk, raw(&content).into()))
            .unwrap(),
        HostAnswer::Compared(Sameness::Identical)
    );
    bench.verify(&location, DiskFormat::Raw, bench.luks()).unwrap();
}

#[test]
fn a_device_is_made_larger_by_its_storage_and_growing_the_disk_then_confirms_it() {
    let bench = Bench::new();
    let device = Loop::new(&bench, 8 * MIB);
    let location = device.whole();
    format(&bench, &location, LUKS1).unwrap();
    let disk = Disk::new(&location, DiskFormat::Raw, bench.luks());
    let larger = GrowDisk::new(disk, size(7 * MIB));
    assert_eq!(bench.run(larger).unwrap_err().kind(), ErrorKind::Unsupported);
    device.resize_file(9 * MIB);
    bench.run(RescanDevice::new(device.path.as_ref())).unwrap();
    assert_eq!(bench.disk(larger).guest, size(7 * MIB));
    let smaller = GrowDisk::new(disk, size(6 * MIB));
    assert_eq!(bench.run(smaller).unwrap_err().kind(), ErrorKind::InvalidRequest);
}

#[test]
fn a_format_of_a_device_that_was_stopped_is_finished_by_the_same_command() {
    let bench = Bench::new();
    let (v, mut whole, mut torn) = (volume("v"), Duration::ZERO, 0);
    // The first is not stopped, and says how long it takes. On a busy machine all stops of a round may miss the middle.
    for (number, step) in iter::once(0)
        .chain((1..=2 * STEPS).cycle())
        .take(ROUNDS)
        .enumerate()
    {
        if torn > 0 && number > STEPS as usize {
            break;
        }
        let device = Loop::new(&bench, 8 * MIB);
        let location = device.whole();
        let command = FormatDevice::new(&v, &location, LUKS1, &bench.key);
        if step == 0 {
            let begun = Instant::now();
            bench.disk(command);
            whole = begun.elapsed();
            continue;
        }
        let call = Call::new().with_timeout(whole * step / STEPS);
        if bench.agent.run(&call, &command.into()).is_err() {
            torn += u32::from(fs::read(&device.path).unwrap().iter().any(|byte| *byte != 0));
        }
        assert_eq!(bench.disk(command).guest, size(6 * MIB));
        bench.verify(&location, DiskFormat::Raw, bench.luks()).unwrap();
    }
    assert!(torn > 0, "no stop hit the middle of {whole:?}");
}
