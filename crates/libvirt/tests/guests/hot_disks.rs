use std::time::Duration;

use strongroom_lab::{LoopDevice, find_in};
use strongroom_libvirt::{Boot, Image, LibvirtError, MachineState, Source};
use strongroom_types::{Call, DiskFormat};

use crate::world::{World, disk};

#[test]
fn an_encrypted_disk_comes_and_goes_while_the_guest_runs() {
    let world = World::new();
    let call = world.call();
    let (a, b) = (
        world.volume("a", DiskFormat::Qcow2),
        world.volume("b", DiskFormat::Raw),
    );
    world.run_on([("vda", &a)]);
    let machine = world.machine("vm");
    let mut guest = world.console("vm");
    let before = (
        machine.block_nodes(&call).unwrap(),
        machine.objects(&call).unwrap(),
    );

    world.load(&b);
    machine.attach(&call, &disk("vdb", &b.image)).unwrap();
    world.unload(&b);
    let seen = guest.run(
        "until [ -b /dev/vdb ]; do sleep 0.1; done",
        Duration::from_secs(60),
    );
    assert_eq!(seen.unwrap().code, 0);
    guest.write_canary("vdb", 7, "HOT-CANARY").unwrap();
    assert_eq!(guest.read_canary("vdb", 7).unwrap(), "HOT-CANARY");
    assert_eq!(find_in([&b.file], "HOT-CANARY").unwrap(), []);

    let live = machine.describe(&call).unwrap();
    let hot = live.disk(&"vdb".parse().unwrap()).unwrap();
    assert!(
        matches!(&hot.image.source, Some(Source::File(path)) if path.ends_with("b")),
        "{hot:?}"
    );
    let encryption = hot.image.encryption.as_ref().unwrap();
    assert_eq!(encryption.secret, Some(b.secret.uuid()));
    assert_eq!(
        (encryption.format.as_str(), encryption.engine.as_deref()),
        ("luks", Some("qemu"))
    );
    let node = hot.image.format_node().unwrap();
    let nodes = machine.block_nodes(&call).unwrap();
    let node = nodes.iter().find(|known| known.name == node).unwrap();
    assert_eq!((node.driver.as_str(), node.virtual_size), ("luks", 64 << 20));

    let target = "vdb".parse().unwrap();
    machine.suspend(&call).unwrap();
    assert_eq!(machine.state(&call).unwrap(), MachineState::Paused);
    let still = machine.detach(&call, &target).unwrap_err();
    assert!(
        matches!(&still, LibvirtError::StillAttached { target: t } if *t == target),
        "{still:?}"
    );
    machine.resume(&call).unwrap();
    assert_eq!(
        guest.read_canary("vdb", 7).unwrap(),
        "HOT-CANARY",
        "nothing waited for the guest to go on"
    );
    machine.detach(&call, &target).unwrap();
    machine.detach(&call, &target).unwrap();
    assert_eq!(machine.describe(&call).unwrap().disks.len(), 1);
    assert_eq!(
        (
            machine.block_nodes(&call).unwrap(),
            machine.objects(&call).unwrap()
        ),
        before
    );
    guest.write_canary("vda", 7, "GOES-ON").unwrap();
    machine.destroy(&call).unwrap();
}

#[test]
fn a_guest_that_does_not_answer_keeps_its_disk_and_may_be_asked_again() {
    let world = World::new();
    let call = world.call();
    let a = world.volume("a", DiskFormat::Qcow2);
    world.load(&a);
    // Nothing boots from an empty disk, and firmware does not let go of one.
    let mut domain = world.domain("vm", [disk("vda", &a.image)]);
    domain.boot = Boot::Disk;
    world.start(&domain, false);
    let (machine, target) = (world.machine("vm"), "vda".parse().unwrap());
    for seconds in [1, 7, 7] {
        let short = Call::new().with_timeout(Duration::from_secs(seconds));
        let still = machine.detach(&short, &target).unwrap_err();
        assert!(
            matches!(still, LibvirtError::StillAttached { .. }),
            "{seconds}: {still:?}"
        );
        assert_eq!(machine.describe(&call).unwrap().disks.len(), 1);
    }
    machine.destroy(&call).unwrap();
}

#[test]
fn a_raw_luks_volume_on_a_block_device_is_as_long_as_its_payload() {
    let world = World::new();
    let call = world.call();
    let (a, b) = (
        world.volume("a", DiskFormat::Qcow2),
        world.volume("b", DiskFormat::Raw),
    );
    world.load(&a);
    world.load(&b);
    world.start(&world.domain("vm", [disk("vda", &a.image)]), true);
    let device = LoopDevice::on(&b.file).unwrap();
    let image = Image::encrypted(
        Source::Block(device.path().to_owned()),
        DiskFormat::Raw,
        b.secret.uuid(),
    );
    let machine = world.machine("vm");
    machine
        .attach(&call, &disk("vdb", &image).with_serial("vol-b".parse().unwrap()))
        .unwrap();

    let live = machine.describe(&call).unwrap();
    assert_eq!(
        live.disks[1].image.source,
        Some(Source::Block(device.path().to_owned()))
    );
    let info = machine.block_info(&call, &"vdb".parse().unwrap()).unwrap();
    // What qemu-img puts before the payload of a LUKS1 volume.
    assert_eq!(
        (info.capacity, info.physical),
        (64 << 20, (64 << 20) + 4040 * 512)
    );
    let missing = machine.block_info(&call, &"vdz".parse().unwrap()).unwrap_err();
    assert!(matches!(missing, LibvirtError::NoDisk { .. }), "{missing:?}");
    machine.destroy(&call).unwrap();
}
