use std::thread;
use std::time::Duration;

use strongroom_storage_pool::SnapshotAction::Create;
use strongroom_storage_pool::{DiskLocation, ErrorKind, PoolDriver, PoolError, VolumeKey};
use strongroom_types::{Call, DiskFormat, EncryptionFormat};

use crate::site::{MIB, Site, pool, refused, volume};

#[test]
fn a_deleted_volume_is_gone_with_its_snapshots() {
    let site = Site::new(pool());
    let first = site
        .create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    site.snapshot("v", "s", Create).unwrap();
    site.pool.delete(&site.cx(), &volume("v")).unwrap();
    assert_eq!(site.get("v"), None);
    assert_eq!(
        site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
            .unwrap(),
        first
    );
}

#[test]
fn deleting_what_is_not_there_is_fine() {
    let site = Site::new(pool());
    site.pool.delete(&site.cx(), &volume("v")).unwrap();
}

#[test]
fn attaching_again_gives_the_same_answer() {
    let site = Site::new(pool());
    site.create("v", MIB, DiskFormat::Raw, site.encrypted()).unwrap();
    let (one, two) = ("node-1".parse().unwrap(), "node-2".parse().unwrap());
    let first = site.pool.attach(&site.cx(), &volume("v"), &one).unwrap();
    assert_eq!(
        (first.format, first.encryption),
        (DiskFormat::Raw, Some(EncryptionFormat::Luks1))
    );
    assert_eq!(first.location, DiskLocation::File("/memory/gold/v".into()));
    assert_eq!(site.pool.attach(&site.cx(), &volume("v"), &one).unwrap(), first);
    site.pool.attach(&site.cx(), &volume("v"), &two).unwrap();
    assert_eq!(
        site.pool.attached(&volume("v")).into_iter().collect::<Vec<_>>(),
        [one.clone(), two.clone()]
    );
    site.pool.detach(&site.cx(), &volume("v"), &one).unwrap();
    assert_eq!(
        site.pool.attached(&volume("v")).into_iter().collect::<Vec<_>>(),
        [two]
    );
}

#[test]
fn a_volume_that_is_not_there_and_a_host_that_cannot_reach_it_are_not_attached() {
    let site = Site::new(pool());
    let host = "node-1".parse().unwrap();
    let attach = || site.pool.attach(&site.cx(), &volume("v"), &host);
    refused(attach(), ErrorKind::NotFound, &["gold has no volume v"]);
    site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain).unwrap();
    site.pool.cut_off(host.clone());
    refused(
        attach(),
        ErrorKind::Unsupported,
        &["node-1 does not reach pool gold"],
    );
    assert!(site.pool.attached(&volume("v")).is_empty());
}

#[test]
fn detaching_what_is_not_attached_or_not_there_is_fine() {
    let site = Site::new(pool());
    let host = "node-1".parse().unwrap();
    site.pool.detach(&site.cx(), &volume("v"), &host).unwrap();
    site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain).unwrap();
    site.pool.detach(&site.cx(), &volume("v"), &host).unwrap();
}

#[test]
fn an_interrupted_call_does_nothing() {
    let mut site = Site::new(pool());
    site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    let cancelled = Call::new();
    cancelled.cancellation().cancel();
    for (call, kind) in [
        (cancelled, ErrorKind::Cancelled),
        (Call::new().with_timeout(Duration::ZERO), ErrorKind::Deadline),
    ] {
        site.call = call;
        let host = "node-1".parse().unwrap();
        let errors: [PoolError; 8] = [
            site.create("w", MIB, DiskFormat::Qcow2, site.encrypted())
                .unwrap_err(),
            site.grow("v", 2 * MIB, site.encrypted()).unwrap_err(),
            site.snapshot("v", "s", Create).unwrap_err(),
            site.pool.delete(&site.cx(), &volume("v")).unwrap_err(),
            site.pool.get(&site.cx(), &volume("v")).unwrap_err(),
            site.pool.attach(&site.cx(), &volume("v"), &host).unwrap_err(),
            site.pool.usage(&site.cx()).unwrap_err(),
            site.pool.recover(&site.cx()).unwrap_err(),
        ];
        assert_eq!(errors.each_ref().map(PoolError::kind), [kind; 8]);
        site.call = Call::new();
        assert_eq!(site.get("w"), None);
        let there = site.get("v").unwrap();
        assert_eq!((there.guest.get(), there.snapshots.len()), (MIB, 0));
        assert!(site.pool.attached(&volume("v")).is_empty());
    }
}

#[test]
fn different_volumes_are_made_from_several_threads_at_once() {
    let site = Site::new(pool());
    thread::scope(|scope| {
        for number in 0..8 {
            let site = &site;
            scope.spawn(move || {
                let name = format!("v-{number}");
                site.create(&name, MIB, DiskFormat::Qcow2, site.encrypted())
                    .unwrap();
                site.grow(&name, 2 * MIB, site.encrypted()).unwrap();
            });
        }
    });
    assert_eq!(site.pool.volumes().len(), 8);
}
