//! Another passphrase for a disk that a guest has.

use strongroom_endpoint_selector::{ChangeVmDiskKey, Disk, ErrorKind, VerifyDisk, VmDisk};
use strongroom_secret::Passphrase;

use crate::world::{QCOW2, RAW, World, luks, refused};

#[test]
fn a_raw_disk_gets_another_passphrase_under_a_running_guest() {
    let world = World::new();
    let root = world.volume("root.qcow2", QCOW2, "vda");
    let data = world.volume("data.luks", RAW, "vdb");
    let mut guest = world.start(&[root.for_guest(), data.for_guest()]);
    guest.write_canary("vdb", 9, "KEYCANARY").unwrap();
    let (new, stranger) = (Passphrase::generate().unwrap(), Passphrase::generate().unwrap());
    let wrong = ChangeVmDiskKey::new(&world.vm, data.opened_with(&stranger), &new);
    refused(world.run(wrong), ErrorKind::WrongKey, &["data.luks"]);
    let mut elsewhere = data.for_guest();
    elsewhere.target = &root.target;
    let misplaced = ChangeVmDiskKey::new(&world.vm, elsewhere, &new);
    refused(world.run(misplaced), ErrorKind::WrongDisk, &["vda"]);
    let change = ChangeVmDiskKey::new(&world.vm, data.for_guest(), &new);
    for _ in 0..2 {
        world.ask(change);
    }
    assert_eq!(guest.read_canary("vdb", 9).unwrap(), "KEYCANARY");
    world.power_off();
    world
        .run(VerifyDisk::new(Disk::new(&data.location, RAW, luks(&new))))
        .unwrap();
    refused(
        world.run(VerifyDisk::new(data.disk())),
        ErrorKind::WrongKey,
        &["data.luks"],
    );
    let disks: [VmDisk<'_>; 2] = [root.for_guest(), data.opened_with(&new)];
    let mut guest = world.start(&disks);
    assert_eq!(guest.read_canary("vdb", 9).unwrap(), "KEYCANARY");
}
