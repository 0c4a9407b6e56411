use strongroom_endpoint_selector::{
    BlankDevice, BlockDevice, DeviceFacts, DeviceIdentity, Disk, DiskLocation, EndpointError, ErrorKind,
    FormatDevice, FormatQcow2, GrowDisk, HostAnswer, IdentifyDevice, InspectDisk, Protection, ProveBlank,
    ReplaceContent, RescanDevice,
};
use strongroom_types::{DeviceSize, DiskFormat, EncryptionFormat};

use crate::desk::{Desk, MIB, guest, image, refused};

const PATH: &str = "/dev/vdb";

fn size(mib: u64) -> DeviceSize {
    DeviceSize::new(mib * MIB).unwrap()
}

fn desk() -> Desk {
    let desk = Desk::new();
    let mut facts = DeviceFacts::new(PATH, size(64));
    facts.serial = Some("wwn-1".to_owned());
    desk.node.add_device(facts);
    desk
}

fn known(mib: u64, serial: Option<&str>) -> BlockDevice {
    BlockDevice::new(PATH).with_identity(DeviceIdentity::new(size(mib), serial.map(str::to_owned)))
}

fn format(desk: &Desk, device: BlockDevice) -> Result<HostAnswer, EndpointError> {
    let (volume, location) = ("v".parse().unwrap(), DiskLocation::Block(device));
    desk.run(FormatDevice::new(
        &volume,
        &location,
        EncryptionFormat::Luks1,
        &desk.key,
    ))
}

#[test]
fn a_device_is_written_only_when_it_is_the_one_that_was_meant() {
    let desk = desk();
    for other in [
        known(64, Some("wwn-2")),
        known(32, Some("wwn-1")),
        known(65, None),
    ] {
        let refusal = format(&desk, other);
        refused(refusal, ErrorKind::WrongDisk, &[PATH, "another device", "wwn-1"]);
    }
    let location = DiskLocation::block(PATH);
    desk.run(ProveBlank::new(&location)).unwrap();
    format(&desk, known(64, Some("wwn-1"))).unwrap();
    format(&desk, known(64, None)).unwrap();
    let none = desk.run(IdentifyDevice::new("/dev/none".as_ref()));
    refused(none, ErrorKind::NotFound, &["/dev/none"]);
}

#[test]
fn a_disk_has_only_as_much_of_a_device_as_is_said() {
    let desk = desk();
    let part = |mib| known(64, None).with_used(size(mib));
    let HostAnswer::Disk(made) = format(&desk, part(10)).unwrap() else {
        panic!("not a disk")
    };
    assert_eq!((made.device, made.guest), (size(10), guest(8 * MIB)));
    let larger = DiskLocation::Block(part(12));
    let disk = Disk::new(&larger, DiskFormat::Raw, desk.luks1());
    let grown = desk.disk(GrowDisk::new(disk, guest(10 * MIB)));
    assert_eq!(grown.guest, guest(10 * MIB));
    refused(
        format(&desk, part(65)),
        ErrorKind::WrongDisk,
        &["only 67108864 bytes"],
    );
}

#[test]
fn the_host_knows_that_a_device_grew_when_it_was_told_to_look() {
    let desk = desk();
    assert!(desk.node.grow_device(PATH.as_ref(), size(80)));
    let device = |answer: HostAnswer| match answer {
        HostAnswer::Device(facts) => facts.size,
        other => panic!("not a device: {other:?}"),
    };
    let identify = IdentifyDevice::new(PATH.as_ref());
    assert_eq!(device(desk.run(identify).unwrap()), size(64));
    let rescan = RescanDevice::new(PATH.as_ref());
    assert_eq!(device(desk.run(rescan).unwrap()), size(80));
    assert_eq!(device(desk.run(identify).unwrap()), size(80));
}

#[test]
fn a_device_that_something_uses_is_not_changed() {
    let desk = desk();
    assert!(
        desk.node
            .use_device(PATH.as_ref(), Some("mounted on /mnt".to_owned()))
    );
    refused(
        format(&desk, known(64, None)),
        ErrorKind::Busy,
        &["mounted on /mnt"],
    );
    let location = DiskLocation::Block(known(64, None));
    refused(
        desk.run(BlankDevice::new(&location)),
        ErrorKind::Busy,
        &["mounted"],
    );
    let disk = Disk::new(&location, DiskFormat::Raw, Protection::Plain);
    let written = desk.run(ReplaceContent::new(disk, image("/t").into()));
    refused(written, ErrorKind::Busy, &["mounted"]);
    assert!(desk.node.use_device(PATH.as_ref(), None));
    format(&desk, known(64, None)).unwrap();
    assert!(!desk.node.use_device("/dev/none".as_ref(), None));
}

#[test]
fn an_empty_qcow2_is_written_onto_a_blank_device_only() {
    let desk = desk();
    let (volume, location) = ("v".parse().unwrap(), DiskLocation::block(PATH));
    let make = |size| FormatQcow2::new(&volume, &location, guest(size), desk.luks1());
    let made = desk.disk(make(256 * MIB));
    assert_eq!((made.guest, made.device), (guest(256 * MIB), size(64)));
    assert_eq!(desk.disk(make(256 * MIB)), made, "again");
    refused(desk.run(make(128 * MIB)), ErrorKind::AlreadyExists, &[PATH]);
    refused(format(&desk, known(64, None)), ErrorKind::AlreadyExists, &[PATH]);
    let disk = Disk::new(&location, DiskFormat::Qcow2, desk.luks1());
    assert_eq!(
        desk.disk(GrowDisk::new(disk, guest(300 * MIB))).guest,
        guest(300 * MIB)
    );
    let inspect = InspectDisk::new(&location, DiskFormat::Qcow2, made.encryption);
    assert_eq!(desk.disk(inspect).guest, guest(300 * MIB));
}

#[test]
fn a_device_is_blanked_only_by_its_identity_and_is_then_proved_blank() {
    let desk = desk();
    format(&desk, known(64, None)).unwrap();
    let location = DiskLocation::Block(known(64, Some("wwn-1")));
    refused(
        desk.run(ProveBlank::new(&location)),
        ErrorKind::AlreadyExists,
        &[PATH],
    );
    desk.run(ProveBlank::new(&location).from(Some(size(32)))).unwrap();
    let anyone = DiskLocation::block(PATH);
    refused(
        desk.run(BlankDevice::new(&anyone)),
        ErrorKind::InvalidRequest,
        &["identity"],
    );
    for _ in 0..2 {
        desk.run(BlankDevice::new(&location)).unwrap();
        desk.run(ProveBlank::new(&location)).unwrap();
    }
}
