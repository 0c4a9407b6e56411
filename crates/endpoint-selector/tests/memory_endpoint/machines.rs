use std::path::Path;

use strongroom_endpoint_selector::{
    AttachVmDisk, Boot, ChangeVmDiskKey, CreateDisk, DeleteDisk, DetachVmDisk, Disk, DiskContent, DiskFacts,
    EndpointError, EraseKeyslots, ErrorKind, GrowDisk, GrowVmDisk, HostAnswer, HostCommand, InspectVm,
    PauseVm, Protection, ReconcileVms, ReplaceContent, ResumeVm, SaveVm, StartVm, StopVm, StopVmHow, Vm,
    VmDisk, VmFacts, VmState,
};
use strongroom_secret::Passphrase;
use strongroom_types::{ByteSize, DeviceSize, DiskFormat, DiskTarget, EncryptionFormat, VmId, VolumeId};

use crate::desk::{Desk, MIB, guest, image, luks, refused};

/// A desk with a virtual machine that has an encrypted qcow2 disk, `/p/v.qcow2`, and names to speak of.
pub(crate) struct Room {
    pub(crate) desk: Desk,
    pub(crate) vm: VmId,
    pub(crate) vda: DiskTarget,
    pub(crate) vdb: DiskTarget,
    pub(crate) volume: VolumeId,
    pub(crate) disk: DiskFacts,
}

impl Room {
    pub(crate) fn new() -> Self {
        let desk = Desk::new();
        let disk = desk.create("/p/v.qcow2", DiskFormat::Qcow2, desk.luks1());
        let room = Self {
            desk,
            vm: "vm-1".parse().unwrap(),
            vda: "vda".parse().unwrap(),
            vdb: "vdb".parse().unwrap(),
            volume: "vol-1".parse().unwrap(),
            disk,
        };
        room.vm(StartVm::new(room.machine(&[room.first()])));
        room
    }

    pub(crate) fn at<'a>(
        &'a self,
        target: &'a DiskTarget,
        facts: &'a DiskFacts,
        protection: Protection<'a>,
    ) -> VmDisk<'a> {
        VmDisk::new(
            target,
            &self.volume,
            Disk::new(&facts.location, facts.format, protection),
        )
    }

    pub(crate) fn first(&self) -> VmDisk<'_> {
        self.at(&self.vda, &self.disk, self.desk.luks1())
    }

    pub(crate) fn machine<'a>(&'a self, disks: &'a [VmDisk<'a>]) -> Vm<'a> {
        Vm::new(&self.vm, ByteSize::mib(64), 1, Boot::Disk).with_disks(disks)
    }

    #[track_caller]
    pub(crate) fn vm<'c>(&self, command: impl Into<HostCommand<'c>>) -> VmFacts {
        answered(self.desk.run(command))
    }

    #[track_caller]
    pub(crate) fn inspect(&self) -> VmFacts {
        self.vm(InspectVm::new(&self.vm))
    }
}

#[track_caller]
pub(crate) fn answered(answer: Result<HostAnswer, EndpointError>) -> VmFacts {
    match answer.unwrap() {
        HostAnswer::Vm(facts) => facts,
        other => panic!("no machine: {other:?}"),
    }
}

#[test]
fn a_machine_starts_pauses_goes_on_and_stops() {
    let room = Room::new();
    let facts = room.inspect();
    assert_eq!(facts.state, VmState::Running);
    let disk = facts.disk(&room.vda).unwrap();
    assert_eq!(
        (disk.encryption, disk.guest, disk.below.len()),
        (Some(EncryptionFormat::Luks1), guest(MIB), 0)
    );
    assert_eq!(room.vm(StartVm::new(room.machine(&[room.first()]))), facts);
    assert_eq!(room.vm(PauseVm::new(&room.vm)).state, VmState::Paused);
    assert_eq!(room.vm(ResumeVm::new(&room.vm)), facts);
    let all = room.desk.run(ReconcileVms::new(&[])).unwrap();
    assert_eq!(all, HostAnswer::Vms(vec![facts]));
    for _ in 0..2 {
        let stop = StopVm::new(&room.vm, StopVmHow::PowerOff);
        assert_eq!(room.desk.run(stop).unwrap(), HostAnswer::Done);
    }
    refused(
        room.desk.run(InspectVm::new(&room.vm)),
        ErrorKind::NotFound,
        &["vm-1"],
    );
    let disks = [room.first()];
    assert_eq!(
        room.vm(StartVm::new(room.machine(&disks).paused())).state,
        VmState::Paused
    );
    assert!(room.desk.node.end_vm(&room.vm) && !room.desk.node.end_vm(&room.vm));
}

#[test]
fn no_machine_starts_on_a_disk_that_is_not_what_is_said() {
    let room = Room::new();
    let (other, vm): (_, VmId) = (Passphrase::generate().unwrap(), "vm-2".parse().unwrap());
    let spare = room
        .desk
        .create("/p/w.qcow2", DiskFormat::Qcow2, room.desk.luks1());
    let start = |disks: &[VmDisk<'_>]| {
        let machine = Vm::new(&vm, ByteSize::mib(64), 1, Boot::Disk).with_disks(disks);
        room.desk.run(StartVm::new(machine))
    };
    let at = |protection| room.at(&room.vdb, &spare, protection);
    let wrong_key = at(luks(EncryptionFormat::Luks1, &other));
    refused(start(&[wrong_key]), ErrorKind::WrongKey, &["/p/w.qcow2"]);
    refused(
        start(&[at(Protection::Plain)]),
        ErrorKind::WrongDisk,
        &["/p/w.qcow2"],
    );
    let luks2 = at(luks(EncryptionFormat::Luks2, &room.desk.key));
    refused(start(&[luks2]), ErrorKind::WrongDisk, &["/p/w.qcow2"]);
    refused(start(&[room.first()]), ErrorKind::Busy, &["vm-1"]);
    let twice = [at(room.desk.luks1()), at(room.desk.luks1())];
    refused(start(&twice), ErrorKind::InvalidRequest, &["vdb"]);
    refused(start(&[]), ErrorKind::InvalidRequest, &["no disk to boot"]);
    let no_cores = Vm::new(&vm, ByteSize::mib(64), 0, Boot::Disk);
    refused(
        room.desk.run(StartVm::new(no_cores)),
        ErrorKind::InvalidRequest,
        &["processor"],
    );
    let socket = Vm::new(&vm, ByteSize::mib(64), 1, Boot::Disk).with_console(Path::new("socket"));
    refused(
        room.desk.run(StartVm::new(socket)),
        ErrorKind::InvalidRequest,
        &["absolute"],
    );
    refused(room.desk.run(InspectVm::new(&vm)), ErrorKind::NotFound, &["vm-2"]);
    let other_disks = [at(room.desk.luks1())];
    let again = StartVm::new(room.machine(&other_disks));
    refused(room.desk.run(again), ErrorKind::AlreadyExists, &["vm-1"]);
}

#[test]
fn a_disk_comes_and_goes_while_the_guest_runs() {
    let room = Room::new();
    let spare = room.desk.create("/p/w.luks", DiskFormat::Raw, room.desk.luks1());
    let attach = AttachVmDisk::new(&room.vm, room.at(&room.vdb, &spare, room.desk.luks1()));
    let facts = room.vm(attach);
    assert_eq!(facts.disks.len(), 2);
    assert_eq!(room.vm(attach), facts);
    let third = room.desk.create("/p/x.luks", DiskFormat::Raw, room.desk.luks1());
    let taken = AttachVmDisk::new(&room.vm, room.at(&room.vdb, &third, room.desk.luks1()));
    refused(
        room.desk.run(taken),
        ErrorKind::AlreadyExists,
        &["vdb", "/p/w.luks"],
    );
    let vdc = "vdc".parse().unwrap();
    let twice = AttachVmDisk::new(&room.vm, room.at(&vdc, &spare, room.desk.luks1()));
    refused(room.desk.run(twice), ErrorKind::Busy, &["/p/w.luks"]);

    let detach = DetachVmDisk::new(&room.vm, &room.vdb);
    room.vm(PauseVm::new(&room.vm));
    refused(room.desk.run(detach), ErrorKind::Busy, &["paused"]);
    room.vm(ResumeVm::new(&room.vm));
    for _ in 0..2 {
        assert_eq!(room.vm(detach).disks.len(), 1);
    }
    room.desk.run(DeleteDisk::new("/p/w.luks".as_ref())).unwrap();
}

#[test]
fn a_disk_that_a_guest_has_is_changed_by_nobody_else() {
    let room = Room::new();
    let disk = Disk::new(&room.disk.location, DiskFormat::Qcow2, room.desk.luks1());
    for command in [
        HostCommand::from(DeleteDisk::new("/p/v.qcow2".as_ref())),
        GrowDisk::new(disk, guest(2 * MIB)).into(),
        EraseKeyslots::new(&room.disk.location, DiskFormat::Qcow2).into(),
        ReplaceContent::new(disk, image("/t").into()).into(),
        CreateDisk::new(
            "/p/copy".as_ref(),
            DiskFormat::Qcow2,
            guest(MIB),
            room.desk.luks1(),
            DiskContent::Copy(disk),
        )
        .into(),
    ] {
        let name = command.name();
        refused(room.desk.run(command), ErrorKind::Busy, &["vm-1"]);
        assert_eq!(
            room.inspect().disk(&room.vda).unwrap().guest,
            guest(MIB),
            "{name}"
        );
    }
}

#[test]
fn a_disk_grows_for_the_guest_and_never_shrinks() {
    let room = Room::new();
    let grow = |target, to| room.desk.run(GrowVmDisk::new(&room.vm, target, guest(to)));
    assert_eq!(
        answered(grow(&room.vda, 3 * MIB)).disk(&room.vda).unwrap().guest,
        guest(3 * MIB)
    );
    refused(grow(&room.vda, MIB), ErrorKind::InvalidRequest, &["lose"]);
    refused(grow(&room.vdb, MIB), ErrorKind::NotFound, &["vdb"]);

    room.desk.node.add_blank_device("/dev/v", guest(2 * MIB));
    let location = strongroom_endpoint_selector::DiskLocation::block("/dev/v");
    let disk = Disk::new(&location, DiskFormat::Raw, Protection::Plain);
    let at = VmDisk::new(&room.vdb, &room.volume, disk);
    room.vm(AttachVmDisk::new(&room.vm, at));
    refused(grow(&room.vdb, 3 * MIB), ErrorKind::Unsupported, &["storage"]);
    assert!(
        room.desk
            .node
            .grow_device("/dev/v".as_ref(), DeviceSize::new(3 * MIB).unwrap())
    );
    room.desk
        .run(strongroom_endpoint_selector::RescanDevice::new("/dev/v".as_ref()))
        .unwrap();
    assert_eq!(
        answered(grow(&room.vdb, 3 * MIB)).disk(&room.vdb).unwrap().guest,
        guest(3 * MIB)
    );
}

#[test]
fn another_passphrase_takes_the_place_of_the_one_that_opened() {
    let room = Room::new();
    let new = Passphrase::generate().unwrap();
    let change = ChangeVmDiskKey::new(&room.vm, room.first(), &new);
    for _ in 0..2 {
        room.vm(change);
    }
    room.desk.node.end_vm(&room.vm);
    let old = [room.first()];
    refused(
        room.desk.run(StartVm::new(room.machine(&old))),
        ErrorKind::WrongKey,
        &[],
    );
    let disks = [room.at(&room.vda, &room.disk, luks(EncryptionFormat::Luks1, &new))];
    room.vm(StartVm::new(room.machine(&disks)));
}

#[test]
fn a_machine_in_memory_is_not_saved() {
    let room = Room::new();
    let save = SaveVm::new(&room.vm, room.first());
    refused(room.desk.run(save), ErrorKind::Unsupported, &["in memory"]);
    assert_eq!(room.inspect().state, VmState::Running);
}
