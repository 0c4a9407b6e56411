use strongroom_endpoint_selector::{
    CreateDisk, DeleteDisk, DiskContent, ErrorKind, HostAnswer, InspectDisk, Protection, SweepStaging,
};
use strongroom_types::{ByteSize, DiskFormat, EncryptionFormat, PayloadOffset};

use crate::desk::{Desk, MIB, file, guest, image, luks, refused};

#[test]
fn a_new_disk_is_what_was_asked_for() {
    let desk = Desk::new();
    let luks2 = luks(EncryptionFormat::Luks2, &desk.key);
    for (path, format, protection, offset) in [
        (
            "/p/plain.raw",
            DiskFormat::Raw,
            Protection::Plain,
            PayloadOffset::NONE,
        ),
        (
            "/p/plain.qcow2",
            DiskFormat::Qcow2,
            Protection::Plain,
            PayloadOffset::NONE,
        ),
        ("/p/v.qcow2", DiskFormat::Qcow2, desk.luks1(), PayloadOffset::NONE),
        (
            "/p/1.luks",
            DiskFormat::Raw,
            desk.luks1(),
            PayloadOffset::LUKS1_CRYPTSETUP,
        ),
        (
            "/p/2.luks",
            DiskFormat::Raw,
            luks2,
            PayloadOffset::LUKS2_CRYPTSETUP,
        ),
    ] {
        let made = desk.create(path, format, protection);
        assert_eq!((&made.location, made.format), (&file(path), format));
        assert_eq!(made.encryption, protection.format());
        assert_eq!((made.guest, made.device.get()), (guest(MIB), MIB + offset.get()));
        assert_eq!(made.payload_offset, offset);
        assert_eq!(made.cipher.is_some(), protection.key().is_some());
        assert_eq!(desk.inspect(&made), made);
    }
    assert_eq!(desk.node.paths().len(), 5);
}

#[test]
fn a_name_that_is_taken_stays_untouched() {
    let desk = Desk::new();
    let made = desk.create("/p/v.luks", DiskFormat::Raw, desk.luks1());
    desk.node.add_blank("/p/blank", guest(MIB));
    for path in ["/p/v.luks", "/p/blank"] {
        let again = CreateDisk::new(
            path.as_ref(),
            DiskFormat::Raw,
            guest(2 * MIB),
            Protection::Plain,
            DiskContent::Blank,
        );
        refused(desk.run(again), ErrorKind::AlreadyExists, &[path]);
    }
    assert_eq!(desk.inspect(&made), made);
    desk.verify(&made, desk.luks1()).unwrap();
}

#[test]
fn luks2_is_neither_in_qcow2_nor_filled_from_a_template() {
    let desk = Desk::new();
    let luks2 = luks(EncryptionFormat::Luks2, &desk.key);
    let create = |format, content| {
        desk.run(CreateDisk::new(
            "/p/v".as_ref(),
            format,
            guest(MIB),
            luks2,
            content,
        ))
    };
    refused(
        create(DiskFormat::Qcow2, DiskContent::Blank),
        ErrorKind::Unsupported,
        &["luks1"],
    );
    refused(
        create(DiskFormat::Raw, DiskContent::Template(image("/t"))),
        ErrorKind::Unsupported,
        &["luks1"],
    );
    assert!(desk.node.paths().is_empty());
}

#[test]
fn a_template_larger_than_the_disk_makes_no_disk() {
    let desk = Desk::new();
    desk.node.add_image("/t", ByteSize::mib(2));
    let create = |size| {
        let content = DiskContent::Template(image("/t"));
        let path = "/p/v".as_ref();
        desk.run(CreateDisk::new(
            path,
            DiskFormat::Qcow2,
            guest(size),
            desk.luks1(),
            content,
        ))
    };
    refused(
        create(2 * MIB - 512),
        ErrorKind::InvalidRequest,
        &["/t", "2097152", "2096640"],
    );
    assert!(desk.node.paths().is_empty());
    create(2 * MIB).unwrap();
}

#[test]
fn an_inspected_disk_must_be_what_is_said() {
    let desk = Desk::new();
    desk.create("/p/v.qcow2", DiskFormat::Qcow2, desk.luks1());
    let inspect = |path, format, encryption| desk.run(InspectDisk::new(&file(path), format, encryption));
    let luks1 = Some(EncryptionFormat::Luks1);
    for (format, encryption) in [
        (DiskFormat::Qcow2, None),
        (DiskFormat::Raw, luks1),
        (DiskFormat::Qcow2, Some(EncryptionFormat::Luks2)),
    ] {
        refused(
            inspect("/p/v.qcow2", format, encryption),
            ErrorKind::WrongDisk,
            &["is luks1 qcow2, not"],
        );
    }
    refused(
        inspect("/p/w", DiskFormat::Raw, None),
        ErrorKind::NotFound,
        &["/p/w"],
    );
}

#[test]
fn a_deleted_disk_is_gone_and_one_that_is_not_there_is_fine() {
    let desk = Desk::new();
    desk.create("/p/v", DiskFormat::Raw, Protection::Plain);
    for _ in 0..2 {
        assert_eq!(
            desk.run(DeleteDisk::new("/p/v".as_ref())).unwrap(),
            HostAnswer::Done
        );
        assert!(desk.node.paths().is_empty());
    }
    desk.node.add_blank_device("/dev/vdb", guest(MIB));
    refused(
        desk.run(DeleteDisk::new("/dev/vdb".as_ref())),
        ErrorKind::WrongDisk,
        &["/dev/vdb"],
    );
    assert_eq!(desk.node.paths().len(), 1);
}

#[test]
fn nothing_unfinished_is_left_to_sweep() {
    let desk = Desk::new();
    assert_eq!(
        desk.run(SweepStaging::new("/p".as_ref())).unwrap(),
        HostAnswer::Swept(Vec::new())
    );
}
