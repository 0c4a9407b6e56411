use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;
use std::thread;

use strongroom_secret::Passphrase;
use strongroom_storage_pool::SnapshotAction::{Create, Delete, Restore};
use strongroom_storage_pool::{ErrorKind, PoolDriver, VolumeKey};
use strongroom_types::DiskFormat;

use crate::machine::Machine;
use crate::site::{MIB, guest, refused, unnamed, volume};

#[test]
fn every_kind_of_volume_is_made_proved_grown_and_removed() {
    let machine = Machine::new();
    let site = machine.site();
    for (name, format, key, file) in [
        ("a", DiskFormat::Qcow2, site.encrypted(), "a.luks.qcow2"),
        ("b", DiskFormat::Raw, site.encrypted(), "b.luks"),
        ("c", DiskFormat::Qcow2, VolumeKey::Plain, "c.qcow2"),
        ("d", DiskFormat::Raw, VolumeKey::Plain, "d.raw"),
    ] {
        let made = site.create(name, MIB + 512, format, key).unwrap();
        assert_eq!(made.guest, guest(MIB + 512), "{file}");
        assert_eq!(machine.files(), [file]);
        assert_eq!(
            site.create(name, MIB + 512, format, key).unwrap(),
            made,
            "the same request again"
        );
        assert_eq!(site.get(name).unwrap(), Some(made));
        let grown = site.grow(name, 3 * MIB + 512, key).unwrap();
        assert_eq!(grown.guest, guest(3 * MIB + 512), "{file}");
        let path = machine.pool().join(file);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let begins = fs::read(&path).unwrap();
        let magic: &[u8] = match (format, grown.encryption) {
            (DiskFormat::Qcow2, _) => b"QFI\xfb",
            (DiskFormat::Raw, Some(_)) => b"LUKS\xba\xbe\x00\x01",
            (DiskFormat::Raw, None) => &[0; 8],
        };
        assert!(begins.starts_with(magic), "{file}");
        refused(site.grow(name, MIB, key), ErrorKind::InvalidRequest, &[file]);
        site.delete(name).unwrap();
        site.delete(name).unwrap();
        assert_eq!(site.get(name).unwrap(), None);
        assert!(machine.files().is_empty(), "{:?}", machine.files());
    }
}

#[test]
fn another_key_opens_nothing_and_changes_nothing() {
    let machine = Machine::new();
    let site = machine.site();
    let stranger = Passphrase::generate().unwrap();
    for (format, file) in [(DiskFormat::Qcow2, "v.luks.qcow2"), (DiskFormat::Raw, "v.luks")] {
        site.create("v", MIB, format, site.encrypted()).unwrap();
        let before = fs::read(machine.pool().join(file)).unwrap();
        let key = VolumeKey::Encrypted(&stranger);
        refused(site.create("v", MIB, format, key), ErrorKind::WrongKey, &["main"]);
        refused(site.grow("v", 2 * MIB, key), ErrorKind::WrongKey, &["main"]);
        refused(
            site.grow("v", 2 * MIB, VolumeKey::Plain),
            ErrorKind::WrongDisk,
            &["volume v"],
        );
        refused(
            site.create("v", MIB, format, VolumeKey::Plain),
            ErrorKind::AlreadyExists,
            &["volume v"],
        );
        assert_eq!(fs::read(machine.pool().join(file)).unwrap(), before);
        site.delete("v").unwrap();
    }
}

#[test]
fn a_volume_from_a_template_holds_it_and_a_snapshot_brings_it_back() {
    let machine = Machine::new();
    let site = machine.site();
    let (one, two) = (
        machine.image("one", 0x11, 1 << 20),
        machine.image("two", 0x77, 1 << 20),
    );
    let content = unnamed(&one);
    let (key, file) = (site.encrypted(), "v.luks.qcow2");
    site.create_with("v", 2 * MIB, DiskFormat::Qcow2, site.encrypted(), content)
        .unwrap();
    assert!(machine.holds(&site, "v", key, &one));
    let taken = site.snapshot("v", Create, site.encrypted()).unwrap();
    assert_eq!(taken.snapshots, ["s".parse().unwrap()]);
    machine.write(&site, "v", key, &two);
    site.grow("v", 4 * MIB, site.encrypted()).unwrap();
    let restored = site.snapshot("v", Restore, site.encrypted()).unwrap();
    assert_eq!(
        (restored.guest, &restored.snapshots),
        (guest(2 * MIB), &taken.snapshots)
    );
    assert!(machine.holds(&site, "v", key, &one));
    for _ in 0..2 {
        assert_eq!(
            site.snapshot("v", Delete, site.encrypted()).unwrap().snapshots,
            []
        );
    }
    let raw = fs::read(machine.pool().join(file)).unwrap();
    let plain = fs::read(&one).unwrap();
    assert!(
        !raw.windows(512).any(|w| w == &plain[..512]),
        "content of the template lies open"
    );

    site.create_with("p", 2 * MIB, DiskFormat::Raw, VolumeKey::Plain, content)
        .unwrap();
    assert!(machine.holds(&site, "p", VolumeKey::Plain, &one));
}

#[test]
fn a_template_larger_than_the_volume_makes_none() {
    let machine = Machine::new();
    let site = machine.site();
    let large = machine.image("large", 1, 2 << 20);
    let content = unnamed(&large);
    let refusal = site.create_with("v", MIB, DiskFormat::Raw, site.encrypted(), content);
    refused(refusal, ErrorKind::InvalidRequest, &["main", "large"]);
    assert!(machine.files().is_empty());
}

#[test]
fn a_strangers_file_is_neither_opened_nor_overwritten() {
    let machine = Machine::new();
    let site = machine.site();
    let squatter = machine.pool().join("squatter.luks");
    fs::write(&squatter, vec![7; 1 << 20]).unwrap();
    let refusal = site.create("squatter", MIB, DiskFormat::Raw, site.encrypted());
    refused(refusal, ErrorKind::AlreadyExists, &["squatter.luks"]);
    refused(site.get("squatter"), ErrorKind::WrongDisk, &["squatter.luks"]);
    refused(
        site.grow("squatter", 2 * MIB, site.encrypted()),
        ErrorKind::WrongDisk,
        &["squatter.luks"],
    );
    assert_eq!(fs::read(&squatter).unwrap(), vec![7; 1 << 20]);
}

#[test]
fn two_calls_at_once_for_the_same_volume_both_get_it() {
    let machine = Machine::new();
    let site = machine.site();
    let start = Barrier::new(2);
    for (name, format) in [("a", DiskFormat::Qcow2), ("b", DiskFormat::Raw)] {
        let create = || {
            start.wait();
            site.create(name, MIB, format, site.encrypted())
        };
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(create);
            (create(), other.join().unwrap())
        });
        assert_eq!(one.unwrap().id, other.unwrap().id);
    }
    assert_eq!(machine.files(), ["a.luks.qcow2", "b.luks"]);
}

#[test]
fn a_symlink_under_the_name_of_a_volume_leads_nowhere() {
    let machine = Machine::new();
    let site = machine.site();
    let outside = machine.path("outside");
    fs::write(&outside, vec![0; 1 << 20]).unwrap();
    std::os::unix::fs::symlink(&outside, machine.pool().join("v.raw")).unwrap();
    let words = &["v.raw", "symlink"];
    refused(site.get("v"), ErrorKind::WrongDisk, words);
    refused(
        site.grow("v", 2 * MIB, VolumeKey::Plain),
        ErrorKind::WrongDisk,
        words,
    );
    let here = "here".parse().unwrap();
    let attached = site.pool.attach(&site.cx(), &volume("v"), &here);
    refused(attached, ErrorKind::WrongDisk, words);
    let made = site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain);
    refused(made, ErrorKind::AlreadyExists, words);
    refused(site.delete("v"), ErrorKind::WrongDisk, &["v.raw"]);
    assert_eq!(fs::read(&outside).unwrap(), vec![0; 1 << 20]);
}

#[test]
fn recovery_removes_unfinished_work_and_keeps_volumes() {
    let machine = Machine::new();
    let site = machine.site();
    site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain).unwrap();
    let unfinished = machine.pool().join(".strongroom-staging-0");
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("w.raw"), "half").unwrap();
    site.pool.recover(&site.cx()).unwrap();
    assert_eq!(machine.files(), ["v.raw"]);
}
