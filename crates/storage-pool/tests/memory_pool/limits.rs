use std::collections::BTreeSet;

use strongroom_storage_pool::SnapshotAction::{Create, Restore};
use strongroom_storage_pool::{
    Capabilities, ErrorKind, LimitVolume, OpContext, PoolDriver, QosLimits, VolumeKey,
};
use strongroom_types::DiskFormat;

use crate::site::{MIB, Site, pool, refused, volume};

#[test]
fn limits_are_those_of_the_last_request() {
    let site = Site::new(pool());
    let id = volume("v");
    let mut limits = QosLimits::default();
    limits.bytes_per_second = Some(1_000_000);
    let limit = || site.pool.limit(&site.cx(), &LimitVolume::new(&id, limits));
    refused(limit(), ErrorKind::NotFound, &["no volume v"]);
    site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain).unwrap();
    for _ in 0..2 {
        limit().unwrap();
        assert_eq!(site.pool.limits(&id), limits);
    }
}

#[test]
fn storage_that_was_prepared_for_another_pool_is_refused_and_a_restart_finds_the_volumes() {
    let site = Site::new(pool());
    site.pool.prepare(&site.cx()).unwrap();
    site.pool.prepare(&site.cx()).unwrap();
    let made = site.create("v", MIB, DiskFormat::Raw, site.encrypted()).unwrap();
    let again = site.pool.reopened("gold".parse().unwrap());
    let cx: OpContext<'_> = site.cx();
    assert_eq!(again.get(&cx, &volume("v")).unwrap(), Some(made));
    let other = site.pool.reopened("silver".parse().unwrap());
    for refusal in [other.prepare(&cx), other.delete(&cx, &volume("v"))] {
        refused(refusal, ErrorKind::AlreadyExists, &["gold", "silver"]);
    }
    assert_eq!(site.pool.volumes(), [volume("v")]);
}

#[test]
fn snapshots_follow_the_capabilities() {
    let mut capabilities = pool().capabilities();
    capabilities.snapshot_online = BTreeSet::from([DiskFormat::Qcow2]);
    let site = Site::new(pool().with_capabilities(capabilities.clone()));
    let host = "node-1".parse().unwrap();
    site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    site.pool.attach(&site.cx(), &volume("v"), &host).unwrap();
    site.snapshot("v", "s", Create).unwrap();
    refused(site.snapshot("v", "s", Restore), ErrorKind::Busy, &["node-1"]);
    site.pool.detach(&site.cx(), &volume("v"), &host).unwrap();
    site.snapshot("v", "s", Restore).unwrap();

    capabilities.revert = false;
    let site = Site::new(pool().with_capabilities(capabilities));
    site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    site.snapshot("v", "s", Create).unwrap();
    let restore = site.snapshot("v", "s", Restore);
    refused(restore, ErrorKind::Unsupported, &["brings no volume back"]);

    let site = Site::new(pool().with_capabilities(Capabilities::none()));
    site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain).unwrap();
    let taken = site.snapshot_with("v", "s", Create, VolumeKey::Plain);
    refused(taken, ErrorKind::Unsupported, &["raw"]);
}
