use strongroom_endpoint_selector::{
    BackUpHeader, CreateDisk, DeleteDisk, Disk, DiskContent, DiskFacts, EndpointError, EraseKeyslots,
    ErrorKind, GrowDisk, HostAnswer, Protection, ReplaceContent, SnapshotAction, SnapshotDisk,
};
use strongroom_secret::Passphrase;
use strongroom_types::{DiskFormat, EncryptionFormat};

use crate::desk::{Desk, MIB, file, guest, image, luks, refused};

fn disk<'a>(facts: &'a DiskFacts, protection: Protection<'a>) -> Disk<'a> {
    Disk::new(&facts.location, facts.format, protection)
}

#[test]
fn only_its_key_opens_a_disk_whatever_is_to_be_done_with_it() {
    let desk = Desk::new();
    let made = desk.create("/p/v.qcow2", DiskFormat::Qcow2, desk.luks1());
    let stranger = Passphrase::generate().unwrap();
    let snapshot = "s".parse().unwrap();
    for (protection, kind) in [
        (luks(EncryptionFormat::Luks1, &stranger), ErrorKind::WrongKey),
        (Protection::Plain, ErrorKind::WrongDisk),
        (luks(EncryptionFormat::Luks2, &desk.key), ErrorKind::WrongDisk),
    ] {
        let disk = disk(&made, protection);
        refused(desk.verify(&made, protection), kind, &["/p/v.qcow2"]);
        refused(desk.run(GrowDisk::new(disk, guest(2 * MIB))), kind, &[]);
        refused(
            desk.run(SnapshotDisk::new(disk, &snapshot, SnapshotAction::Create)),
            kind,
            &[],
        );
        refused(desk.run(ReplaceContent::new(disk, image("/t").into())), kind, &[]);
    }
    assert_eq!(desk.inspect(&made), made);
    let HostAnswer::Verified(verified) = desk.verify(&made, desk.luks1()).unwrap() else {
        panic!("not verified")
    };
    assert_eq!(verified.facts, made);
}

#[test]
fn after_its_keyslots_are_erased_no_key_opens_a_disk() {
    let desk = Desk::new();
    let erase = |made: &DiskFacts| desk.run(EraseKeyslots::new(&made.location, made.format));
    for (path, format) in [("/p/v.luks", DiskFormat::Raw), ("/p/v.qcow2", DiskFormat::Qcow2)] {
        let made = desk.create(path, format, desk.luks1());
        for _ in 0..2 {
            assert_eq!(erase(&made).unwrap(), HostAnswer::Done);
            refused(desk.verify(&made, desk.luks1()), ErrorKind::WrongKey, &[path]);
        }
    }
    let nowhere = file("/p/none");
    let none = EraseKeyslots::new(&nowhere, DiskFormat::Raw);
    assert_eq!(desk.run(none).unwrap(), HostAnswer::Done);
}

#[test]
fn a_plain_disk_has_no_keyslots_to_erase() {
    let desk = Desk::new();
    let made = desk.create("/p/v.raw", DiskFormat::Raw, Protection::Plain);
    let erased = desk.run(EraseKeyslots::new(&made.location, made.format));
    refused(erased, ErrorKind::WrongDisk, &["/p/v.raw"]);
}

#[test]
fn a_header_backup_is_a_new_file() {
    let desk = Desk::new();
    let made = desk.create("/p/v.luks", DiskFormat::Raw, desk.luks1());
    let other = desk.create("/p/w.luks", DiskFormat::Raw, desk.luks1());
    let back_up = |to: &str| -> Result<HostAnswer, EndpointError> {
        desk.run(BackUpHeader::new(disk(&made, desk.luks1()), to.as_ref()))
    };
    assert_eq!(back_up("/k/v.header").unwrap(), HostAnswer::Done);
    refused(back_up("/k/v.header"), ErrorKind::AlreadyExists, &["/k/v.header"]);
    refused(back_up("/p/w.luks"), ErrorKind::AlreadyExists, &["/p/w.luks"]);
    let path = "/k/v.header".as_ref();
    let over = CreateDisk::new(
        path,
        DiskFormat::Raw,
        guest(MIB),
        Protection::Plain,
        DiskContent::Blank,
    );
    refused(desk.run(over), ErrorKind::AlreadyExists, &["/k/v.header"]);
    assert_eq!(desk.inspect(&other), other);
    desk.run(DeleteDisk::new(path)).unwrap();
    back_up("/k/v.header").unwrap();
}

#[test]
fn only_a_raw_luks_disk_has_a_header_to_back_up() {
    let desk = Desk::new();
    let qcow2 = desk.create("/p/v.qcow2", DiskFormat::Qcow2, desk.luks1());
    let plain = desk.create("/p/v.raw", DiskFormat::Raw, Protection::Plain);
    for disk in [disk(&qcow2, desk.luks1()), disk(&plain, Protection::Plain)] {
        let backed_up = desk.run(BackUpHeader::new(disk, "/k/header".as_ref()));
        refused(backed_up, ErrorKind::Unsupported, &["no LUKS header in front"]);
    }
}
