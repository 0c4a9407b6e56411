use strongroom_storage_pool::{Capabilities, ErrorKind, PoolDriver, PoolError, ResizeVolume, Volume};
use strongroom_types::DiskFormat;

use crate::site::{MIB, Site, guest, pool, refused, volume};

fn shrink(site: &Site, to: u64) -> Result<Volume, PoolError> {
    let id = volume("v");
    let request = ResizeVolume::new(&id, guest(to), site.encrypted());
    site.pool.shrink(&site.cx(), &request)
}

#[test]
fn the_guest_then_sees_exactly_the_smaller_size_and_shrinking_to_the_size_it_has_changes_nothing() {
    let site = Site::new(pool());
    site.create("v", 4 * MIB, DiskFormat::Raw, site.encrypted())
        .unwrap();
    let small = shrink(&site, MIB + 512).unwrap();
    assert_eq!(
        (small.guest, small.device.get()),
        (guest(MIB + 512), 3 * MIB + 512)
    );
    assert_eq!(shrink(&site, MIB + 512).unwrap(), small);
    let larger = shrink(&site, 2 * MIB);
    refused(larger, ErrorKind::InvalidRequest, &["volume v", "2097152"]);
    assert_eq!(site.get("v"), Some(small));
}

#[test]
fn a_volume_that_somebody_has_open_and_one_of_a_pool_that_does_not_shrink_stay() {
    let site = Site::new(pool());
    site.create("v", 4 * MIB, DiskFormat::Raw, site.encrypted())
        .unwrap();
    let host = "node-1".parse().unwrap();
    site.pool.attach(&site.cx(), &volume("v"), &host).unwrap();
    refused(shrink(&site, MIB), ErrorKind::Busy, &["node-1", "detach"]);
    let site = Site::new(pool().with_capabilities(Capabilities::none()));
    let shrunk = shrink(&site, MIB);
    refused(shrunk, ErrorKind::Unsupported, &["gold does not shrink"]);
}
