use strongroom_lab::find_in;
use strongroom_libvirt::{
    DiskOverlay, Document, Image, LibvirtError, LiveDisk, Machine, Refusal, Source, Virsh,
};
use strongroom_types::{Call, DiskFormat};

use crate::content::{holds_encrypted, lacks};
use crate::world::{Volume, World, disk};
use crate::writer::{CANARY, Writer};

pub(crate) fn overlay(target: &str, volume: &Volume) -> DiskOverlay {
    DiskOverlay::new(target.parse().unwrap(), volume.image.clone())
}

pub(crate) fn live(machine: &Machine<'_>, target: &str) -> LiveDisk {
    let live = machine.describe(&Call::new()).unwrap();
    live.disk(&target.parse().unwrap()).unwrap().clone()
}

fn source(volume: &Volume) -> Option<Source> {
    Some(volume.image.source().clone())
}

#[test]
fn two_disks_are_frozen_at_one_instant_go_on_encrypted_and_are_merged_back() {
    let world = World::new();
    let call = world.call();
    let (a, b) = (
        world.volume("a", DiskFormat::Qcow2),
        world.volume("b", DiskFormat::Raw),
    );
    let c = world.volume("c", DiskFormat::Qcow2);
    let (over_a, over_b) = (world.overlay("over-a", &a), world.overlay("over-b", &b));
    world.run_on([("vda", &a), ("vdb", &b), ("vdc", &c)]);
    let machine = world.machine("vm");
    let mut guest = world.console("vm");
    for name in ["vda", "vdb"] {
        guest.write_canary(name, 10, &format!("BEFORE-{name}")).unwrap();
    }

    let writer = Writer::start(&mut guest, "vda");
    let unfrozen = machine
        .snapshot_disks(&call, &[overlay("vda", &over_a)], true)
        .unwrap_err();
    assert!(
        matches!(unfrozen, LibvirtError::Unsupported { .. }),
        "the guest has no agent: {unfrozen:?}"
    );
    world.load(&over_a);
    world.load(&over_b);
    machine
        .snapshot_disks(&call, &[overlay("vda", &over_a), overlay("vdb", &over_b)], false)
        .unwrap();
    world.unload(&over_a);
    world.unload(&over_b);
    assert_eq!(live(&machine, "vda").image.source, source(&over_a));
    assert_eq!(live(&machine, "vdb").image.source, source(&over_b));
    assert_eq!(
        live(&machine, "vdc").image.source,
        source(&c),
        "what is not named is left out"
    );
    writer.goes_on(&mut guest);
    for name in ["vda", "vdb", "vdc"] {
        guest.write_canary(name, 11, &format!("AFTER-{name}")).unwrap();
    }
    for (base, over, name) in [(&a, &over_a, "vda"), (&b, &over_b, "vdb")] {
        holds_encrypted(&[base], &format!("BEFORE-{name}"));
        lacks(&[base], &format!("AFTER-{name}"));
        holds_encrypted(&[over, base], &format!("AFTER-{name}"));
    }
    assert_eq!(
        find_in([world.host().outside(world.host().local())], CANARY).unwrap(),
        [],
        "no file of the host has anything in clear"
    );

    for (base, over, name) in [(&a, &over_a, "vda"), (&b, &over_b, "vdb")] {
        let target = name.parse().unwrap();
        let merged = machine.merge_overlay(&call, &target).unwrap().unwrap();
        assert_eq!(merged.source, source(over));
        assert_eq!(live(&machine, name).image.source, source(base));
        assert_eq!(live(&machine, name).backing, []);
        assert_eq!(machine.merge_overlay(&call, &target).unwrap(), None);
        std::fs::remove_file(&over.file).unwrap();
        assert_eq!(guest.read_canary(name, 11).unwrap(), format!("AFTER-{name}"));
        holds_encrypted(&[base], &format!("AFTER-{name}"));
        assert_eq!(machine.disk_job(&call, &target).unwrap(), None);
    }
    writer.finish(&mut guest);
    world.always_said(
        " snapshot-create ",
        &["--disk-only", "--atomic", "--no-metadata", "--reuse-external"],
    );
    machine.destroy(&call).unwrap();
}

#[test]
fn what_would_leave_something_in_clear_or_half_done_is_refused_and_changes_nothing() {
    let world = World::new();
    let call = world.call();
    let (a, b) = (
        world.volume("a", DiskFormat::Qcow2),
        world.volume("b", DiskFormat::Raw),
    );
    let (over_a, over_b) = (world.overlay("over-a", &a), world.overlay("over-b", &b));
    world.load(&a);
    world.load(&b);
    world.start(
        &world.domain("vm", [disk("vda", &a.image), disk("vdb", &b.image)]),
        true,
    );
    let machine = world.machine("vm");
    let known = || {
        (
            machine.describe(&call).unwrap().disks,
            machine.block_nodes(&call).unwrap(),
            machine.objects(&call).unwrap(),
        )
    };
    let before = known();
    let snapshot = |overlays: &[DiskOverlay]| {
        let error = machine.snapshot_disks(&call, overlays, false).unwrap_err();
        assert_eq!(known(), before, "{error}");
        error
    };
    let with = |target: &str, image: Image| DiskOverlay::new(target.parse().unwrap(), image);

    let plain = Image::plain(over_a.image.source().clone(), DiskFormat::Qcow2);
    assert!(matches!(
        snapshot(&[with("vda", plain)]),
        LibvirtError::Refused(Refusal::InClear { .. })
    ));
    let raw = Image::encrypted(
        over_b.image.source().clone(),
        DiskFormat::Raw,
        over_b.secret.uuid(),
    );
    assert!(matches!(
        snapshot(&[with("vdb", raw)]),
        LibvirtError::Refused(Refusal::NotQcow2(_))
    ));
    assert!(matches!(
        snapshot(&[with("vda", b.image.clone())]),
        LibvirtError::Refused(Refusal::NotQcow2(_) | Refusal::InUse(_))
    ));
    assert!(matches!(
        snapshot(&[with("vdb", a.image.clone())]),
        LibvirtError::Refused(Refusal::InUse(_))
    ));
    assert!(matches!(
        snapshot(&[overlay("vda", &over_a), overlay("vda", &over_b)]),
        LibvirtError::Refused(Refusal::TargetTwice(_))
    ));
    assert!(matches!(snapshot(&[]), LibvirtError::Refused(Refusal::NoDisks)));
    assert!(matches!(
        snapshot(&[overlay("vdz", &over_a)]),
        LibvirtError::NoDisk { .. }
    ));
    assert!(matches!(
        snapshot(&[overlay("vda", &over_a)]),
        LibvirtError::NoSecret { .. }
    ));
    // libvirt leaves nodes and a secret of a key that does not fit, and of the disk before it.
    world.load(&over_a);
    let other = strongroom_secret::Passphrase::generate().unwrap();
    world
        .connection
        .load_secret(&call, &over_b.secret, &other)
        .unwrap();
    assert!(matches!(
        snapshot(&[overlay("vda", &over_a), overlay("vdb", &over_b)]),
        LibvirtError::WrongKey { .. }
    ));
    assert!(matches!(
        snapshot(&[overlay("vdb", &over_b), overlay("vda", &over_a)]),
        LibvirtError::WrongKey { .. }
    ));
    world.load(&over_b);
    machine
        .snapshot_disks(&call, &[overlay("vda", &over_a), overlay("vdb", &over_b)], false)
        .unwrap();
    machine.destroy(&call).unwrap();
    let off = machine
        .snapshot_disks(&call, &[overlay("vda", &over_a)], false)
        .unwrap_err();
    assert!(matches!(off, LibvirtError::NoDomain { .. }), "{off:?}");

    // libvirt makes a plain overlay for a machine that it knows and that is off.
    let described = world.domain("vm", [disk("vda", &a.image)]);
    let document = Document::new(&described.to_element().unwrap()).unwrap();
    let define = Virsh::new("define").document("--file", &document);
    world.connection.run(&call, &define).unwrap();
    let off = machine
        .snapshot_disks(&call, &[overlay("vda", &over_a)], false)
        .unwrap_err();
    assert!(matches!(off, LibvirtError::NotRunning { .. }), "{off:?}");
}
