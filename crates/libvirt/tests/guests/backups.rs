use std::sync::Arc;
use std::time::Duration;

use strongroom_lab::{LoopDevice, find_in};
use strongroom_libvirt::{
    Backup, BlockCopy, Checkpoint, DiskBackup, Image, LibvirtError, Machine, Refusal, Source,
};
use strongroom_types::{Call, Cancellation, CheckpointId, DiskFormat, Interrupted};

use crate::content::{content, fill, holds_encrypted, lacks};
use crate::world::{Volume, World, disk};
use crate::writer::Writer;

fn to(target: &str, volume: &Volume) -> DiskBackup {
    DiskBackup::new(target.parse().unwrap(), volume.image.clone())
}

fn named(text: &str) -> CheckpointId {
    text.parse().unwrap()
}

fn backed_up(world: &World, backup: &Backup, volumes: &[&Volume]) {
    for volume in volumes {
        world.load(volume);
    }
    let machine = world.machine("vm");
    let known = |machine: &Machine<'_>| {
        (
            machine.block_nodes(&world.call()).unwrap(),
            machine.objects(&world.call()).unwrap(),
        )
    };
    let before = known(&machine);
    if let Err(error) = machine.back_up(&world.call(), backup) {
        panic!("{error}\n{}", world.host().logs());
    }
    assert_eq!(known(&machine), before);
    for volume in volumes {
        world.unload(volume);
    }
}

#[test]
fn a_full_and_an_incremental_backup_lie_under_keys_of_their_own_and_a_killed_qemu_breaks_the_checkpoint() {
    let world = World::new();
    let call = world.call();
    let (a, b) = (
        world.volume("a", DiskFormat::Qcow2),
        world.volume("b", DiskFormat::Raw),
    );
    let full = world.volume("full", DiskFormat::Qcow2);
    let changes = world.overlay("changes", &full);
    let mut raw = world.volume("raw", DiskFormat::Raw);
    let device = LoopDevice::on(&raw.file).unwrap();
    raw.image = Image::encrypted(
        Source::Block(device.path().to_owned()),
        DiskFormat::Raw,
        raw.secret.uuid(),
    );
    let start = || {
        world.load(&a);
        world.load(&b);
        let disks = [disk("vda", &a.image), disk("vdb", &b.image)];
        world.start(&world.domain("vm", disks), false);
        world.unload(&a);
        world.unload(&b);
    };
    start();
    let machine = world.machine("vm");
    let mut guest = world.console("vm");
    guest.write_canary("vda", 10, "BEFORE-FULL").unwrap();
    guest.write_canary("vdb", 10, "ON-THE-RAW-ONE").unwrap();

    let writer = Writer::start(&mut guest, "vda");
    let first = Backup::full([to("vda", &full)]).remembered_as(named("first"));
    backed_up(&world, &first, &[&full]);
    guest.write_canary("vda", 11, "AFTER-FULL").unwrap();
    // The raw one on its own: it cannot remember, and a block device takes it.
    backed_up(&world, &Backup::full([to("vdb", &raw)]), &[&raw]);
    assert!(
        std::fs::read(device.path())
            .unwrap()
            .starts_with(b"LUKS\xba\xbe\0\x01")
    );
    let second = Backup::full([to("vda", &changes)])
        .since(named("first"))
        .remembered_as(named("second"));
    backed_up(&world, &second, &[&changes]);
    writer.finish(&mut guest);
    guest.write_canary("vda", 12, "AFTER-ALL").unwrap();

    holds_encrypted(&[&full], "BEFORE-FULL");
    lacks(&[&full], "AFTER-FULL");
    holds_encrypted(&[&raw], "ON-THE-RAW-ONE");
    for canary in ["BEFORE-FULL", "AFTER-FULL"] {
        holds_encrypted(&[&changes, &full], canary);
    }
    lacks(&[&changes, &full], "AFTER-ALL");
    let length = std::fs::metadata(&changes.file).unwrap().len();
    assert!(length < 8 << 20, "only what changed: {length}");
    assert_eq!(
        machine.checkpoints(&call).unwrap(),
        [named("first"), named("second")]
    );
    let again = machine.back_up(&call, &first).unwrap_err();
    assert!(matches!(again, LibvirtError::AlreadyExists { .. }), "{again:?}");

    // A stop in order keeps the bitmaps, and libvirt is told of them again.
    // libvirt ends QEMU with a signal that it takes as an order to close its images.
    machine.destroy(&call).unwrap();
    let checkpoints = [
        Checkpoint::new(named("first"), vec!["vda".parse().unwrap()]),
        Checkpoint::new(named("second"), vec!["vda".parse().unwrap()]).after(named("first")),
    ];
    start();
    assert_eq!(machine.checkpoints(&call).unwrap(), []);
    world.load(&changes);
    let unknown = machine
        .back_up(&call, &Backup::full([to("vda", &changes)]).since(named("second")))
        .unwrap_err();
    assert!(
        matches!(unknown, LibvirtError::BrokenCheckpoint { .. }),
        "{unknown:?}"
    );
    for checkpoint in &checkpoints {
        machine.restore_checkpoint(&call, checkpoint).unwrap();
        machine.restore_checkpoint(&call, checkpoint).unwrap();
    }
    let mut guest = world.console("vm");
    guest.write_canary("vda", 13, "AFTER-THE-STOP").unwrap();
    let third = world.overlay("third", &changes);
    backed_up(
        &world,
        &Backup::full([to("vda", &third)]).since(named("second")),
        &[&third],
    );
    for canary in ["BEFORE-FULL", "AFTER-FULL", "AFTER-ALL", "AFTER-THE-STOP"] {
        let clear = content(&[&third, &changes, &full]);
        assert!(!find_in([clear.path()], canary).unwrap().is_empty(), "{canary}");
    }

    world.host().kill_qemu("vm").unwrap();
    world.gone("vm");
    start();
    let broken = machine.restore_checkpoint(&call, &checkpoints[0]).unwrap_err();
    assert!(
        matches!(broken, LibvirtError::BrokenCheckpoint { .. }),
        "{broken:?}"
    );
    for checkpoint in &checkpoints {
        machine.delete_checkpoint(&call, checkpoint).unwrap();
    }
    assert_eq!(machine.checkpoints(&call).unwrap(), []);
    let fresh = world.volume("fresh", DiskFormat::Qcow2);
    let again = Backup::full([to("vda", &fresh)]).remembered_as(named("first"));
    backed_up(&world, &again, &[&fresh]);
    holds_encrypted(&[&fresh], "AFTER-THE-STOP");
    world.always_said(" backup-begin ", &["--reuse-external"]);
    machine.destroy(&call).unwrap();
}

#[test]
fn a_backup_that_is_refused_fails_or_is_given_up_leaves_nothing_and_no_checkpoint() {
    let world = World::new();
    let call = world.call();
    let (a, b) = (world.sized("a", "256M"), world.volume("b", DiskFormat::Raw));
    let image = world.sized("image", "256M");
    fill(&a, 192, "FILLS-THE-DISK");
    world.load(&a);
    world.load(&b);
    world.start(
        &world.domain("vm", [disk("vda", &a.image), disk("vdb", &b.image)]),
        true,
    );
    let machine = world.machine("vm");
    let known = || {
        (
            machine.block_nodes(&call).unwrap(),
            machine.objects(&call).unwrap(),
            machine.block_jobs(&call).unwrap(),
            machine.checkpoints(&call).unwrap(),
        )
    };
    let before = known();
    let refused = |backup: &Backup| {
        let error = machine.back_up(&call, backup).unwrap_err();
        assert_eq!(known(), before, "{error}");
        error
    };

    let plain = Image::plain(image.image.source().clone(), DiskFormat::Qcow2);
    let clear = DiskBackup::new("vda".parse().unwrap(), plain);
    assert!(matches!(
        refused(&Backup::full([clear])),
        LibvirtError::Refused(Refusal::InClear { .. })
    ));
    let raw = Backup::full([to("vdb", &image)]).remembered_as(named("c"));
    assert!(matches!(
        refused(&raw),
        LibvirtError::Refused(Refusal::NoChanges(_))
    ));
    assert!(matches!(
        refused(&Backup::full([])),
        LibvirtError::Refused(Refusal::NoDisks)
    ));
    assert!(matches!(
        refused(&Backup::full([to("vdb", &a)])),
        LibvirtError::Refused(Refusal::InUse(_))
    ));
    let backup = Backup::full([to("vda", &image)]).remembered_as(named("c"));
    assert!(matches!(refused(&backup), LibvirtError::NoSecret { .. }));
    let other = strongroom_secret::Passphrase::generate().unwrap();
    world
        .connection
        .load_secret(&call, &image.secret, &other)
        .unwrap();
    assert!(matches!(refused(&backup), LibvirtError::WrongKey { .. }));
    world.load(&image);
    let small = world.sized("small", "32M");
    world.load(&small);
    let differs = refused(&Backup::full([to("vda", &small)]).remembered_as(named("c")));
    println!("another size: {differs}");
    assert!(
        matches!(
            differs,
            LibvirtError::JobFailed { .. } | LibvirtError::Failed { .. }
        ),
        "{differs:?}"
    );

    let stop = Cancellation::new();
    let seen = stop.clone();
    let watched = Call::new()
        .with_cancellation(stop)
        .with_progress(Arc::new(move |fraction| {
            assert!(fraction < 1.0, "{fraction}");
            seen.cancel();
        }));
    let cancelled = machine.back_up(&watched, &backup);
    match cancelled {
        Err(LibvirtError::Interrupted {
            source: Interrupted::Cancelled,
            ..
        }) => assert_eq!(known(), before),
        other => panic!("it has 192 MiB to write: {other:?}"),
    }
    machine.abandon_backup(&call).unwrap();

    // A copy and a backup of one disk: the second is refused.
    let slow = BlockCopy::new("vda".parse().unwrap(), image.image.clone()).with_rate(1);
    let short = Call::new().with_timeout(Duration::from_secs(1));
    machine.start_copy(&short, &slow).unwrap_err();
    machine.back_up(&call, &backup).unwrap();
    assert_eq!(machine.checkpoints(&call).unwrap(), [named("c")]);
    holds_encrypted(&[&image], "FILLS-THE-DISK");
    machine.destroy(&call).unwrap();
}
