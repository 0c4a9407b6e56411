use strongroom_endpoint_selector::{
    BackUpVmDisks, CopyVmDisk, DigestContent, Disk, DiskContent, DiskLocation, ErrorKind, FlattenVmDisk,
    HostAnswer, InspectDisk, MergeVmDisk, Protection, SnapshotVmDisks, StartVm, StopVm, StopVmHow, VmBackup,
    VmDisk,
};
use strongroom_secret::Passphrase;
use strongroom_types::{ByteSize, DiskFormat, EncryptionFormat};

use crate::desk::{MIB, file, guest, image, luks, refused};
use crate::machines::Room;

const QCOW2: DiskFormat = DiskFormat::Qcow2;

impl Room {
    fn to<'a>(&'a self, location: &'a DiskLocation, protection: Protection<'a>) -> VmDisk<'a> {
        VmDisk::new(&self.vda, &self.volume, Disk::new(location, QCOW2, protection))
    }

    fn stop(&self) {
        self.desk.run(StopVm::new(&self.vm, StopVmHow::PowerOff)).unwrap();
    }

    fn digest(&self, disk: Disk<'_>) -> HostAnswer {
        self.desk.run(DigestContent::new(disk)).unwrap()
    }
}

#[test]
fn a_snapshot_lets_the_guest_go_on_in_an_encrypted_overlay_and_a_merge_takes_it_back() {
    let room = Room::new();
    let (first, second) = (file("/p/1.qcow2"), file("/p/2.qcow2"));
    let before = room.inspect();
    for at in [&first, &second] {
        let overlays = [room.to(at, room.desk.luks1())];
        let facts = room.vm(SnapshotVmDisks::new(&room.vm, &overlays));
        let disk = facts.disk(&room.vda).unwrap();
        assert_eq!((&disk.location, disk.guest), (at, guest(MIB)));
        assert_eq!(disk.encryption, Some(EncryptionFormat::Luks1));
    }
    let below = room.inspect().disk(&room.vda).unwrap().below.clone();
    assert_eq!(below, [first.clone(), room.disk.location.clone()]);
    let merge = MergeVmDisk::new(&room.vm, &room.vda);
    assert_eq!(room.vm(merge).disk(&room.vda).unwrap().location, first);
    for _ in 0..2 {
        assert_eq!(room.vm(merge), before);
    }
    assert_eq!(room.desk.node.paths(), [std::path::PathBuf::from("/p/v.qcow2")]);
}

#[test]
fn a_snapshot_is_of_all_disks_or_of_none_and_never_plain() {
    let room = Room::new();
    let (one, two) = (file("/p/1.qcow2"), file("/p/2.qcow2"));
    let before = (room.inspect(), room.desk.node.paths());
    let missing = VmDisk::new(&room.vdb, &room.volume, Disk::new(&two, QCOW2, room.desk.luks1()));
    for (overlays, kind) in [
        (
            vec![room.to(&one, room.desk.luks1()), missing],
            ErrorKind::NotFound,
        ),
        (vec![room.to(&one, Protection::Plain)], ErrorKind::InvalidRequest),
        (
            vec![room.to(&one, room.desk.luks1()), room.to(&two, room.desk.luks1())],
            ErrorKind::InvalidRequest,
        ),
        (
            vec![room.to(&room.disk.location, room.desk.luks1())],
            ErrorKind::AlreadyExists,
        ),
    ] {
        refused(
            room.desk.run(SnapshotVmDisks::new(&room.vm, &overlays)),
            kind,
            &[],
        );
    }
    let overlays = [room.to(&one, room.desk.luks1())];
    let freeze = SnapshotVmDisks::new(&room.vm, &overlays).freeze(true);
    refused(room.desk.run(freeze), ErrorKind::Unsupported, &["agent"]);
    assert_eq!((room.inspect(), room.desk.node.paths()), before);
}

#[test]
fn an_encrypted_overlay_is_flattened_and_not_merged_into_its_plain_image() {
    let room = Room::new();
    room.stop();
    room.desk.node.add_image("/t", ByteSize::mib(1));
    let overlay = room.desk.disk(strongroom_endpoint_selector::CreateDisk::new(
        "/p/over".as_ref(),
        QCOW2,
        guest(MIB),
        room.desk.luks1(),
        DiskContent::Overlay(image("/t")),
    ));
    let alone = Disk::new(&overlay.location, QCOW2, room.desk.luks1());
    let on = alone.on(Some(image("/t")));
    let digest = room.digest(on);
    let disks = [VmDisk::new(&room.vda, &room.volume, on)];
    let facts = room.vm(StartVm::new(room.machine(&disks)));
    assert_eq!(facts.disk(&room.vda).unwrap().below, [file("/t")]);
    let merge = MergeVmDisk::new(&room.vm, &room.vda);
    refused(room.desk.run(merge), ErrorKind::InvalidRequest, &["/t", "plain"]);
    for _ in 0..2 {
        let flat = room.vm(FlattenVmDisk::new(&room.vm, &room.vda));
        assert!(flat.disk(&room.vda).unwrap().below.is_empty());
    }
    room.stop();
    assert_eq!(room.digest(alone), digest);
}

#[test]
fn a_copy_has_the_content_and_another_key_and_the_old_disk_stays() {
    let room = Room::new();
    let (new, at) = (Passphrase::generate().unwrap(), file("/q/v.qcow2"));
    let new = luks(EncryptionFormat::Luks1, &new);
    refused(
        room.desk
            .run(CopyVmDisk::new(&room.vm, room.to(&at, Protection::Plain))),
        ErrorKind::InvalidRequest,
        &["plain"],
    );
    for _ in 0..2 {
        let facts = room.vm(CopyVmDisk::new(&room.vm, room.to(&at, new)));
        assert_eq!(facts.disk(&room.vda).unwrap().location, at);
    }
    room.stop();
    let old = Disk::new(&room.disk.location, QCOW2, room.desk.luks1());
    assert_eq!(room.digest(Disk::new(&at, QCOW2, new)), room.digest(old));
    let wrong = DigestContent::new(Disk::new(&at, QCOW2, room.desk.luks1()));
    refused(room.desk.run(wrong), ErrorKind::WrongKey, &["/q/v.qcow2"]);
}

#[test]
fn a_copy_onto_a_device_wants_it_blank_and_of_the_right_size() {
    let room = Room::new();
    let header = 2 * MIB;
    let at = DiskLocation::block("/dev/v");
    let to = VmDisk::new(
        &room.vda,
        &room.volume,
        Disk::new(&at, DiskFormat::Raw, room.desk.luks1()),
    );
    let copy = CopyVmDisk::new(&room.vm, to);
    room.desk.node.add_blank_device("/dev/v", guest(2 * MIB + header));
    refused(
        room.desk.run(copy),
        ErrorKind::InvalidRequest,
        &["/dev/v", "1048576"],
    );
    room.desk.node.add_blank_device("/dev/v", guest(MIB + header));
    let facts = room.vm(copy);
    assert_eq!(facts.disk(&room.vda).unwrap().guest, guest(MIB));
    let inspect = InspectDisk::new(&at, DiskFormat::Raw, Some(EncryptionFormat::Luks1));
    assert_eq!(room.desk.disk(inspect).guest, guest(MIB));
}

#[test]
fn a_backup_is_encrypted_and_all_of_them_are_there_or_none() {
    let room = Room::new();
    let (key, at) = (Passphrase::generate().unwrap(), file("/b/v.qcow2"));
    let key = luks(EncryptionFormat::Luks1, &key);
    let to = room.to(&at, key);
    let backups = [VmBackup::new(&room.vda, to), VmBackup::new(&room.vdb, to)];
    refused(
        room.desk.run(BackUpVmDisks::new(&room.vm, &backups)),
        ErrorKind::NotFound,
        &["vdb"],
    );
    let plain = [VmBackup::new(&room.vda, room.to(&at, Protection::Plain))];
    refused(
        room.desk.run(BackUpVmDisks::new(&room.vm, &plain)),
        ErrorKind::InvalidRequest,
        &["encrypted"],
    );
    assert!(!room.desk.node.paths().contains(&"/b/v.qcow2".into()));
    let (one, checkpoint) = (&backups[..1], "c-1".parse().unwrap());
    let since = BackUpVmDisks::new(&room.vm, one).since(Some(&checkpoint));
    refused(room.desk.run(since), ErrorKind::Unsupported, &["full backup"]);
    room.vm(BackUpVmDisks::new(&room.vm, one));
    room.stop();
    let old = Disk::new(&room.disk.location, QCOW2, room.desk.luks1());
    assert_eq!(room.digest(Disk::new(&at, QCOW2, key)), room.digest(old));
}
