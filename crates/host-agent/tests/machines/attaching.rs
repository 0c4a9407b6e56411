//! Disks come and go while a guest runs.

use strongroom_endpoint_selector::{AttachVmDisk, DetachVmDisk, Endpoint, ErrorKind, PauseVm, ResumeVm};
use strongroom_lab::find_in;
use strongroom_secret::Passphrase;
use strongroom_types::{Call, EncryptionFormat};

use crate::world::{QCOW2, RAW, World, refused};

#[test]
fn an_encrypted_disk_comes_and_goes_while_the_guest_runs() {
    let world = World::new();
    let root = world.volume("root.qcow2", QCOW2, "vda");
    let mut guest = world.start(&[root.for_guest()]);
    for volume in [
        world.volume("raw.luks", RAW, "vdb"),
        world.volume("two.qcow2", QCOW2, "vdb"),
    ] {
        let attach = AttachVmDisk::new(&world.vm, volume.for_guest());
        let facts = world.ask(attach);
        world.no_secrets();
        let disk = facts.disk(&volume.target).unwrap();
        assert_eq!(
            (&disk.location, disk.encryption),
            (&volume.location, Some(EncryptionFormat::Luks1))
        );
        assert_eq!(world.ask(attach), facts, "the same again changes nothing");
        guest.write_canary("vdb", 7, "ATTACHED").unwrap();
        assert_eq!(guest.read_canary("vdb", 7).unwrap(), "ATTACHED");
        assert_eq!(find_in([volume.path()], "ATTACHED").unwrap(), []);
        for _ in 0..2 {
            let left = world.ask(DetachVmDisk::new(&world.vm, &volume.target));
            assert_eq!(left.disks.len(), 1);
        }
    }
}

#[test]
fn what_is_not_what_is_said_is_not_attached_and_the_machine_is_as_it_was() {
    let world = World::new();
    let root = world.volume("root.qcow2", QCOW2, "vda");
    let spare = world.volume("spare.luks", RAW, "vdb");
    let other = world.volume("other.luks", RAW, "vdb");
    let plain = world.plain_volume("plain.raw", RAW, "vdc");
    let stranger = Passphrase::generate().unwrap();
    world
        .start_paused(&[root.for_guest(), spare.for_guest()])
        .unwrap();
    let before = world.inspect();
    let mut again = spare.for_guest();
    again.target = &plain.target;
    let mut wrong_key = other.opened_with(&stranger);
    wrong_key.target = &plain.target;
    for (disk, kind, words) in [
        (other.for_guest(), ErrorKind::AlreadyExists, "vdb"),
        (again, ErrorKind::Busy, "spare.luks"),
        (wrong_key, ErrorKind::WrongKey, "other.luks"),
        (plain.opened_with(&stranger), ErrorKind::WrongDisk, "plain.raw"),
    ] {
        refused(world.run(AttachVmDisk::new(&world.vm, disk)), kind, &[words]);
        assert_eq!(world.inspect(), before);
        world.no_secrets();
    }
    let nobody = "vm-9".parse().unwrap();
    let attach = AttachVmDisk::new(&nobody, other.for_guest());
    refused(world.run(attach), ErrorKind::NotFound, &["vm-9"]);
}

#[test]
fn a_paused_guest_does_not_let_go_of_a_disk_and_does_when_it_goes_on() {
    let world = World::new();
    let root = world.volume("root.qcow2", QCOW2, "vda");
    let data = world.volume("data.luks", RAW, "vdb");
    let _guest = world.start(&[root.for_guest(), data.for_guest()]);
    world.ask(PauseVm::new(&world.vm));
    let detach = DetachVmDisk::new(&world.vm, &data.target);
    let hurried = Call::new().with_timeout(std::time::Duration::from_secs(8));
    refused(
        world.agent.run(&hurried, &detach.into()),
        ErrorKind::Busy,
        &["vdb"],
    );
    assert_eq!(world.inspect().disks.len(), 2);
    world.ask(ResumeVm::new(&world.vm));
    assert_eq!(world.ask(detach).disks.len(), 1);
}
