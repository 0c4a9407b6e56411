use std::path::Path;

use strongroom_lab::find_in;
use strongroom_libvirt::{Document, LibvirtError, SecretName, Virsh};
use strongroom_secret::Passphrase;
use strongroom_types::DiskFormat;

use crate::world::{World, disk};

fn name(volume: &str, passphrase: &str) -> SecretName {
    SecretName::new(&volume.parse().unwrap(), &passphrase.parse().unwrap())
}

/// A secret that somebody else defines.
fn foreign(world: &World, uuid: &str, usage: &str) {
    let xml = format!(
        "<secret ephemeral='yes'><uuid>{uuid}</uuid><usage type='volume'><volume>{usage}</volume></usage></secret>"
    );
    let document = Document::from_xml(&xml).unwrap();
    world
        .connection
        .run(
            &world.call(),
            &Virsh::new("secret-define").document("--file", &document),
        )
        .unwrap();
}

#[test]
fn a_key_is_ephemeral_and_private_and_goes_when_it_is_unloaded() {
    let world = World::new();
    let call = world.call();
    let key = Passphrase::generate().unwrap();
    let secret = name("vol-1", "pp-1");
    let ask = |action| {
        let ask = Virsh::new(action).option("--secret", secret.uuid().to_string());
        world.connection.run(&call, &ask)
    };

    world.connection.unload_secret(&call, &secret).unwrap();
    world.connection.load_secret(&call, &secret, &key).unwrap();
    assert_eq!(
        world.connection.secrets(&call).unwrap(),
        std::slice::from_ref(&secret)
    );
    let definition = ask("secret-dumpxml").unwrap();
    assert!(
        definition.contains("<secret ephemeral='yes' private='yes'>"),
        "{definition}"
    );
    let refused = ask("secret-get-value").unwrap_err();
    assert!(
        matches!(&refused, LibvirtError::Failed { message, .. } if message.ends_with("secret is private")),
        "{refused:?}"
    );
    let directory = world.host().outside(Path::new("/etc/libvirt/secrets"));
    assert_eq!(directory.read_dir().map_or(0, Iterator::count), 0);

    world.connection.unload_secret(&call, &secret).unwrap();
    assert_eq!(world.connection.secrets(&call).unwrap(), []);
    assert!(matches!(
        ask("secret-dumpxml"),
        Err(LibvirtError::NoSecret { .. })
    ));
}

#[test]
fn other_peoples_secrets_are_neither_listed_nor_removed_nor_replaced() {
    let world = World::new();
    let call = world.call();
    let key = Passphrase::generate().unwrap();
    let (kept, left, taken) = (name("kept", "p"), name("left", "p"), name("taken", "p"));
    foreign(&world, "11111111-1111-4111-8111-111111111111", "somebody-else");
    foreign(&world, "22222222-2222-4222-8222-222222222222", &taken.usage());
    for secret in [&kept, &left] {
        world.connection.load_secret(&call, secret, &key).unwrap();
    }
    let refused = world.connection.load_secret(&call, &taken, &key).unwrap_err();
    assert!(
        matches!(refused, LibvirtError::AlreadyExists { .. }),
        "{refused:?}"
    );

    assert_eq!(
        world.connection.secrets(&call).unwrap(),
        [kept.clone(), left.clone()]
    );
    let removed = world
        .connection
        .reconcile_secrets(&call, std::slice::from_ref(&kept))
        .unwrap();
    assert_eq!(removed, [left]);
    assert_eq!(world.connection.secrets(&call).unwrap(), [kept]);
    let all = world.connection.run(&call, &Virsh::new("secret-list")).unwrap();
    assert!(
        all.contains("somebody-else") && all.contains("22222222-"),
        "{all}"
    );
}

#[test]
fn a_restarted_libvirtd_has_forgotten_the_keys_and_takes_them_again_while_the_guest_goes_on() {
    let world = World::new();
    let call = world.call();
    let (a, b) = (
        world.volume("a", DiskFormat::Qcow2),
        world.volume("b", DiskFormat::Qcow2),
    );
    world.load(&a);
    world.load(&b);
    world.start(&world.domain("vm", [disk("vda", &a.image)]), true);

    world.host().restart_libvirtd().unwrap();
    assert_eq!(world.connection.secrets(&call).unwrap(), []);
    let machine = world.machine("vm");
    assert!(matches!(
        machine.attach(&call, &disk("vdb", &b.image)),
        Err(LibvirtError::NoSecret { .. })
    ));
    world.load(&b);
    machine.attach(&call, &disk("vdb", &b.image)).unwrap();
    assert_eq!(machine.describe(&call).unwrap().disks.len(), 2);
    machine.destroy(&call).unwrap();
}

#[test]
fn loading_again_gives_the_new_value() {
    let world = World::new();
    let call = world.call();
    let a = world.volume("a", DiskFormat::Qcow2);
    let domain = world.domain("vm", [disk("vda", &a.image)]);
    let wrong = Passphrase::generate().unwrap();
    world.connection.load_secret(&call, &a.secret, &wrong).unwrap();
    assert!(matches!(
        world.connection.start(&call, &domain, true),
        Err(LibvirtError::WrongKey { .. })
    ));
    world.load(&a);
    world.start(&domain, true);
    world.machine("vm").destroy(&call).unwrap();
}

#[test]
fn the_passphrase_is_in_no_command_line_log_file_or_error() {
    let world = World::new();
    let call = world.call();
    let (a, b) = (
        world.volume("a", DiskFormat::Qcow2),
        world.volume("b", DiskFormat::Raw),
    );
    for volume in [&a, &b] {
        world.load(volume);
    }
    world.start(&world.domain("vm", [disk("vda", &a.image)]), true);
    world.machine("vm").attach(&call, &disk("vdb", &b.image)).unwrap();
    let wrong = Passphrase::generate().unwrap();
    world.connection.load_secret(&call, &a.secret, &wrong).unwrap();
    let error = world
        .connection
        .start(&call, &world.domain("other", [disk("vda", &a.image)]), true)
        .unwrap_err();
    let said = format!(
        "{error} {error:?} {:?} {}",
        world.connection,
        world.runner.lines().join("\n")
    );
    assert!(said.contains("secret-set-value"), "{said}");

    let qemu = format!("/proc/{}", world.host().qemu_pid("vm").unwrap());
    let files = [
        "/etc/libvirt",
        "/var/log/libvirt",
        "/var/lib/libvirt",
        "/run/libvirt",
    ];
    let mut places: Vec<_> = files
        .iter()
        .map(|place| world.host().outside(Path::new(place)))
        .collect();
    places.extend(["cmdline", "environ"].map(|file| Path::new(&qemu).join(file)));
    places.push(world.host().outside(world.host().local()));
    for key in [&a.key, &b.key, &wrong] {
        let text = std::str::from_utf8(key.expose_secret()).unwrap();
        assert!(!said.contains(text));
        assert_eq!(find_in(&places, text).unwrap(), []);
    }

    let control = world.host().outside(Path::new("/etc/libvirt")).join("control");
    std::fs::write(control, a.key.expose_secret()).unwrap();
    assert_eq!(
        find_in(&places, a.key.expose_secret()).unwrap().len(),
        1,
        "the search finds a key that is there"
    );
}
