use std::time::Duration;

use strongroom_lab::{LoopDevice, find_in};
use strongroom_libvirt::{BlockCopy, DiskWork, Image, LibvirtError, MachineState, Refusal, Source};
use strongroom_types::{Call, Cancellation, DiskFormat, Interrupted};

use crate::content::{fill, holds_encrypted, lacks};
use crate::snapshots::{live, overlay};
use crate::world::{Volume, World, disk, run_words};
use crate::writer::{CANARY, Writer};

fn copy(target: &str, to: &Image) -> BlockCopy {
    BlockCopy::new(target.parse().unwrap(), to.clone())
}

/// A plain qcow2 of 64 MiB.
fn plain(world: &World, name: &str, size: &str) -> Image {
    let inside = world.host().local().join(name);
    let file = world.host().outside(&inside);
    run_words(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", file.to_str().unwrap(), size],
    );
    Image::plain(Source::File(inside), DiskFormat::Qcow2)
}

fn on_device(volume: &mut Volume) -> LoopDevice {
    let device = LoopDevice::on(&volume.file).unwrap();
    let source = Source::Block(device.path().to_owned());
    volume.image = Image::encrypted(source, volume.image.format(), volume.secret.uuid());
    device
}

#[test]
fn a_disk_moves_from_clear_to_encrypted_to_another_key_to_a_block_device_while_the_guest_writes() {
    let world = World::new();
    let call = world.call();
    let old = plain(&world, "plain", "64M");
    let (a, b) = (
        world.volume("a", DiskFormat::Qcow2),
        world.volume("b", DiskFormat::Qcow2),
    );
    let mut c = world.volume("c", DiskFormat::Raw);
    let device = on_device(&mut c);
    world.start(&world.domain("vm", [disk("vda", &old)]), false);
    let machine = world.machine("vm");
    let mut guest = world.console("vm");
    guest.write_canary("vda", 10, "WHILE-IN-CLEAR").unwrap();
    let old_file = world.host().outside(old.source().path());
    assert_ne!(find_in([&old_file], "WHILE-IN-CLEAR").unwrap(), []);

    let writer = Writer::start(&mut guest, "vda");
    for (number, to) in [&a, &b, &c].into_iter().enumerate() {
        let copy = copy("vda", &to.image);
        world.load(to);
        machine.start_copy(&call, &copy).unwrap();
        world.unload(to);
        writer.goes_on(&mut guest);
        let job = machine.disk_job(&call, &copy.target).unwrap().unwrap();
        assert_eq!(job.work, DiskWork::Copy);
        let early = live(&machine, "vda");
        assert_ne!(early.image.source.as_ref(), Some(to.image.source()));
        machine.finish_copy(&call, &copy).unwrap();
        let now = live(&machine, "vda");
        assert_eq!(now.image.source.as_ref(), Some(to.image.source()));
        let again = machine.finish_copy(&call, &copy).unwrap_err();
        assert!(matches!(again, LibvirtError::WrongNode { .. }), "{again:?}");
        guest
            .write_canary("vda", 11, &format!("AFTER-COPY-{number}"))
            .unwrap();
        holds_encrypted(&[to], "WHILE-IN-CLEAR");
        holds_encrypted(&[to], CANARY);
        holds_encrypted(&[to], &format!("AFTER-COPY-{number}"));
    }
    // What was there before is not written any more.
    lacks(&[&a], "AFTER-COPY-1");
    lacks(&[&b], "AFTER-COPY-2");
    assert_eq!(find_in([&old_file], "AFTER-COPY").unwrap(), []);
    let header = std::fs::read(device.path()).unwrap();
    assert!(header.starts_with(b"LUKS\xba\xbe\0\x01"));
    writer.finish(&mut guest);

    // Else libvirt formats what it copies to.
    world.always_said(" blockcopy ", &["--reuse-external", "--transient-job"]);
    let back = machine.start_copy(&call, &copy("vda", &old)).unwrap_err();
    assert!(
        matches!(back, LibvirtError::Refused(Refusal::InClear { .. })),
        "{back:?}"
    );
    machine.destroy(&call).unwrap();
}

#[test]
fn a_copy_that_fails_or_is_given_up_leaves_the_guest_where_it_was_and_nothing_at_work() {
    let world = World::new();
    let call = world.call();
    let a = world.volume("a", DiskFormat::Qcow2);
    let (b, over) = (world.volume("b", DiskFormat::Qcow2), world.overlay("over", &a));
    fill(&a, 12, "FILLS-THE-DISK");
    world.load(&a);
    world.start(&world.domain("vm", [disk("vda", &a.image)]), false);
    let machine = world.machine("vm");
    let target = "vda".parse().unwrap();
    let mut guest = world.console("vm");
    let writer = Writer::start(&mut guest, "vda");
    let known = || {
        (
            machine.describe(&call).unwrap().disks,
            machine.block_nodes(&call).unwrap(),
            machine.objects(&call).unwrap(),
            machine.block_jobs(&call).unwrap(),
        )
    };
    let before = known();

    let unloaded = machine.start_copy(&call, &copy("vda", &b.image)).unwrap_err();
    assert!(matches!(unloaded, LibvirtError::NoSecret { .. }), "{unloaded:?}");
    assert_eq!(known(), before);
    let wrong = strongroom_secret::Passphrase::generate().unwrap();
    world.connection.load_secret(&call, &b.secret, &wrong).unwrap();
    let wrong = machine.start_copy(&call, &copy("vda", &b.image)).unwrap_err();
    assert!(matches!(wrong, LibvirtError::WrongKey { .. }), "{wrong:?}");
    assert_eq!(known(), before);
    let itself = machine.start_copy(&call, &copy("vda", &a.image)).unwrap_err();
    assert!(
        matches!(itself, LibvirtError::Refused(Refusal::InUse(_))),
        "{itself:?}"
    );
    world.load(&b);
    for size in ["32M", "96M"] {
        run_qemu_resize(&b, size);
        let differs = machine.start_copy(&call, &copy("vda", &b.image)).unwrap_err();
        println!("{size}: {differs}");
        assert!(matches!(differs, LibvirtError::JobFailed { .. }), "{differs:?}");
        assert_eq!(known(), before);
    }
    run_qemu_resize(&b, "64M");

    // Slow enough that it would take minutes.
    let slow = copy("vda", &b.image).with_rate(100_000);
    let short = Call::new().with_timeout(Duration::from_secs(3));
    let late = machine.start_copy(&short, &slow).unwrap_err();
    assert!(
        matches!(
            late,
            LibvirtError::Interrupted {
                source: Interrupted::Deadline,
                ..
            }
        ),
        "{late:?}"
    );
    assert_eq!(known(), before);

    let stop = Cancellation::new();
    let seen = stop.clone();
    let watched = Call::new()
        .with_cancellation(stop)
        .with_progress(std::sync::Arc::new(move |fraction| {
            if fraction > 0.0 {
                assert!(fraction < 1.0, "{fraction}");
                seen.cancel();
            }
        }));
    let cancelled = machine.start_copy(&watched, &slow).unwrap_err();
    assert!(
        matches!(
            cancelled,
            LibvirtError::Interrupted {
                source: Interrupted::Cancelled,
                ..
            }
        ),
        "{cancelled:?}"
    );
    assert_eq!(known(), before);

    // One operation at a time.
    world.load(&over);
    let begun = machine.command("blockcopy").option("--path", "vda");
    let described = disk("vda", &b.image).to_element().unwrap();
    let document = strongroom_libvirt::Document::new(&described).unwrap();
    let begun = begun
        .document("--xml", &document)
        .word("--transient-job")
        .word("--reuse-external")
        .option("--bandwidth", "100000")
        .word("--bytes");
    world.connection.run(&call, &begun).unwrap();
    let second = [
        machine.start_copy(&call, &slow),
        machine.grow_disk(&call, &target, 96 << 20),
        machine.snapshot_disks(&call, &[overlay("vda", &over)], false),
        machine.merge_overlay(&call, &target).map(drop),
        machine.flatten_disk(&call, &target).map(drop),
        machine.change_key(&call, &target, &a.key, &b.key),
        // What libvirt says when nobody has looked before.
        world.connection.run(&call, &begun).map(drop),
    ];
    for (number, second) in second.into_iter().enumerate() {
        let second = second.unwrap_err();
        assert!(
            matches!(second, LibvirtError::Busy { .. }),
            "{number}: {second:?}"
        );
    }

    // libvirt dies in the middle, and comes back.
    world.host().kill_libvirtd().unwrap();
    writer.goes_on(&mut guest);
    let gone = machine.abandon_disk_job(&call, &target).unwrap_err();
    assert!(matches!(gone, LibvirtError::Unreachable { .. }), "{gone:?}");
    world.host().start_libvirtd().unwrap();
    let job = machine.disk_job(&call, &target).unwrap().unwrap();
    assert_eq!(job.work, DiskWork::Copy);
    machine.abandon_disk_job(&call, &target).unwrap();
    machine.abandon_disk_job(&call, &target).unwrap();
    assert_eq!(known(), before);
    assert_eq!(machine.state(&call).unwrap(), MachineState::Running);
    world.load(&b);
    machine.start_copy(&call, &copy("vda", &b.image)).unwrap();
    machine.finish_copy(&call, &copy("vda", &b.image)).unwrap();
    writer.finish(&mut guest);
    holds_encrypted(&[&b], "FILLS-THE-DISK");
    machine.destroy(&call).unwrap();
}

fn run_qemu_resize(volume: &Volume, size: &str) {
    let key = strongroom_secret::SecretFile::new(&volume.key).unwrap();
    let program = strongroom_exec::Program::find("qemu-img").unwrap();
    let mut resize = strongroom_exec::CommandSpec::new(program).args(["resize", "-q", "--shrink"]);
    let path = key.path_in_child(|descriptor| resize.pass(descriptor));
    let options = format!(
        "driver=qcow2,encrypt.key-secret=s,file.filename={}",
        volume.file.display()
    );
    crate::world::run(&resize.args([
        "--object".to_owned(),
        format!("secret,id=s,file={}", path.display()),
        "--image-opts".to_owned(),
        options,
        size.to_owned(),
    ]));
}
