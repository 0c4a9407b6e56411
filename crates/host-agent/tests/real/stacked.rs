//! Devices on which others lie: a loop device on a device, and a disk on a template that is one.

use std::fs;

use strongroom_endpoint_selector::{
    BlankDevice, Disk, DiskLocation, ErrorKind, FlattenDisk, FormatDevice, FormatQcow2, HostAnswer,
    IdentifyDevice, InspectDisk, Protection, ProveBlank, ReplaceContent, SourceImage,
};
use strongroom_types::{DeviceSize, DiskFormat};

use crate::bench::{Bench, LUKS1, pattern, raw, size};
use crate::loops::Loop;

const MIB: u64 = 1 << 20;
const QCOW2: DiskFormat = DiskFormat::Qcow2;

#[test]
fn a_device_below_a_loop_device_is_in_use_by_it() {
    let bench = Bench::new();
    let device = Loop::new(&bench, 8 * MIB);
    let location = device.first(8 * MIB);
    let id = "v".parse().unwrap();
    let upper = Loop::on((&device.path).into());
    upper.put(b"somebody's", 4 << 20);
    let name = upper.path.strip_prefix("/dev/").unwrap();
    let format = FormatDevice::new(&id, &location, LUKS1, &bench.key);
    for refused in [
        bench.run(BlankDevice::new(&location)),
        bench.run(ProveBlank::new(&location)),
        bench.run(format),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Busy, "{refused}");
        assert!(refused.to_string().contains(name), "{name} is not in {refused}");
    }
    let HostAnswer::Device(facts) = bench.run(IdentifyDevice::new(device.path.as_ref())).unwrap() else {
        panic!("not a device")
    };
    assert!(facts.used_by.is_some_and(|user| user.contains(name)), "{name}");
    assert!(upper.bytes()[4 << 20..].starts_with(b"somebody's"));
    drop(upper);
    bench.run(BlankDevice::new(&location)).unwrap();
    bench.run(format).unwrap();
}

#[test]
fn only_what_is_behind_the_said_place_is_made_zeros() {
    let bench = Bench::new();
    let device = Loop::with(&bench, &pattern(8 << 20));
    let from = DeviceSize::new(3 * MIB + 512).unwrap();
    let location = device.first(6 * MIB);
    bench.run(BlankDevice::new(&location).from(Some(from))).unwrap();
    let (bytes, was) = (device.bytes(), pattern(8 << 20));
    let from = (3 << 20) + 512;
    assert!(bytes[..from] == was[..from]);
    assert!(bytes[from..6 << 20].iter().all(|byte| *byte == 0));
    assert!(bytes[6 << 20..] == was[6 << 20..]);
}

#[test]
fn a_disk_on_a_device_lies_on_a_template_on_another_one_until_it_is_flattened() {
    let bench = Bench::new();
    let image = bench.path("image");
    fs::write(&image, pattern(4 << 20)).unwrap();
    for protection in [Protection::Plain, bench.luks()] {
        let (lower, upper) = (Loop::new(&bench, 16 * MIB), Loop::new(&bench, 24 * MIB));
        let (below, above) = (lower.first(16 * MIB), upper.first(24 * MIB));
        let (template, id) = ("t".parse().unwrap(), "v".parse().unwrap());
        let plain = bench.disk(FormatQcow2::new(
            &template,
            &below,
            size(4 * MIB),
            Protection::Plain,
        ));
        let content = raw(&image).into();
        bench.disk(ReplaceContent::new(
            Disk::new(&below, QCOW2, Protection::Plain),
            content,
        ));
        assert_eq!(plain.guest, size(4 * MIB));
        let base = Some(SourceImage::new(lower.path.as_ref(), QCOW2));

        let small = FormatQcow2::new(&id, &above, size(2 * MIB), protection).base(base);
        let refused = bench.run(small).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidRequest, "{refused}");
        let raw_base = Some(SourceImage::new(lower.path.as_ref(), DiskFormat::Raw));
        let refused = FormatQcow2::new(&id, &above, size(8 * MIB), protection).base(raw_base);
        let refused = bench.run(refused).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidRequest, "{refused}");
        let format = FormatQcow2::new(&id, &above, size(8 * MIB), protection).base(base);
        let made = bench.disk(format);
        assert_eq!(
            made.base.as_ref().map(|base| base.path.as_path()),
            Some(lower.path.as_ref())
        );
        assert_eq!(bench.disk(format), made, "the same command again");
        let alone = bench.run(FormatQcow2::new(&id, &above, size(8 * MIB), protection));
        assert_eq!(alone.unwrap_err().kind(), ErrorKind::AlreadyExists);

        let said = InspectDisk::new(&above, QCOW2, protection.format());
        assert_eq!(bench.run(said).unwrap_err().kind(), ErrorKind::WrongDisk);
        assert_eq!(bench.disk(said.base_in(Some("/dev".as_ref()))).base, made.base);

        let disk = Disk::new(&above, QCOW2, protection).on(base);
        let template_bytes = lower.bytes();
        // A kill before the header is written leaves a disk that has copied already, and lies on its base.
        for on in [base, None] {
            let flat = bench.disk(FlattenDisk::new(disk.on(on)));
            assert_eq!((flat.base, flat.guest), (None, size(8 * MIB)));
        }
        assert!(lower.bytes() == template_bytes);
        drop(lower);
        bench.verify(&above, QCOW2, protection).unwrap();
        assert_same(&bench, &above, protection, &image);
    }
}

fn assert_same(bench: &Bench, location: &DiskLocation, protection: Protection<'_>, image: &std::path::Path) {
    let disk = Disk::new(location, QCOW2, protection);
    let compare = strongroom_endpoint_selector::CompareContent::new(disk, raw(image).into());
    let same = HostAnswer::Compared(strongroom_endpoint_selector::Sameness::Identical);
    assert_eq!(bench.run(compare).unwrap(), same);
}
