use strongroom_libvirt::{Image, LibvirtError, Source};
use strongroom_types::DiskFormat::{Qcow2, Raw};

use crate::world::{Volume, World, disk, run_words};

/// The kind of an error, by its name.
fn kind(error: &LibvirtError) -> String {
    let text = format!("{error:?}");
    text.split([' ', '(']).next().unwrap_or_default().to_owned()
}

/// Disks that cannot be opened as they are described, each with the kind of the error that both start and attach have.
fn wrong_disks(world: &World) -> Vec<(&'static str, Image, &'static str)> {
    let unloaded = world.volume("unloaded", Qcow2);
    let (wrong, wrong_raw) = (world.volume("wrong", Qcow2), world.volume("wrong-raw", Raw));
    let other_key = |volume: &Volume| {
        let key = strongroom_secret::Passphrase::generate().unwrap();
        world
            .connection
            .load_secret(&world.call(), &volume.secret, &key)
            .unwrap();
    };
    other_key(&wrong);
    other_key(&wrong_raw);
    let (good, good_raw) = (world.volume("good", Qcow2), world.volume("good-raw", Raw));
    world.load(&good);
    world.load(&good_raw);
    let key = good.secret.uuid();
    let source = |name: &str| Source::File(world.host().local().join(name));
    for (name, format) in [("plain", "qcow2"), ("blank", "raw")] {
        let file = world.host().outside(source(name).path());
        run_words(
            "qemu-img",
            &["create", "-q", "-f", format, file.to_str().unwrap(), "64M"],
        );
    }
    vec![
        ("no secret", unloaded.image, "NoSecret"),
        ("another key, qcow2", wrong.image, "WrongKey"),
        ("another key, raw", wrong_raw.image, "WrongKey"),
        (
            "encrypted qcow2 as plain",
            Image::plain(source("good"), Qcow2),
            "KeyNeeded",
        ),
        (
            "plain qcow2 as encrypted",
            Image::encrypted(source("plain"), Qcow2, key),
            "NotEncrypted",
        ),
        (
            "blank as raw LUKS",
            Image::encrypted(source("blank"), Raw, key),
            "NotLuks",
        ),
        (
            "qcow2 as raw LUKS",
            Image::encrypted(source("good"), Raw, key),
            "NotLuks",
        ),
        (
            "raw LUKS as plain qcow2",
            Image::plain(source("good-raw"), Qcow2),
            "WrongFormat",
        ),
        (
            "no file",
            Image::encrypted(source("nowhere"), Qcow2, key),
            "NoFile",
        ),
    ]
}

#[test]
fn a_disk_that_is_not_as_described_starts_no_guest_and_attaches_to_none() {
    let world = World::new();
    let call = world.call();
    let wrong = wrong_disks(&world);
    let first = world.volume("first", Qcow2);
    world.load(&first);

    for (what, image, expected) in &wrong {
        let domain = world.domain("vm", [disk("vda", &first.image), disk("vdb", image)]);
        let error = world.connection.start(&call, &domain, true).unwrap_err();
        println!("start, {what}: {error}");
        assert_eq!(kind(&error), *expected, "{what}: {error}");
        assert_eq!(world.connection.machines(&call).unwrap(), [], "{what}");
    }

    world.start(&world.domain("vm", [disk("vda", &first.image)]), true);
    let machine = world.machine("vm");
    let before = (
        machine.block_nodes(&call).unwrap(),
        machine.objects(&call).unwrap(),
    );
    for (what, image, expected) in &wrong {
        let error = machine.attach(&call, &disk("vdb", image)).unwrap_err();
        println!("attach, {what}: {error}");
        assert_eq!(kind(&error), *expected, "{what}: {error}");
        let after = (
            machine.block_nodes(&call).unwrap(),
            machine.objects(&call).unwrap(),
        );
        assert_eq!(after, before, "{what}: nothing is left in QEMU");
        assert_eq!(machine.describe(&call).unwrap().disks.len(), 1, "{what}");
    }
    machine.destroy(&call).unwrap();
}

#[test]
fn a_secret_without_a_value_opens_nothing() {
    let world = World::new();
    let call = world.call();
    let a = world.volume("a", Qcow2);
    let definition = strongroom_libvirt::Document::new(&a.secret.to_element()).unwrap();
    let define = strongroom_libvirt::Virsh::new("secret-define").document("--file", &definition);
    world.connection.run(&call, &define).unwrap();
    let error = world
        .connection
        .start(&call, &world.domain("vm", [disk("vda", &a.image)]), true)
        .unwrap_err();
    assert!(
        matches!(&error, LibvirtError::NoSecret { message, .. } if message.ends_with("does not have a value")),
        "{error:?}"
    );
}

#[test]
fn what_is_used_or_there_already_is_told_apart_and_what_is_not_there_as_well() {
    let world = World::new();
    let call = world.call();
    let (a, b) = (world.volume("a", Qcow2), world.volume("b", Qcow2));
    world.load(&a);
    world.load(&b);
    let machine = world.machine("vm");
    assert!(matches!(machine.state(&call), Err(LibvirtError::NoDomain { .. })));
    assert!(matches!(
        machine.suspend(&call),
        Err(LibvirtError::NoDomain { .. })
    ));
    machine.destroy(&call).unwrap();

    let domain = world.domain("vm", [disk("vda", &a.image)]);
    world.start(&domain, true);
    let again = world.connection.start(&call, &domain, true).unwrap_err();
    assert_eq!(kind(&again), "AlreadyExists", "{again}");
    let taken = machine.attach(&call, &disk("vda", &b.image)).unwrap_err();
    assert_eq!(kind(&taken), "AlreadyExists", "{taken}");
    let second = world
        .connection
        .start(&call, &world.domain("second", [disk("vda", &a.image)]), true)
        .unwrap_err();
    assert_eq!(kind(&second), "Busy", "{second}");

    let live = world.connection.machines(&call).unwrap();
    assert_eq!(live.len(), 1);
    assert!(
        live[0].ours && live[0].name == "vm" && live[0].uuid == machine.uuid(),
        "{live:?}"
    );
    machine.destroy(&call).unwrap();
    world.host().kill_libvirtd().unwrap();
    let unreachable = machine.state(&call).unwrap_err();
    assert_eq!(kind(&unreachable), "Unreachable", "{unreachable}");
}

#[test]
fn a_raw_luks_volume_that_is_called_plain_is_believed() {
    let world = World::new();
    let call = world.call();
    let a = world.volume("a", Raw);
    let plain = Image::plain(a.image.source().clone(), Raw);
    world.start(&world.domain("vm", [disk("vda", &plain)]), true);
    let machine = world.machine("vm");
    let live = machine.describe(&call).unwrap();
    assert_eq!(
        live.disks[0].image.encryption, None,
        "so it is for the caller to read the header first"
    );
    machine.destroy(&call).unwrap();
}
