//! Disks that become larger while a guest runs.

use std::fs::OpenOptions;

use strongroom_endpoint_selector::{ErrorKind, GrowVmDisk, RescanDevice};
use strongroom_lab::find_in;

use crate::devices::Loop;
use crate::world::{MIB, QCOW2, RAW, World, refused, size};

#[test]
fn a_guest_sees_exactly_the_size_that_was_asked_for() {
    let world = World::new();
    let device = Loop::of_zeros(&world, "vol-9", 34 * MIB);
    let volumes = [
        world.volume("root.qcow2", QCOW2, "vda"),
        world.volume("data.luks", RAW, "vdb"),
        device.formatted(&world, "vdc"),
        world.plain_volume("plain.qcow2", QCOW2, "vdd"),
    ];
    let disks: Vec<_> = volumes.iter().map(|volume| volume.for_guest()).collect();
    let mut guest = world.start(&disks);
    let grow = |at: usize, to: u64| GrowVmDisk::new(&world.vm, &volumes[at].target, size(to));
    for at in [0, 1, 3] {
        let (target, to) = (&volumes[at].target, 96 * MIB + 512);
        for _ in 0..2 {
            let facts = world.ask(grow(at, to));
            assert_eq!(facts.disk(target).unwrap().guest, size(to));
        }
        assert_eq!(guest.disk_bytes(target.as_str()).unwrap(), to);
        guest
            .write_canary(target.as_str(), 96 * 256 - 1, "GROWN")
            .unwrap();
        let hits = find_in([volumes[at].path()], "GROWN").unwrap();
        assert_eq!(hits.is_empty(), at != 3, "{hits:?}");
        refused(
            world.run(grow(at, 64 * MIB)),
            ErrorKind::InvalidRequest,
            &["lose"],
        );
        assert_eq!(world.inspect().disk(target).unwrap().guest, size(to));
    }
    // A device is made larger by its storage first, and then the guest sees all of it.
    refused(world.run(grow(2, 40 * MIB)), ErrorKind::Unsupported, &["vdc"]);
    let backing = OpenOptions::new().write(true).open(&device.backing).unwrap();
    backing.set_len(42 * MIB).unwrap();
    world.run(RescanDevice::new(device.path.as_ref())).unwrap();
    refused(world.run(grow(2, 39 * MIB)), ErrorKind::Unsupported, &["vdc"]);
    assert_eq!(
        world.inspect().disk(&volumes[2].target).unwrap().guest,
        size(32 * MIB)
    );
    world.ask(grow(2, 40 * MIB));
    assert_eq!(guest.disk_bytes("vdc").unwrap(), 40 * MIB);
    world.no_secrets();
    let nowhere = "vdz".parse().unwrap();
    let missing = GrowVmDisk::new(&world.vm, &nowhere, size(40 * MIB));
    refused(world.run(missing), ErrorKind::NotFound, &["vdz"]);
}
