use strongroom_endpoint_selector::{
    CompareContent, Disk, DiskFacts, DiskLocation, ErrorKind, GrowDisk, HostAnswer, Protection,
    ReplaceContent, Sameness, SnapshotAction, SnapshotDisk,
};
use strongroom_types::DiskFormat;

use crate::desk::{Desk, MIB, guest, image, refused};

fn disk<'a>(facts: &'a DiskFacts, protection: Protection<'a>) -> Disk<'a> {
    Disk::new(&facts.location, facts.format, protection)
}

#[test]
fn a_grown_disk_shows_the_guest_exactly_what_was_asked() {
    let desk = Desk::new();
    for (path, format, header) in [
        ("/p/v.luks", DiskFormat::Raw, 2 * MIB),
        ("/p/v.qcow2", DiskFormat::Qcow2, 0),
    ] {
        let made = desk.create(path, format, desk.luks1());
        let grow = |to| GrowDisk::new(disk(&made, desk.luks1()), guest(to));
        let grown = desk.disk(grow(3 * MIB + 512));
        assert_eq!(
            (grown.guest.get(), grown.device.get()),
            (3 * MIB + 512, 3 * MIB + 512 + header)
        );
        assert_eq!(
            desk.disk(grow(3 * MIB + 512)),
            grown,
            "growing to the size that it has"
        );
        refused(
            desk.run(grow(MIB)),
            ErrorKind::InvalidRequest,
            &[path, "3146240 bytes", "1048576"],
        );
        assert_eq!(desk.inspect(&grown), grown);
    }
}

#[test]
fn a_device_grows_in_its_storage() {
    let desk = Desk::new();
    desk.node.add_blank_device("/dev/vdb", guest(MIB));
    let location = DiskLocation::block("/dev/vdb");
    let disk = Disk::new(&location, DiskFormat::Raw, Protection::Plain);
    refused(
        desk.run(GrowDisk::new(disk, guest(2 * MIB))),
        ErrorKind::Unsupported,
        &["storage"],
    );
    desk.run(GrowDisk::new(disk, guest(MIB))).unwrap();
}

#[test]
fn a_restored_snapshot_brings_back_content_and_size_and_stays() {
    let desk = Desk::new();
    let made = desk.create("/p/v.qcow2", DiskFormat::Qcow2, desk.luks1());
    let disk = disk(&made, desk.luks1());
    let id = "s".parse().unwrap();
    let snapshot = |action| SnapshotDisk::new(disk, &id, action);
    desk.run(ReplaceContent::new(disk, image("/one").into())).unwrap();
    let taken = desk.disk(snapshot(SnapshotAction::Create));
    assert_eq!(taken.snapshots, std::slice::from_ref(&id));
    desk.run(ReplaceContent::new(disk, image("/two").into())).unwrap();
    desk.run(GrowDisk::new(disk, guest(2 * MIB))).unwrap();
    assert_eq!(
        desk.disk(snapshot(SnapshotAction::Create)).guest.get(),
        2 * MIB,
        "taking it again"
    );
    assert_eq!(desk.disk(snapshot(SnapshotAction::Restore)), taken);
    let same = desk.run(CompareContent::new(disk, image("/one").into())).unwrap();
    assert_eq!(same, HostAnswer::Compared(Sameness::Identical));
}

#[test]
fn removing_a_snapshot_that_is_not_there_succeeds_and_restoring_one_does_not() {
    let desk = Desk::new();
    let made = desk.create("/p/v.qcow2", DiskFormat::Qcow2, desk.luks1());
    let id = "s".parse().unwrap();
    let snapshot = |action| SnapshotDisk::new(disk(&made, desk.luks1()), &id, action);
    desk.run(snapshot(SnapshotAction::Create)).unwrap();
    for _ in 0..2 {
        assert_eq!(desk.disk(snapshot(SnapshotAction::Delete)), made);
    }
    refused(
        desk.run(snapshot(SnapshotAction::Restore)),
        ErrorKind::NotFound,
        &["no snapshot s"],
    );
}

#[test]
fn raw_keeps_no_snapshots() {
    let desk = Desk::new();
    let made = desk.create("/p/v.luks", DiskFormat::Raw, desk.luks1());
    let id = "s".parse().unwrap();
    let taken = desk.run(SnapshotDisk::new(
        disk(&made, desk.luks1()),
        &id,
        SnapshotAction::Create,
    ));
    refused(taken, ErrorKind::Unsupported, &["qcow2"]);
}
