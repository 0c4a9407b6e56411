use strongroom_lab::{Hypervisors, find_in};
use strongroom_libvirt::{DiskOverlay, Image, LibvirtError, MachineState, Refusal};
use strongroom_types::{Call, DiskFormat};

use crate::memory::open;
use crate::place::{Host, Volume, create, until};

fn overlay(target: &str, volume: &Volume) -> DiskOverlay {
    DiskOverlay::new(target.parse().unwrap(), volume.image.clone())
}

#[test]
fn a_live_snapshot_has_memory_and_disks_of_one_instant_and_the_guest_goes_back_to_it() {
    let lab = Hypervisors::one().unwrap();
    let host = Host::new(lab.first());
    let call = Call::new();
    let (a, b) = (
        host.volume("a", DiskFormat::Qcow2),
        host.volume("b", DiskFormat::Raw),
    );
    host.load(&[&a, &b]);
    let mut guest = host.start("vm", &[a.disk("vda"), b.disk("vdb")]);
    guest.write_canary("vda", 10, "CANARY-BEFORE").unwrap();
    guest.write_canary("vdb", 10, "CANARY-BEFORE").unwrap();
    guest.output("echo before >/tmp/state").unwrap();
    guest
        .output("yes MEMORY-CANARY | head -c 1000000 >/tmp/memory")
        .unwrap();

    let (file, key) = host.memory_file("vm.memory");
    let memory = open(&file, &key);
    let machine = host.machine("vm");
    let (over_a, over_b) = (host.overlay("a-1", &a), host.overlay("b-1", &b));
    let snapshot = |overlays: &[DiskOverlay]| machine.snapshot_with_memory(&call, &memory, overlays);
    let one = snapshot(&[overlay("vda", &over_a)]).unwrap_err();
    assert!(
        matches!(one, LibvirtError::Refused(Refusal::Unnamed { .. })),
        "{one:?}"
    );
    let plain = Image::plain(over_b.image.source().clone(), DiskFormat::Qcow2);
    let plain = DiskOverlay::new("vdb".parse().unwrap(), plain);
    let in_clear = snapshot(&[overlay("vda", &over_a), plain]).unwrap_err();
    assert!(
        matches!(in_clear, LibvirtError::Refused(Refusal::InClear { .. })),
        "{in_clear:?}"
    );
    let both = [overlay("vda", &over_a), overlay("vdb", &over_b)];
    let nodes = machine.block_nodes(&call).unwrap();
    host.load(&[&over_a]);
    let no_key = snapshot(&both).unwrap_err();
    assert!(matches!(no_key, LibvirtError::NoSecret { .. }), "{no_key:?}");
    assert_eq!(machine.block_nodes(&call).unwrap(), nodes);
    assert_eq!(machine.state(&call).unwrap(), MachineState::Running);

    host.load(&[&over_b]);
    let small = lab.first().outside(&lab.first().local().join("small"));
    create(&small, DiskFormat::Raw, &key, 8 << 20, &[]);
    let no_room = machine
        .snapshot_with_memory(&call, &open(&small, &key), &both)
        .unwrap_err();
    assert!(matches!(no_room, LibvirtError::NoSpace { .. }), "{no_room:?}");
    assert_eq!(machine.block_nodes(&call).unwrap(), nodes);
    assert_eq!(machine.state(&call).unwrap(), MachineState::Running);

    snapshot(&both).unwrap();
    host.unload_all();
    assert_eq!(machine.state(&call).unwrap(), MachineState::Running);
    guest.output("echo after >/tmp/state").unwrap();
    for disk in ["vda", "vdb"] {
        guest.write_canary(disk, 10, "CANARY-AFTER").unwrap();
    }
    assert!(!find_in([memory.device()], "MEMORY-CANARY").unwrap().is_empty());
    drop(memory);
    let local = lab.first().outside(lab.first().local());
    for text in [
        "CANARY-BEFORE",
        "CANARY-AFTER",
        "MEMORY-CANARY",
        "LibvirtQemudSave",
    ] {
        assert_eq!(find_in([&local], text).unwrap(), [], "{text}");
    }

    // Back: new overlays on what was frozen.
    machine.destroy(&call).unwrap();
    drop(guest);
    let (new_a, new_b) = (host.overlay("a-2", &a), host.overlay("b-2", &b));
    let memory = open(&file, &key);
    let disks = [
        new_a.disk("vda").on([a.image.clone()]),
        new_b.disk("vdb").on([b.image.clone()]),
    ];
    host.load(&[&a, &b, &new_a, &new_b]);
    machine.restore(&call, &memory, &disks, true).unwrap();
    host.unload_all();
    assert_eq!(machine.state(&call).unwrap(), MachineState::Paused);
    machine.resume(&call).unwrap();
    drop(memory);
    let mut guest = host.console("vm");
    assert_eq!(guest.output("cat /tmp/state").unwrap(), "before");
    for disk in ["vda", "vdb"] {
        assert_eq!(guest.read_canary(disk, 10).unwrap(), "CANARY-BEFORE");
        guest.write_canary(disk, 11, "CANARY-AGAIN").unwrap();
    }
    assert_eq!(find_in([&local], "CANARY-AGAIN").unwrap(), []);

    // What QEMU does when libvirt asks it for a snapshot inside the image.
    let internal = lab.first().virsh(["snapshot-create-as", "vm", "inside"]).unwrap();
    assert_eq!(internal.code, 1);
    assert!(
        internal
            .message()
            .ends_with("Unable to read from monitor: Connection reset by peer"),
        "{}",
        internal.message()
    );
    until("the end of the guest", || host.machines().is_empty());
}
