use std::error::Error;

use strongroom_secret::Passphrase;
use strongroom_storage_pool::SnapshotAction::{Create, Restore};
use strongroom_storage_pool::fake::Moment;
use strongroom_storage_pool::{ErrorKind, PoolDriver, PoolError, VolumeKey};
use strongroom_types::ByteSize;
use strongroom_types::DiskFormat;

use crate::site::{MIB, Site, pool, refused, volume};

fn broken(operation: &'static str) -> PoolError {
    PoolError::new(ErrorKind::Io, operation, "the cable is loose")
}

#[test]
fn a_fault_before_a_call_leaves_everything_as_it_was() {
    let site = Site::new(pool());
    site.pool.fail_when(|moment, call| {
        (moment == Moment::Before && call.to_string() == "create v").then(|| broken("create"))
    });
    refused(
        site.create("v", MIB, DiskFormat::Qcow2, site.encrypted()),
        ErrorKind::Io,
        &["cable"],
    );
    assert_eq!(site.get("v"), None);
    site.create("w", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
}

#[test]
fn after_an_answer_that_got_lost_the_same_call_again_finishes_the_work() {
    let site = Site::new(pool());
    let mut lost = vec!["create", "grow", "snapshot", "delete"];
    site.pool.fail_when(move |moment, call| {
        let position = lost
            .iter()
            .position(|o| moment == Moment::After && *o == call.operation)?;
        Some(broken(lost.remove(position)))
    });
    let create = || site.create("v", MIB, DiskFormat::Qcow2, site.encrypted());
    refused(create(), ErrorKind::Io, &[]);
    assert_eq!(site.get("v"), Some(create().unwrap()));
    let grow = || site.grow("v", 2 * MIB, site.encrypted());
    refused(grow(), ErrorKind::Io, &[]);
    assert_eq!(grow().unwrap().guest.get(), 2 * MIB);
    let snapshot = || site.snapshot("v", "s", Create);
    refused(snapshot(), ErrorKind::Io, &[]);
    assert_eq!(snapshot().unwrap().snapshots.len(), 1);
    let delete = || site.pool.delete(&site.cx(), &volume("v"));
    refused(delete(), ErrorKind::Io, &[]);
    delete().unwrap();
}

#[test]
fn every_call_is_recorded_also_when_it_failed() {
    let site = Site::new(pool());
    site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain).unwrap();
    site.snapshot("v", "s", Create).unwrap_err();
    site.pool.usage(&site.cx()).unwrap();
    let calls: Vec<_> = site.pool.calls().iter().map(ToString::to_string).collect();
    assert_eq!(calls, ["create v", "snapshot v", "usage"]);
}

#[test]
fn no_key_is_in_any_text() {
    let mut site = Site::new(pool());
    site.key = Passphrase::import(b"canary-of-the-mine".to_vec().into()).unwrap();
    site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    let stranger = Passphrase::import(b"canary-of-another".to_vec().into()).unwrap();
    let errors = [
        site.create("v", MIB, DiskFormat::Qcow2, VolumeKey::Encrypted(&stranger))
            .unwrap_err(),
        site.grow("v", 512, site.encrypted()).unwrap_err(),
        site.snapshot("v", "s", Restore).unwrap_err(),
    ];
    let mut texts = format!("{:?} {:?}", site.pool, site.pool.calls());
    for error in &errors {
        texts += &format!("{error} {error:?} {:?}", error.source());
    }
    assert!(
        texts.contains("MemoryPool") && texts.contains("wrong key"),
        "{texts}"
    );
    assert!(!texts.contains("canary"), "{texts}");
}

#[test]
fn a_restore_that_does_not_fit_changes_nothing() {
    let site = Site::new(pool().with_total(ByteSize::mib(10)));
    site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    site.snapshot("v", "small", Create).unwrap();
    site.grow("v", 8 * MIB, site.encrypted()).unwrap();
    site.snapshot("v", "large", Create).unwrap();
    let small = site.snapshot("v", "small", Restore).unwrap();
    site.create("w", 5 * MIB, DiskFormat::Raw, VolumeKey::Plain)
        .unwrap();
    refused(
        site.snapshot("v", "large", Restore),
        ErrorKind::NoSpace,
        &["4 MiB free, 7 MiB is needed"],
    );
    assert_eq!(site.get("v"), Some(small));
}
