use std::sync::Arc;

use strongroom_storage_pool::{
    Attachment, Capabilities, CreateVolume, ErrorKind, OpContext, PoolDriver, PoolError, PoolUsage,
    ResizeVolume, SnapshotAction, SnapshotVolume, Volume, VolumeContent, VolumeKey,
};
use strongroom_types::{DiskFormat, HostId, PoolId, VolumeId};

use crate::site::{MIB, Site, guest, pool, refused, volume};

/// Calls every method once, by static dispatch on the type that is given.
fn every_method<D: PoolDriver>(driver: &D, cx: &OpContext<'_>) {
    let (id, host) = (volume("v"), "node-1".parse().unwrap());
    let snapshot = "s".parse().unwrap();
    assert_eq!(driver.pool().as_str(), "gold");
    assert!(driver.capabilities().grow);
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
    driver.delete(cx, &id).unwrap();
    driver.recover(cx).unwrap();
}

const CALLS: [&str; 9] = [
    "usage",
    "create v",
    "get v",
    "attach v",
    "detach v",
    "grow v",
    "snapshot v",
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
    driver.recover(&site.cx()).unwrap();
}
