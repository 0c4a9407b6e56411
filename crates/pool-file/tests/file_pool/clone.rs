use std::fs;

use strongroom_endpoint_selector::Declassification;
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{CloneKey, CloneVolume, Disk, ErrorKind, PoolDriver, VolumeContent, VolumeKey};
use strongroom_types::DiskFormat;

use crate::machine::{Machine, attached};
use crate::site::{MIB, guest, named, refused, unnamed, volume};

#[test]
fn a_clone_holds_what_its_source_holds_and_opens_with_its_own_key_alone() {
    let machine = Machine::new();
    let site = machine.site();
    let (own, id) = (Passphrase::generate().unwrap(), "t".parse().unwrap());
    let own = VolumeKey::Encrypted(&own);
    let image = machine.image("image", 2, 1 << 20);
    let overlay = VolumeContent::Overlay(named(&id, &image));
    for (name, format, content, file) in [
        ("a", DiskFormat::Qcow2, unnamed(&image), "clone.luks.qcow2"),
        ("b", DiskFormat::Raw, unnamed(&image), "clone.luks"),
        ("c", DiskFormat::Qcow2, overlay, "clone.luks.qcow2"),
    ] {
        let source = site
            .create_with(name, MIB, format, site.encrypted(), content)
            .unwrap();
        let clone = site.clone(name, site.encrypted(), "clone", own).unwrap();
        assert_eq!(
            (clone.format, clone.encryption, clone.guest, &clone.overlay_of),
            (format, source.encryption, guest(MIB), &None)
        );
        assert_eq!(site.clone(name, site.encrypted(), "clone", own).unwrap(), clone);
        assert!(
            machine.files().contains(&file.to_owned()),
            "{:?}",
            machine.files()
        );
        assert!(machine.holds(&site, "clone", own, &image));
        refused(
            site.grow("clone", 2 * MIB, site.encrypted()),
            ErrorKind::WrongKey,
            &[file],
        );
        let theirs = site.clone(name, site.encrypted(), "clone", site.encrypted());
        refused(theirs, ErrorKind::WrongKey, &[file]);
        assert_eq!(site.get(name).unwrap(), Some(source));
        site.delete("clone").unwrap();
        refused(
            site.clone(name, own, "clone", own),
            ErrorKind::WrongKey,
            &["main"],
        );
        assert_eq!(site.get("clone").unwrap(), None);
    }
}

#[test]
fn a_plain_volume_has_plain_clones_and_none_is_of_itself() {
    let machine = Machine::new();
    let site = machine.site();
    let image = machine.image("image", 2, 1 << 20);
    site.create_with("p", MIB, DiskFormat::Raw, VolumeKey::Plain, unnamed(&image))
        .unwrap();
    site.clone("p", VolumeKey::Plain, "q", VolumeKey::Plain).unwrap();
    assert!(machine.holds(&site, "q", VolumeKey::Plain, &image));
    site.create("s", MIB, DiskFormat::Raw, site.encrypted()).unwrap();
    let words = &["same side of the cipher"];
    refused(
        site.clone("s", site.encrypted(), "x", VolumeKey::Plain),
        ErrorKind::InvalidRequest,
        words,
    );
    refused(
        site.clone("p", VolumeKey::Plain, "x", site.encrypted()),
        ErrorKind::InvalidRequest,
        words,
    );
    refused(
        site.clone("s", VolumeKey::Plain, "x", VolumeKey::Plain),
        ErrorKind::WrongDisk,
        &["volume s is an encrypted"],
    );
    refused(
        site.clone("p", VolumeKey::Plain, "p", VolumeKey::Plain),
        ErrorKind::InvalidRequest,
        &["clone of itself"],
    );
    refused(
        site.clone("none", VolumeKey::Plain, "x", VolumeKey::Plain),
        ErrorKind::NotFound,
        &["no volume none"],
    );
    let (source, clone) = (volume("s"), volume("x"));
    let shared = CloneVolume::new(&source, site.encrypted(), &clone, CloneKey::Shared);
    refused(
        site.pool.clone_volume(&site.cx(), &shared),
        ErrorKind::Unsupported,
        &["key of its own"],
    );
    assert_eq!(machine.files(), ["p.raw", "q.raw", "s.luks"]);
}

#[test]
fn content_comes_from_another_disk_and_becomes_plain_only_when_that_is_said() {
    let machine = Machine::new();
    let site = machine.site();
    let image = machine.image("image", 4, 1 << 20);
    site.create_with("s", MIB, DiskFormat::Qcow2, site.encrypted(), unnamed(&image))
        .unwrap();
    let at = attached(&site, "s");
    let protection = strongroom_endpoint_selector::Protection::Luks {
        format: at.encryption.unwrap(),
        key: &site.key,
    };
    let source = Disk::new(&at.location, at.format, protection);
    let other = Passphrase::generate().unwrap();
    let other = VolumeKey::Encrypted(&other);
    let copy = VolumeContent::Copy(source);
    site.create_with("moved", 2 * MIB, DiskFormat::Raw, other, copy)
        .unwrap();
    refused(
        site.create_with("open", MIB, DiskFormat::Raw, VolumeKey::Plain, copy),
        ErrorKind::InvalidRequest,
        &["declassify"],
    );
    let why = Declassification {
        reason: "the owner asked",
    };
    let meant = VolumeContent::Declassified(source, why);
    refused(
        site.create_with("open", MIB, DiskFormat::Raw, other, meant),
        ErrorKind::InvalidRequest,
        &["copy it"],
    );
    assert_eq!(machine.files(), ["moved.luks", "s.luks.qcow2"]);
    site.create_with("open", MIB, DiskFormat::Raw, VolumeKey::Plain, meant)
        .unwrap();
    assert_eq!(
        fs::read(machine.pool().join("open.raw")).unwrap(),
        fs::read(&image).unwrap()
    );
    site.clone("moved", other, "again", other).unwrap();
}
