//! Devices that not every machine has, in a guest of the lab: disks with serial numbers, mappings, swap space.

use std::path::Path;

use strongroom_endpoint_selector::{
    BlockDevice, DeviceFacts, DeviceIdentity, DiskLocation, EraseKeyslots, ErrorKind, FormatDevice,
    FormatQcow2, HostAnswer, HostCommand, IdentifyDevice, Protection, RescanDevice,
};
use strongroom_lab::{Guest, disk, in_guest};
use strongroom_types::{DeviceSize, DiskFormat};

use crate::bench::{Bench, LUKS1, size, tool};

const MIB: u64 = 1 << 20;

fn identify(bench: &Bench, path: &Path) -> DeviceFacts {
    match bench.run(IdentifyDevice::new(path)) {
        Ok(HostAnswer::Device(facts)) => facts,
        other => panic!("{other:?}"),
    }
}

fn run(name: &str, words: &[&str]) {
    let done = tool(name, words);
    assert_eq!(done.code, 0, "{name}: {}", done.message());
}

#[test]
fn a_disk_is_known_by_its_serial_number_and_whoever_uses_it_is_named() {
    let guest = Guest::new()
        .with_device_mapper()
        .with_programs(["qemu-img", "cryptsetup", "dmsetup"])
        .with_disk("pool-lun-7", 16 * MIB)
        .with_disk("pool-lun-8", 16 * MIB)
        .with_memory(768);
    in_guest(&guest, || {
        let bench = Bench::new();
        let (seven, eight) = (disk("pool-lun-7"), disk("pool-lun-8"));
        let facts = identify(&bench, &seven);
        assert_eq!(facts.serial.as_deref(), Some("pool-lun-7"));
        assert_eq!((facts.size.get(), facts.used_by), (16 * MIB, None));
        let rescanned = bench.run(RescanDevice::new(&seven)).unwrap();
        assert_eq!(rescanned, HostAnswer::Device(identify(&bench, &seven)));

        // The names were exchanged: the other disk is not touched.
        let meant = DeviceIdentity::new(DeviceSize::new(16 * MIB).unwrap(), Some("pool-lun-7".into()));
        let v = "v".parse().unwrap();
        let at = |path: &Path| DiskLocation::Block(BlockDevice::new(path).with_identity(meant.clone()));
        let other = bench.run(FormatDevice::new(&v, &at(&eight), LUKS1, &bench.key));
        assert_eq!(other.unwrap_err().kind(), ErrorKind::WrongDisk);
        let location = at(&seven);
        bench.disk(FormatDevice::new(&v, &location, LUKS1, &bench.key));

        let half = "0 16384 linear /dev/vdb 0".replace("/dev/vdb", seven.to_str().unwrap());
        run(
            "dmsetup",
            &["create", "half", "--uuid", "TEST-half", "--table", &half],
        );
        let mapped = identify(&bench, &seven).used_by.unwrap();
        assert!(mapped.contains("is part of dm-"), "{mapped}");
        let erase = EraseKeyslots::new(&location, DiskFormat::Raw);
        assert_eq!(bench.run(erase).unwrap_err().kind(), ErrorKind::Busy);
        run("dmsetup", &["mknodes"]);
        let half = identify(&bench, "/dev/mapper/half".as_ref());
        assert_eq!(
            (half.serial.as_deref(), half.size.get()),
            (Some("TEST-half"), 8 * MIB)
        );
        run("dmsetup", &["remove", "half"]);
        assert_eq!(identify(&bench, &seven).used_by, None);
        bench.run(erase).unwrap();

        run("mkswap", &[eight.to_str().unwrap()]);
        run("swapon", &[eight.to_str().unwrap()]);
        let swap = identify(&bench, &eight).used_by.unwrap();
        assert!(swap.ends_with("is swap space"), "{swap}");
        let location = DiskLocation::block(&eight);
        for command in [
            HostCommand::from(FormatDevice::new(&v, &location, LUKS1, &bench.key)),
            FormatQcow2::new(&v, &location, size(MIB), Protection::Plain).into(),
        ] {
            let refused = bench.run(command).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Busy, "{refused}");
        }
        run("swapoff", &[eight.to_str().unwrap()]);
    });
}
