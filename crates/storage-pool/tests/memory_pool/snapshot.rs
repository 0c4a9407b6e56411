use std::path::Path;

use strongroom_secret::Passphrase;
use strongroom_storage_pool::SnapshotAction::{Create, Delete, Restore};
use strongroom_storage_pool::{ErrorKind, PoolDriver, VolumeKey};
use strongroom_types::DiskFormat;

use crate::site::{MIB, Site, guest, pool, refused, volume};

fn with_a_volume() -> Site {
    let site = Site::new(pool());
    site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    site
}

#[test]
fn taking_one_that_is_there_and_removing_one_that_is_not_change_nothing() {
    let site = with_a_volume();
    let before = site.snapshot("v", "gone", Delete).unwrap();
    assert_eq!(before.snapshots, []);
    site.pool.write(&volume("v"), "first");
    let taken = site.snapshot("v", "s", Create).unwrap();
    assert_eq!(taken.snapshots, ["s".parse().unwrap()]);
    site.pool.write(&volume("v"), "second");
    assert_eq!(site.snapshot("v", "s", Create).unwrap(), taken);
    site.snapshot("v", "s", Restore).unwrap();
    assert_eq!(
        site.pool.content(&volume("v")).as_deref(),
        Some(Path::new("first"))
    );
    assert_eq!(site.snapshot("v", "s", Delete).unwrap(), before);
}

#[test]
fn a_restored_volume_has_the_content_and_size_of_then_and_opens_with_its_key() {
    let site = with_a_volume();
    site.pool.write(&volume("v"), "first");
    site.snapshot("v", "s", Create).unwrap();
    site.grow("v", 3 * MIB, site.encrypted()).unwrap();
    site.pool.write(&volume("v"), "second");
    let restored = site.snapshot("v", "s", Restore).unwrap();
    assert_eq!(restored.guest, guest(MIB));
    assert_eq!(restored.snapshots, ["s".parse().unwrap()], "the snapshot stays");
    assert_eq!(
        site.pool.content(&volume("v")).as_deref(),
        Some(Path::new("first"))
    );
    assert_eq!(
        site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
            .unwrap(),
        restored
    );
    let stranger = Passphrase::generate().unwrap();
    refused(
        site.grow("v", 2 * MIB, VolumeKey::Encrypted(&stranger)),
        ErrorKind::WrongKey,
        &[],
    );
}

#[test]
fn what_is_not_there_cannot_be_restored() {
    let site = with_a_volume();
    refused(
        site.snapshot("v", "s", Restore),
        ErrorKind::NotFound,
        &["volume v has no snapshot s"],
    );
    refused(
        site.snapshot("nowhere", "s", Delete),
        ErrorKind::NotFound,
        &["nowhere"],
    );
}

#[test]
fn a_format_without_snapshots_is_refused() {
    let site = Site::new(pool());
    site.create("v", MIB, DiskFormat::Raw, site.encrypted()).unwrap();
    refused(
        site.snapshot("v", "s", Create),
        ErrorKind::Unsupported,
        &["gold keeps no snapshots of raw"],
    );
}

#[test]
fn another_key_or_none_touches_no_snapshot() {
    let site = with_a_volume();
    let before = site.snapshot("v", "s", Create).unwrap();
    let stranger = Passphrase::generate().unwrap();
    for action in [Create, Restore, Delete] {
        let key = VolumeKey::Encrypted(&stranger);
        refused(
            site.snapshot_with("v", "s", action, key),
            ErrorKind::WrongKey,
            &["volume v"],
        );
        refused(
            site.snapshot_with("v", "s", action, VolumeKey::Plain),
            ErrorKind::WrongDisk,
            &["volume v"],
        );
    }
    assert_eq!(site.get("v"), Some(before));
}

#[test]
fn a_volume_that_is_attached_is_busy() {
    let site = with_a_volume();
    let host = "node-1".parse().unwrap();
    site.pool.attach(&site.cx(), &volume("v"), &host).unwrap();
    refused(
        site.snapshot("v", "s", Create),
        ErrorKind::Busy,
        &["node-1", "detach"],
    );
    site.pool.detach(&site.cx(), &volume("v"), &host).unwrap();
    site.snapshot("v", "s", Create).unwrap();
}
