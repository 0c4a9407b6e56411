use strongroom_lab::LoopDevice;
use strongroom_libvirt::{Image, LibvirtError, Refusal, Source};
use strongroom_types::DiskFormat;

use crate::content::holds_encrypted;
use crate::world::{World, run_words};
use crate::writer::{CANARY, Writer};

const MIB: u64 = 1 << 20;

#[test]
fn a_disk_grows_to_exactly_what_was_asked_while_the_guest_writes() {
    let world = World::new();
    let call = world.call();
    let (a, b) = (
        world.volume("a", DiskFormat::Qcow2),
        world.volume("b", DiskFormat::Raw),
    );
    let mut c = world.volume("c", DiskFormat::Raw);
    let device = LoopDevice::on(&c.file).unwrap();
    c.image = Image::encrypted(
        Source::Block(device.path().to_owned()),
        DiskFormat::Raw,
        c.secret.uuid(),
    );
    world.run_on([("vda", &a), ("vdb", &b), ("vdc", &c)]);
    let machine = world.machine("vm");
    let mut guest = world.console("vm");
    let target = |name: &str| name.parse().unwrap();

    let writer = Writer::start(&mut guest, "vda");
    machine.grow_disk(&call, &target("vda"), 96 * MIB).unwrap();
    machine.grow_disk(&call, &target("vda"), 96 * MIB).unwrap();
    writer.finish(&mut guest);
    machine.grow_disk(&call, &target("vdb"), 80 * MIB).unwrap();
    for (name, size) in [("vda", 96), ("vdb", 80), ("vdc", 64)] {
        assert_eq!(guest.disk_bytes(name).unwrap(), size * MIB, "{name}");
    }

    // The device is made larger first, by more than the guest is to see.
    let refused = machine.grow_disk(&call, &target("vdc"), 72 * MIB).unwrap_err();
    assert!(
        matches!(&refused, LibvirtError::Refused(Refusal::DeviceSize { room, .. }) if *room == 64 * MIB),
        "{refused:?}"
    );
    let lengthen = |payload: u64| {
        let file = std::fs::OpenOptions::new().write(true).open(&c.file).unwrap();
        file.set_len(payload * MIB + 4040 * 512).unwrap();
        run_words("losetup", &["--set-capacity", device.path().to_str().unwrap()]);
    };
    lengthen(80);
    let refused = machine.grow_disk(&call, &target("vdc"), 72 * MIB).unwrap_err();
    assert!(
        matches!(&refused, LibvirtError::Refused(Refusal::DeviceSize { room, asked, .. }) if (*room, *asked) == (80 * MIB, 72 * MIB)),
        "{refused:?}"
    );
    assert_eq!(guest.disk_bytes("vdc").unwrap(), 64 * MIB);
    machine.grow_disk(&call, &target("vdc"), 80 * MIB).unwrap();
    assert_eq!(guest.disk_bytes("vdc").unwrap(), 80 * MIB);

    for (name, size) in [("vda", 95), ("vdb", 79), ("vdc", 64)] {
        let refused = machine.grow_disk(&call, &target(name), size * MIB).unwrap_err();
        assert!(
            matches!(refused, LibvirtError::Refused(Refusal::Shrink { .. })),
            "{refused:?}"
        );
    }
    let missing = machine.grow_disk(&call, &target("vdz"), MIB).unwrap_err();
    assert!(matches!(missing, LibvirtError::NoDisk { .. }), "{missing:?}");

    for (name, volume, last) in [("vda", &a, 96), ("vdb", &b, 80), ("vdc", &c, 80)] {
        let canary = format!("IN-THE-NEW-PART-OF-{name}");
        guest
            .write_canary(name, (last * MIB / 4096) - 1, &canary)
            .unwrap();
        assert_eq!(guest.read_canary(name, (last * MIB / 4096) - 1).unwrap(), canary);
        holds_encrypted(&[volume], &canary);
    }
    holds_encrypted(&[&a], CANARY);
    machine.destroy(&call).unwrap();
}
