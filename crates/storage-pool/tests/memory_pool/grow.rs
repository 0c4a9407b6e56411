use strongroom_secret::Passphrase;
use strongroom_storage_pool::{Capabilities, ErrorKind, VolumeKey};
use strongroom_types::{ByteSize, DiskFormat};

use crate::site::{MIB, Site, guest, pool, refused};

#[test]
fn the_guest_then_sees_exactly_the_size_that_was_asked_for() {
    let site = Site::new(pool());
    site.create("v", MIB, DiskFormat::Raw, site.encrypted()).unwrap();
    let grown = site.grow("v", 2 * MIB + 512, site.encrypted()).unwrap();
    assert_eq!(grown.guest, guest(2 * MIB + 512));
    assert_eq!(grown.device.get(), 4 * MIB + 512);
    assert_eq!(site.get("v"), Some(grown));
}

#[test]
fn growing_to_the_size_it_has_changes_nothing() {
    let site = Site::new(pool());
    let before = site
        .create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    assert_eq!(site.grow("v", MIB, site.encrypted()).unwrap(), before);
}

#[test]
fn a_smaller_size_is_an_invalid_request() {
    let site = Site::new(pool());
    let before = site
        .create("v", 2 * MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    refused(
        site.grow("v", MIB, site.encrypted()),
        ErrorKind::InvalidRequest,
        &["volume v", "2097152 bytes", "1048576"],
    );
    assert_eq!(site.get("v"), Some(before));
}

#[test]
fn a_pool_without_the_capability_does_not_grow() {
    let site = Site::new(pool().with_capabilities(Capabilities::none()));
    let before = site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain).unwrap();
    refused(
        site.grow("v", 2 * MIB, VolumeKey::Plain),
        ErrorKind::Unsupported,
        &["gold does not grow volumes"],
    );
    assert_eq!(site.get("v"), Some(before));
}

#[test]
fn after_a_failure_the_volume_opens_with_its_key_and_has_the_old_size() {
    let site = Site::new(pool().with_total(ByteSize::mib(10)));
    let before = site.create("v", MIB, DiskFormat::Raw, site.encrypted()).unwrap();
    let stranger = Passphrase::generate().unwrap();
    refused(
        site.grow("v", 2 * MIB, VolumeKey::Encrypted(&stranger)),
        ErrorKind::WrongKey,
        &["volume v"],
    );
    refused(
        site.grow("v", 2 * MIB, VolumeKey::Plain),
        ErrorKind::WrongDisk,
        &["encrypted"],
    );
    refused(
        site.grow("v", 9 * MIB, site.encrypted()),
        ErrorKind::NoSpace,
        &["7 MiB free, 8 MiB is needed"],
    );
    assert_eq!(
        site.create("v", MIB, DiskFormat::Raw, site.encrypted()).unwrap(),
        before
    );
    site.grow("v", 8 * MIB, site.encrypted()).unwrap();

    refused(
        site.grow("nowhere", MIB, VolumeKey::Plain),
        ErrorKind::NotFound,
        &["gold has no volume nowhere"],
    );
}

#[test]
fn a_plain_volume_does_not_take_a_key() {
    let site = Site::new(pool());
    site.create("p", MIB, DiskFormat::Raw, VolumeKey::Plain).unwrap();
    refused(
        site.grow("p", 2 * MIB, site.encrypted()),
        ErrorKind::WrongDisk,
        &["volume p is plain"],
    );
}
