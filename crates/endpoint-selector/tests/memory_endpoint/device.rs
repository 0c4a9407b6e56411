use strongroom_endpoint_selector::{
    CreateDisk, Disk, DiskContent, DiskFacts, DiskLocation, EndpointError, ErrorKind, FormatDevice, GrowDisk,
    HostAnswer, Protection, RescanDevice,
};
use strongroom_secret::Passphrase;
use strongroom_types::{DeviceSize, DiskFormat, EncryptionFormat};

use crate::desk::{Desk, MIB, file, guest, image, luks, refused};

fn format(desk: &Desk, location: &DiskLocation) -> Result<HostAnswer, EndpointError> {
    format_for(desk, "v", location, &desk.key)
}

fn format_for(
    desk: &Desk,
    volume: &str,
    location: &DiskLocation,
    key: &Passphrase,
) -> Result<HostAnswer, EndpointError> {
    let volume = volume.parse().unwrap();
    desk.run(FormatDevice::new(&volume, location, EncryptionFormat::Luks2, key))
}

#[test]
fn a_formatted_device_is_the_disks_from_end_to_end() {
    let desk = Desk::new();
    desk.node.add_blank_device("/dev/vdb", guest(64 * MIB));
    let location = DiskLocation::block("/dev/vdb");
    let HostAnswer::Disk(disk) = format(&desk, &location).unwrap() else {
        panic!("not a disk")
    };
    assert_eq!(
        (&disk.location, disk.encryption),
        (&location, Some(EncryptionFormat::Luks2))
    );
    assert_eq!((disk.device.get(), disk.guest), (64 * MIB, guest(48 * MIB)));
    desk.verify(&disk, luks(EncryptionFormat::Luks2, &desk.key))
        .unwrap();
}

#[test]
fn what_is_not_blank_is_refused_and_stays_untouched() {
    let desk = Desk::new();
    let encrypted = desk.create("/p/v.luks", DiskFormat::Raw, desk.luks1());
    let qcow2 = desk.create("/p/v.qcow2", DiskFormat::Qcow2, Protection::Plain);
    let content = DiskContent::Template(image("/t"));
    let path = "/p/full.raw".as_ref();
    let full = desk.disk(CreateDisk::new(
        path,
        DiskFormat::Raw,
        guest(64 * MIB),
        Protection::Plain,
        content,
    ));
    let untouched = |disk: &DiskFacts| {
        refused(
            format(&desk, &disk.location),
            ErrorKind::AlreadyExists,
            &["not blank"],
        );
        assert_eq!(desk.inspect(disk), *disk);
    };
    untouched(&encrypted);
    untouched(&qcow2);
    untouched(&full);
}

#[test]
fn a_device_without_room_behind_the_header_and_one_that_is_not_there_are_refused() {
    let desk = Desk::new();
    desk.node.add_blank("/p/small", guest(MIB));
    refused(
        format(&desk, &file("/p/small")),
        ErrorKind::InvalidRequest,
        &["no room"],
    );
    refused(format(&desk, &file("/p/none")), ErrorKind::NotFound, &["/p/none"]);
}

#[test]
fn formatting_again_is_the_same_disk_for_the_same_volume_and_key_and_refused_to_everybody_else() {
    let desk = Desk::new();
    desk.node.add_blank_device("/dev/vdb", guest(64 * MIB));
    let location = DiskLocation::block("/dev/vdb");
    let made = format(&desk, &location).unwrap();
    assert_eq!(format(&desk, &location).unwrap(), made);
    let other = Passphrase::generate().unwrap();
    for again in [
        format_for(&desk, "another", &location, &desk.key),
        format_for(&desk, "v", &location, &other),
    ] {
        refused(again, ErrorKind::AlreadyExists, &["/dev/vdb", "stays"]);
    }
    let (volume, luks1) = ("v".parse().unwrap(), EncryptionFormat::Luks1);
    let again = desk.run(FormatDevice::new(&volume, &location, luks1, &desk.key));
    refused(again, ErrorKind::AlreadyExists, &["/dev/vdb", "stays"]);
}

#[test]
fn a_device_grows_with_its_storage_and_growing_the_disk_then_confirms_it() {
    let desk = Desk::new();
    desk.node.add_blank_device("/dev/vdb", guest(64 * MIB));
    let location = DiskLocation::block("/dev/vdb");
    format(&desk, &location).unwrap();
    let protection = luks(EncryptionFormat::Luks2, &desk.key);
    let disk = Disk::new(&location, DiskFormat::Raw, protection);
    let larger = GrowDisk::new(disk, guest(80 * MIB));
    refused(desk.run(larger), ErrorKind::Unsupported, &["/dev/vdb"]);
    assert!(!desk.node.grow_device("/dev/vdb".as_ref(), device(32 * MIB)));
    assert!(desk.node.grow_device("/dev/vdb".as_ref(), device(96 * MIB)));
    refused(desk.run(larger), ErrorKind::Unsupported, &["/dev/vdb"]);
    desk.run(RescanDevice::new("/dev/vdb".as_ref())).unwrap();
    let grown = desk.disk(larger);
    assert_eq!((grown.device, grown.guest), (device(96 * MIB), guest(80 * MIB)));
    desk.verify(&grown, protection).unwrap();
    let smaller = GrowDisk::new(disk, guest(79 * MIB));
    refused(desk.run(smaller), ErrorKind::InvalidRequest, &["/dev/vdb"]);
}

#[test]
fn only_a_device_grows_below_its_disk() {
    let desk = Desk::new();
    let made = desk.create("/p/v.raw", DiskFormat::Raw, Protection::Plain);
    assert!(!desk.node.grow_device("/p/v.raw".as_ref(), device(96 * MIB)));
    assert!(!desk.node.grow_device("/dev/none".as_ref(), device(96 * MIB)));
    assert_eq!(desk.inspect(&made), made);
}

#[test]
fn a_device_that_its_storage_removes_is_not_found() {
    let desk = Desk::new();
    desk.node.add_blank_device("/dev/vdb", guest(64 * MIB));
    let location = DiskLocation::block("/dev/vdb");
    assert!(desk.node.remove("/dev/vdb".as_ref()));
    assert!(!desk.node.remove("/dev/vdb".as_ref()));
    refused(format(&desk, &location), ErrorKind::NotFound, &["/dev/vdb"]);
}

fn device(bytes: u64) -> DeviceSize {
    DeviceSize::new(bytes).unwrap()
}
