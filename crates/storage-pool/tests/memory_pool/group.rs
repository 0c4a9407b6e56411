use std::path::Path;

use strongroom_storage_pool::SnapshotAction::{Create, Restore};
use strongroom_storage_pool::{ErrorKind, PoolDriver, PoolError, SnapshotGroup, Volume};
use strongroom_types::DiskFormat;

use crate::site::{MIB, Site, pool, refused, volume};

fn with_two() -> Site {
    let site = Site::new(pool());
    for name in ["v", "w"] {
        site.create(name, MIB, DiskFormat::Qcow2, site.encrypted())
            .unwrap();
        site.pool.write(&volume(name), name);
    }
    site
}

fn group(site: &Site, names: &[&str]) -> Result<Vec<Volume>, PoolError> {
    let ids: Vec<_> = names.iter().map(|name| volume(name)).collect();
    let volumes: Vec<_> = ids.iter().map(|id| (id, site.encrypted())).collect();
    let snapshot = "s".parse().unwrap();
    site.pool
        .snapshot_group(&site.cx(), &SnapshotGroup::new(&volumes, &snapshot))
}

#[test]
fn every_volume_has_the_snapshot_in_the_order_of_the_request_and_again_changes_nothing() {
    let site = with_two();
    let taken = group(&site, &["w", "v"]).unwrap();
    let ids: Vec<_> = taken.iter().map(|v| v.id.as_str()).collect();
    assert_eq!(ids, ["w", "v"]);
    assert!(taken.iter().all(|v| v.snapshots == ["s".parse().unwrap()]));
    for name in ["v", "w"] {
        site.pool.write(&volume(name), "later");
    }
    assert_eq!(group(&site, &["w", "v"]).unwrap(), taken);
    for name in ["v", "w"] {
        site.snapshot(name, "s", Restore).unwrap();
        let content = site.pool.content(&volume(name));
        assert_eq!(content.as_deref(), Some(Path::new(name)));
    }
}

#[test]
fn when_one_cannot_have_it_none_of_them_has() {
    let site = with_two();
    let none = group(&site, &["v", "w", "none"]);
    refused(none, ErrorKind::NotFound, &["none"]);
    site.snapshot("w", "s", Create).unwrap();
    let mixed = group(&site, &["v", "w"]);
    refused(mixed, ErrorKind::AlreadyExists, &["1 of 2"]);
    assert_eq!(site.get("v").unwrap().snapshots, []);
}
