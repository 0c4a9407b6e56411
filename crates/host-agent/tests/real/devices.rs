//! Block devices: which one it is, that no other one is touched, and nothing behind the disk on it.

use std::fs;

use strongroom_endpoint_selector::{
    BlockDevice, CompareContent, DeviceFacts, DeviceIdentity, Disk, DiskLocation, EraseKeyslots, ErrorKind,
    FormatDevice, FormatQcow2, GrowDisk, HostAnswer, HostCommand, IdentifyDevice, InspectDisk, Protection,
    ReplaceContent, RescanDevice, VerifyDisk,
};
use strongroom_types::{DeviceSize, DiskFormat, VolumeId};

use crate::bench::{Bench, LUKS1, pattern, raw, size, tool};
use crate::loops::{Loop, claim};

const MIB: u64 = 1 << 20;

fn volume() -> VolumeId {
    "v".parse().unwrap()
}

#[track_caller]
fn device<'a>(bench: &Bench, command: impl Into<HostCommand<'a>>) -> DeviceFacts {
    match bench.run(command) {
        Ok(HostAnswer::Device(facts)) => facts,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_device_is_known_by_its_size_and_serial_whatever_its_name_is() {
    let bench = Bench::new();
    let disk = Loop::new(&bench, 8 * MIB);
    let link = bench.path("link");
    std::os::unix::fs::symlink(&disk.path, &link).unwrap();
    let facts = device(&bench, IdentifyDevice::new(&link));
    assert_eq!(facts.path.to_str(), Some(disk.path.as_str()));
    assert_eq!(facts.size.get(), 8 * MIB);
    assert_eq!(facts.serial.as_deref(), disk.backing.to_str());
    assert_eq!(facts.used_by, None);
    for (path, kind) in [
        (bench.path("link-to-nothing"), ErrorKind::NotFound),
        (disk.backing.clone(), ErrorKind::WrongDisk),
        ("/dev/null".into(), ErrorKind::WrongDisk),
        (bench.place.path().to_owned(), ErrorKind::WrongDisk),
        ("relative".into(), ErrorKind::InvalidRequest),
    ] {
        let refused = bench.run(IdentifyDevice::new(&path)).unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
    }
}

#[test]
fn whoever_uses_a_device_is_named_and_nothing_is_formatted_there() {
    let bench = Bench::new();
    let used_by = |disk: &Loop| device(&bench, IdentifyDevice::new(disk.path.as_ref())).used_by;
    let refused = |disk: &Loop| {
        let (v, location, before) = (volume(), disk.whole(), disk.bytes());
        for command in [
            HostCommand::from(FormatDevice::new(&v, &location, LUKS1, &bench.key)),
            FormatQcow2::new(&v, &location, size(MIB), Protection::Plain).into(),
        ] {
            let refused = bench.run(command).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Busy, "{refused}");
            assert!(refused.message().contains("in use on this host"), "{refused}");
        }
        assert!(disk.bytes() == before);
    };

    let claimed = Loop::new(&bench, 8 * MIB);
    let hold = claim(&claimed);
    assert_eq!(used_by(&claimed).as_deref(), Some("somebody has it for himself"));
    refused(&claimed);
    drop(hold);
    assert_eq!(used_by(&claimed), None);

    let mounted = Loop::new(&bench, 8 * MIB);
    assert_eq!(tool("mkfs.ext4", &["-q", &mounted.path]).code, 0);
    let point = bench.path("a b");
    fs::create_dir(&point).unwrap();
    assert_eq!(tool("mount", &[&mounted.path, point.to_str().unwrap()]).code, 0);
    let user = used_by(&mounted).unwrap_or_default();
    refused(&mounted);
    assert_eq!(tool("umount", &[point.to_str().unwrap()]).code, 0);
    assert!(
        user.ends_with(&format!("mounted at {}", point.display())),
        "{user}"
    );
    assert_eq!(used_by(&mounted), None);
}

#[test]
fn a_device_that_qemu_has_open_is_in_use_and_keeps_its_keys() {
    let bench = Bench::new();
    let (disk, v) = (Loop::new(&bench, 8 * MIB), volume());
    let location = disk.whole();
    bench.disk(FormatDevice::new(&v, &location, LUKS1, &bench.key));
    let before = disk.bytes();
    bench.while_qemu_has_open(&disk.path, || {
        let user = device(&bench, IdentifyDevice::new(disk.path.as_ref())).used_by;
        assert!(
            user.as_ref().is_some_and(|user| user.contains("has locked it")),
            "{user:?}"
        );
        let erase = EraseKeyslots::new(&location, DiskFormat::Raw);
        assert_eq!(bench.run(erase).unwrap_err().kind(), ErrorKind::Busy);
    });
    assert!(disk.bytes() == before);
}

#[test]
fn a_device_with_a_partition_in_use_is_in_use() {
    let bench = Bench::new();
    let disk = Loop::new(&bench, 10 * MIB);
    // Said to the kernel, which need not know any partition table for that: 8 MiB behind the first MiB.
    assert_eq!(tool("addpart", &[&disk.path, "1", "2048", "16384"]).code, 0);
    let partition = format!("{}p1", disk.path);
    let facts = device(&bench, IdentifyDevice::new(partition.as_ref()));
    assert_eq!(facts.size.get(), 8 * MIB);
    assert_eq!(facts.serial, Some(format!("{}-part1", disk.backing.display())));
    assert_eq!(tool("mkfs.ext4", &["-q", &partition]).code, 0);
    let point = bench.path("mounted");
    fs::create_dir(&point).unwrap();
    assert_eq!(tool("mount", &[&partition, point.to_str().unwrap()]).code, 0);
    let user = device(&bench, IdentifyDevice::new(disk.path.as_ref())).used_by;
    assert_eq!(tool("umount", &[point.to_str().unwrap()]).code, 0);
    let user = user.unwrap_or_default();
    assert!(user.contains("p1 is mounted at"), "{user}");
}

#[test]
fn a_device_that_grew_is_noticed_by_a_rescan() {
    let bench = Bench::new();
    let disk = Loop::new(&bench, 8 * MIB);
    disk.resize_file(9 * MIB);
    let identify = IdentifyDevice::new(disk.path.as_ref());
    assert_eq!(device(&bench, identify).size.get(), 8 * MIB);
    let rescan = RescanDevice::new(disk.path.as_ref());
    assert_eq!(device(&bench, rescan).size.get(), 9 * MIB);
    assert_eq!(device(&bench, rescan).size.get(), 9 * MIB);
    assert_eq!(device(&bench, identify).size.get(), 9 * MIB);
}

/// Every command that takes a place, for the disk of the bench on this one.
fn commands<'a>(
    bench: &'a Bench,
    volume: &'a VolumeId,
    location: &'a DiskLocation,
    image: &'a std::path::Path,
) -> Vec<HostCommand<'a>> {
    let disk = Disk::new(location, DiskFormat::Raw, bench.luks());
    vec![
        FormatDevice::new(volume, location, LUKS1, &bench.key).into(),
        FormatQcow2::new(volume, location, size(MIB), Protection::Plain).into(),
        InspectDisk::new(location, DiskFormat::Raw, Some(LUKS1)).into(),
        VerifyDisk::new(disk).into(),
        ReplaceContent::new(disk, raw(image).into()).into(),
        CompareContent::new(disk, raw(image).into()).into(),
        EraseKeyslots::new(location, DiskFormat::Raw).into(),
    ]
}

#[test]
fn another_device_than_the_one_that_is_meant_is_neither_read_nor_written() {
    let bench = Bench::new();
    let (v, image) = (volume(), bench.path("image"));
    fs::write(&image, pattern(1 << 20)).unwrap();
    let disk = Loop::new(&bench, 8 * MIB);
    bench.disk(FormatDevice::new(&v, &disk.whole(), LUKS1, &bench.key));
    let before = disk.bytes();
    let serial = disk.backing.to_str().unwrap();
    for (bytes, meant) in [(9 * MIB, serial), (8 * MIB, "another"), (7 * MIB, "another")] {
        let identity = DeviceIdentity::new(DeviceSize::new(bytes).unwrap(), Some(meant.to_owned()));
        let location = DiskLocation::Block(disk.device().with_identity(identity));
        let grow = Disk::new(&location, DiskFormat::Raw, bench.luks());
        let mut all = commands(&bench, &v, &location, &image);
        all.push(GrowDisk::new(grow, size(7 * MIB)).into());
        for command in all {
            let refused = bench.run(command).unwrap_err();
            assert_eq!(
                refused.kind(),
                ErrorKind::WrongDisk,
                "{}: {refused}",
                command.name()
            );
            for said in [
                bytes.to_string(),
                (8 * MIB).to_string(),
                meant.into(),
                serial.into(),
            ] {
                assert!(refused.message().contains(&said), "{refused}");
            }
        }
    }
    assert!(disk.bytes() == before);

    let size_alone = DeviceIdentity::new(DeviceSize::new(8 * MIB).unwrap(), None);
    let known = DeviceIdentity::new(size_alone.size, Some(serial.to_owned()));
    for identity in [size_alone, known] {
        let location = DiskLocation::Block(disk.device().with_identity(identity));
        bench.verify(&location, DiskFormat::Raw, bench.luks()).unwrap();
    }
}

#[test]
fn a_device_that_is_smaller_than_the_disk_on_it_is_refused_and_not_yet_grown() {
    let bench = Bench::new();
    let (v, image) = (volume(), bench.path("image"));
    fs::write(&image, pattern(1 << 20)).unwrap();
    let disk = Loop::new(&bench, 8 * MIB);
    bench.disk(FormatDevice::new(&v, &disk.whole(), LUKS1, &bench.key));
    let before = disk.bytes();
    let used = DeviceSize::new(8 * MIB + 512).unwrap();
    let location = DiskLocation::Block(BlockDevice::new(&disk.path).with_used(used));
    for command in commands(&bench, &v, &location, &image) {
        let refused = bench.run(command).unwrap_err();
        assert_eq!(
            refused.kind(),
            ErrorKind::WrongDisk,
            "{}: {refused}",
            command.name()
        );
    }
    let grow = Disk::new(&location, DiskFormat::Raw, bench.luks());
    let early = bench.run(GrowDisk::new(grow, size(6 * MIB + 512))).unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Unsupported, "{early}");
    assert!(disk.bytes() == before);
}
