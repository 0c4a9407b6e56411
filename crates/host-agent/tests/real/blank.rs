//! Devices that are proved blank, and devices that are made so.

use std::fs;

use strongroom_endpoint_selector::{BlankDevice, DiskLocation, Endpoint, ErrorKind, HostAnswer, ProveBlank};
use strongroom_types::{Call, Cancellation, DeviceSize};

use crate::bench::{Bench, pattern};
use crate::loops::{Loop, claim};

const MIB: u64 = 1 << 20;

fn bytes(bytes: u64) -> Option<DeviceSize> {
    Some(DeviceSize::new(bytes).unwrap())
}

#[test]
fn one_byte_anywhere_is_found_and_said_where() {
    let bench = Bench::new();
    let device = Loop::new(&bench, 9 * MIB);
    let whole = device.whole();
    assert_eq!(bench.run(ProveBlank::new(&whole)).unwrap(), HostAnswer::Done);
    for at in [0, 511, 4 * MIB - 1, 4 * MIB, 9 * MIB - 1] {
        device.put(b"x", at);
        let refused = bench.run(ProveBlank::new(&whole)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{refused}");
        assert!(refused.message().contains(&format!("byte {at};")), "{refused}");
        device.put(&[0], at);
    }
    bench.run(ProveBlank::new(&whole)).unwrap();
}

#[test]
fn only_the_part_that_is_asked_for_is_looked_at() {
    let bench = Bench::new();
    let device = Loop::new(&bench, 9 * MIB);
    device.put(b"before", MIB - 6);
    device.put(b"behind", 5 * MIB + 512);
    let first = device.first(5 * MIB + 512);
    let part = |from| bench.run(ProveBlank::new(&first).from(from));
    part(bytes(MIB)).unwrap();
    assert_eq!(
        part(bytes(MIB - 512)).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    assert_eq!(part(None).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let more = device.first(5 * MIB + 1024);
    let refused = bench.run(ProveBlank::new(&more).from(bytes(MIB))).unwrap_err();
    let told = refused.to_string();
    assert!(
        told.contains("from byte 1048576 on, and nothing before it"),
        "{told}"
    );
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "{refused}");
}

#[test]
fn a_device_is_blanked_as_far_as_the_disk_goes_and_no_further() {
    let bench = Bench::new();
    let content = pattern(20 << 20);
    let device = Loop::with(&bench, &content);
    // No multiple of any block but the smallest.
    let used = 17 * MIB + 512;
    let first = device.first(used);
    for _ in 0..2 {
        assert_eq!(bench.run(BlankDevice::new(&first)).unwrap(), HostAnswer::Done);
        let left = device.bytes();
        let (blank, behind) = left.split_at(usize::try_from(used).unwrap());
        assert!(blank.iter().all(|byte| *byte == 0));
        assert!(behind == &content[blank.len()..]);
    }
    bench.run(ProveBlank::new(&first)).unwrap();
    // What was given back takes no room in the file below.
    let room = |path| std::os::unix::fs::MetadataExt::blocks(&fs::metadata(path).unwrap()) * 512;
    assert!(room(&device.backing) < 4 * MIB, "{}", room(&device.backing));
}

#[test]
fn nothing_is_blanked_that_is_not_said_to_be_a_certain_device() {
    let bench = Bench::new();
    let content = pattern(8 << 20);
    let (device, other) = (Loop::with(&bench, &content), Loop::with(&bench, &content));
    let mut of_other = other.device();
    let DiskLocation::Block(mine) = device.first(MIB) else {
        panic!("not a device")
    };
    of_other.identity = mine.identity;
    for (location, kind) in [
        (device.whole(), ErrorKind::InvalidRequest),
        (DiskLocation::file(&device.backing), ErrorKind::InvalidRequest),
        (DiskLocation::Block(of_other), ErrorKind::WrongDisk),
        (device.first(8 * MIB + 512), ErrorKind::WrongDisk),
    ] {
        let refused = bench.run(BlankDevice::new(&location)).unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
    }
    assert!(device.bytes() == content && other.bytes() == content);
}

#[test]
fn a_device_that_somebody_has_is_neither_blanked_nor_proved_but_behind_his_disk() {
    let bench = Bench::new();
    let device = Loop::new(&bench, 8 * MIB);
    device.put(b"x", 0);
    let first = device.first(4 * MIB);
    let claimed = claim(&device);
    for refused in [
        bench.run(BlankDevice::new(&first)),
        bench.run(ProveBlank::new(&first)),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Busy);
    }
    bench.run(ProveBlank::new(&first).from(bytes(512))).unwrap();
    drop(claimed);
    assert_eq!(device.bytes()[0], b'x');
    bench.run(BlankDevice::new(&first)).unwrap();
    assert_eq!(device.bytes()[0], 0);
}

#[test]
fn what_makes_a_disk_readable_goes_first_when_blanking_is_stopped() {
    let bench = Bench::new();
    let content = pattern(40 << 20);
    let device = Loop::with(&bench, &content);
    let stop = Cancellation::new();
    let stopping = stop.clone();
    // The first report comes after the first piece behind the header.
    let call = Call::new()
        .with_cancellation(stop)
        .with_progress(std::sync::Arc::new(move |_| stopping.cancel()));
    let whole = device.first(40 * MIB);
    let stopped = bench
        .agent
        .run(&call, &BlankDevice::new(&whole).into())
        .unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::Cancelled, "{stopped}");
    let left = device.bytes();
    assert!(left[..16 << 20].iter().all(|byte| *byte == 0));
    assert!(left[24 << 20..] == content[24 << 20..]);
    bench.run(BlankDevice::new(&whole)).unwrap();
    assert!(device.bytes().iter().all(|byte| *byte == 0));
}
