use std::sync::Arc;

use strongroom_storage_pool::{
    Attachment, Capabilities, CloneKey, CloneVolume, CreateVolume, ErrorKind, FlattenVolume, LimitVolume,
    OpContext, PoolDriver, PoolError, PoolUsage, QosLimits, ResizeVolume, SnapshotAction, SnapshotGroup,
    SnapshotVolume, Volume, VolumeContent, VolumeKey,
};
use strongroom_types::{DiskFormat, HostId, PoolId, VolumeId};

use crate::site::{MIB, Site, guest, pool, refused, volume};

/// Calls every method once, by static dispatch on the type that is given.
fn every_method<D: PoolDriver>(driver: &D, cx: &OpContext<'_>) {
    let (id, copy, host) = (volume("v"), volume("w"), "node-1".parse().unwrap());
    let snapshot = "s".parse().unwrap();
    assert_eq!(driver.pool().as_str(), "gold");
    assert!(driver.capabilities().grow);
    driver.prepare(cx).unwrap();
    driver.usage(cx).unwrap();
    let request = CreateVolume::new(
        &id,
        guest(MIB),
        DiskFormat::Qcow2,
        VolumeKey::Plain,
        VolumeContent::Blank,
    );
    driver.create(cx, &request).unwrap();
    assert_eq!(driver.get(cx, &id).unwrap().unwrap().guest, guest(MIB));
    driver.attach(cx, &id, &host).unwrap();
    driver.detach(cx, &id, &host).unwrap();
    driver
        .grow(cx, &ResizeVolume::new(&id, guest(2 * MIB), VolumeKey::Plain))
        .unwrap();
    let request = SnapshotVolume::new(&id, &snapshot, SnapshotAction::Create, VolumeKey::Plain);
    driver.snapshot(cx, &request).unwrap();
    let clone = CloneVolume::new(&id, VolumeKey::Plain, &copy, CloneKey::Shared);
    driver.clone_volume(cx, &clone).unwrap();
    driver
        .flatten(cx, &FlattenVolume::new(&copy, VolumeKey::Plain))
        .unwrap();
    driver
        .shrink(cx, &ResizeVolume::new(&copy, guest(MIB), VolumeKey::Plain))
        .unwrap();
    let both = [(&id, VolumeKey::Plain), (&copy, VolumeKey::Plain)];
    driver
        .snapshot_group(cx, &SnapshotGroup::new(&both, &"g".parse().unwrap()))
        .unwrap();
    let limits = QosLimits::default();
    driver.limit(cx, &LimitVolume::new(&id, limits)).unwrap();
    driver.forget_template(cx, &"t".parse().unwrap()).unwrap();
    driver.delete(cx, &id).unwrap();
    driver.recover(cx).unwrap();
}

const CALLS: [&str; 16] = [
    "prepare",
    "usage",
    "create v",
    "get v",
    "attach v",
    "detach v",
    "grow v",
    "snapshot v",
    "clone_volume w",
    "flatten w",
    "shrink w",
    "snapshot_group",
    "limit v",
    "forget_template",
    "delete v",
    "recover",
];

#[test]
fn a_reference_a_box_and_an_arc_are_drivers_that_forward_every_method() {
    let site = Site::without_hosts(pool());
    let shared = Arc::new(pool());
    let named = |p: &strongroom_storage_pool::fake::MemoryPool| -> Vec<String> {
        p.calls().iter().map(ToString::to_string).collect()
    };
    every_method(&shared, &site.cx());
    assert_eq!(named(&shared), CALLS);

    let boxed = Box::new(pool());
    every_method(&boxed, &site.cx());
    assert_eq!(named(&boxed), CALLS);

    let by_reference: &dyn PoolDriver = &site.pool;
    every_method(&by_reference, &site.cx());
    assert_eq!(named(&site.pool), CALLS);
}

/// A driver that has what is required and nothing else.
#[derive(Debug)]
struct Least(PoolId);

impl PoolDriver for Least {
    fn pool(&self) -> &PoolId {
        &self.0
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::none()
    }
    fn usage(&self, _: &OpContext<'_>) -> Result<PoolUsage, PoolError> {
        Err(PoolError::unsupported("usage", ""))
    }
    fn create(&self, _: &OpContext<'_>, _: &CreateVolume<'_>) -> Result<Volume, PoolError> {
        Err(PoolError::unsupported("create", ""))
    }
    fn delete(&self, _: &OpContext<'_>, _: &VolumeId) -> Result<(), PoolError> {
        Ok(())
    }
    fn get(&self, _: &OpContext<'_>, _: &VolumeId) -> Result<Option<Volume>, PoolError> {
        Ok(None)
    }
    fn attach(&self, _: &OpContext<'_>, _: &VolumeId, _: &HostId) -> Result<Attachment, PoolError> {
        Err(PoolError::unsupported("attach", ""))
    }
    fn detach(&self, _: &OpContext<'_>, _: &VolumeId, _: &HostId) -> Result<(), PoolError> {
        Ok(())
    }
}

#[test]
fn what_a_driver_does_not_implement_is_refused_with_the_name_of_the_pool() {
    let site = Site::without_hosts(pool());
    let driver = Least("least".parse().unwrap());
    let (id, snapshot) = (volume("v"), "s".parse().unwrap());
    let grow = ResizeVolume::new(&id, guest(MIB), VolumeKey::Plain);
    refused(
        driver.grow(&site.cx(), &grow),
        ErrorKind::Unsupported,
        &["pool least"],
    );
    let request = SnapshotVolume::new(&id, &snapshot, SnapshotAction::Create, VolumeKey::Plain);
    refused(
        driver.snapshot(&site.cx(), &request),
        ErrorKind::Unsupported,
        &["pool least"],
    );
    let shrunk = driver.shrink(&site.cx(), &grow);
    refused(shrunk, ErrorKind::Unsupported, &["pool least does not shrink"]);
    let group = SnapshotGroup::new(&[], &snapshot);
    let group = driver.snapshot_group(&site.cx(), &group);
    refused(group, ErrorKind::Unsupported, &["pool least", "one instant"]);
    let copy = volume("w");
    let clone = CloneVolume::new(&id, VolumeKey::Plain, &copy, CloneKey::Shared);
    let cloned = driver.clone_volume(&site.cx(), &clone);
    refused(cloned, ErrorKind::Unsupported, &["pool least does not clone"]);
    let flat = driver.flatten(&site.cx(), &FlattenVolume::new(&id, VolumeKey::Plain));
    refused(flat, ErrorKind::Unsupported, &["pool least", "overlays"]);
    let limit = LimitVolume::new(&id, QosLimits::default());
    let limited = driver.limit(&site.cx(), &limit);
    refused(limited, ErrorKind::Unsupported, &["pool least does not limit"]);
    driver.recover(&site.cx()).unwrap();
    driver.prepare(&site.cx()).unwrap();
    driver.forget_template(&site.cx(), &"t".parse().unwrap()).unwrap();
}
