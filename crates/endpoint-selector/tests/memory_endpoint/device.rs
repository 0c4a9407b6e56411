use strongroom_endpoint_selector::{
    CreateDisk, DiskContent, DiskFacts, DiskLocation, EndpointError, ErrorKind, FormatDevice, HostAnswer,
    Protection,
};
use strongroom_types::{DiskFormat, EncryptionFormat};

use crate::desk::{Desk, MIB, file, guest, image, luks, refused};

fn format(desk: &Desk, location: &DiskLocation) -> Result<HostAnswer, EndpointError> {
    desk.run(FormatDevice::new(location, EncryptionFormat::Luks2, &desk.key))
}

#[test]
fn a_formatted_device_is_the_disks_from_end_to_end() {
    let desk = Desk::new();
    desk.node.add_blank_device("/dev/vdb", guest(64 * MIB));
    let location = DiskLocation::Block("/dev/vdb".into());
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
