use std::path::Path;

use strongroom_secret::Passphrase;
use strongroom_storage_pool::{
    CloneKey, CloneKind, CloneVolume, ErrorKind, PoolDriver, PoolError, Volume, VolumeKey,
};
use strongroom_types::DiskFormat;

use crate::site::{MIB, Site, guest, pool, refused, volume};

fn clone(site: &Site, name: &str, key: CloneKey<'_>) -> Result<Volume, PoolError> {
    let (source, copy) = (volume("v"), volume(name));
    let request = CloneVolume::new(&source, site.encrypted(), &copy, key);
    site.pool.clone_volume(&site.cx(), &request)
}

fn with_a_volume() -> Site {
    let site = Site::new(pool());
    site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    site.pool.write(&volume("v"), "written");
    site
}

#[test]
fn a_clone_has_content_size_and_format_and_opens_with_its_own_key_only() {
    let (site, own) = (with_a_volume(), Passphrase::generate().unwrap());
    let key = CloneKey::Own(VolumeKey::Encrypted(&own));
    let made = clone(&site, "w", key).unwrap();
    assert_eq!((made.guest, made.format), (guest(MIB), DiskFormat::Qcow2));
    assert_eq!(
        site.pool.content(&volume("w")).as_deref(),
        Some(Path::new("written"))
    );
    refused(
        site.grow("w", 2 * MIB, site.encrypted()),
        ErrorKind::WrongKey,
        &[],
    );
    assert_eq!(clone(&site, "w", key).unwrap(), made, "the same again");
    site.grow("w", 2 * MIB, VolumeKey::Encrypted(&own)).unwrap();
    refused(clone(&site, "w", key), ErrorKind::AlreadyExists, &["volume w"]);
    assert_eq!(site.get("v").unwrap().guest, guest(MIB), "the source stays");
}

#[test]
fn a_clone_with_the_shared_key_opens_with_the_key_of_its_source() {
    let site = with_a_volume();
    clone(&site, "w", CloneKey::Shared).unwrap();
    site.grow("w", 2 * MIB, site.encrypted()).unwrap();
}

#[test]
fn a_clone_on_the_other_side_of_the_cipher_of_nothing_or_in_another_way_is_refused() {
    let site = with_a_volume();
    let plain = clone(&site, "w", CloneKey::Own(VolumeKey::Plain));
    refused(plain, ErrorKind::InvalidRequest, &["same side"]);
    let stranger = Passphrase::generate().unwrap();
    let (source, copy, none) = (volume("v"), volume("w"), volume("none"));
    let key = VolumeKey::Encrypted(&stranger);
    let locked = CloneVolume::new(&source, key, &copy, CloneKey::Shared);
    let locked = site.pool.clone_volume(&site.cx(), &locked);
    refused(locked, ErrorKind::WrongKey, &["volume v"]);
    let nothing = CloneVolume::new(&none, key, &copy, CloneKey::Shared);
    let nothing = site.pool.clone_volume(&site.cx(), &nothing);
    refused(nothing, ErrorKind::NotFound, &["none"]);

    let mut capabilities = pool().capabilities();
    capabilities.clone.remove(&CloneKind::SharedKey);
    let site = Site::new(pool().with_capabilities(capabilities));
    refused(
        clone(&site, "w", CloneKey::Shared),
        ErrorKind::Unsupported,
        &["gold"],
    );
    assert_eq!(site.get("w"), None);
}
