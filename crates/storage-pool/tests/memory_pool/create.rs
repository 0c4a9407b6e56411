use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{
    Capabilities, CreateVolume, Encryption, ErrorKind, PoolDriver, SizeRule, SourceImage, Template,
    VolumeContent, VolumeKey,
};
use strongroom_types::{ByteSize, Capability, DiskFormat, EncryptionFormat};

use crate::site::{MIB, Site, guest, host, pool, refused, volume};

#[test]
fn the_guest_sees_exactly_what_was_asked_for() {
    let site = Site::new(pool());
    for (name, format, key, device) in [
        ("qcow2", DiskFormat::Qcow2, site.encrypted(), MIB + 512),
        ("raw", DiskFormat::Raw, site.encrypted(), 3 * MIB + 512),
        ("plain", DiskFormat::Raw, VolumeKey::Plain, MIB + 512),
    ] {
        let made = site.create(name, MIB + 512, format, key).unwrap();
        assert_eq!(made.guest, guest(MIB + 512));
        assert_eq!(made.device.get(), device, "{name}");
        assert_eq!(site.get(name), Some(made));
    }
}

#[test]
fn a_pool_that_rounds_gives_the_guest_no_more_than_was_asked_for() {
    let mut capabilities = pool().capabilities();
    capabilities.sizes = SizeRule::DeviceRoundedTo(8 * MIB);
    let site = Site::new(pool().with_capabilities(capabilities));
    let made = site.create("v", MIB, DiskFormat::Raw, site.encrypted()).unwrap();
    assert_eq!((made.guest, made.device.get()), (guest(MIB), 8 * MIB));
    let grown = site.grow("v", 7 * MIB, site.encrypted()).unwrap();
    assert_eq!((grown.guest, grown.device.get()), (guest(7 * MIB), 16 * MIB));
}

#[test]
fn a_rounding_without_a_result_is_an_error() {
    for unit in [0, 1000, u64::MAX] {
        let mut capabilities = pool().capabilities();
        capabilities.sizes = SizeRule::DeviceRoundedTo(unit);
        let site = Site::new(pool().with_capabilities(capabilities));
        let refusal = site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain);
        refused(refusal, ErrorKind::InvalidRequest, &[&unit.to_string()]);
    }
}

#[test]
fn an_encrypted_volume_is_refused_where_nothing_encrypts_and_never_made_plain() {
    let site = Site::new(pool().with_encryption(Encryption::Unsupported));
    refused(
        site.create("v", MIB, DiskFormat::Qcow2, site.encrypted()),
        ErrorKind::Unsupported,
        &["gold", "does not encrypt"],
    );
    assert_eq!(site.get("v"), None);
    let plain = site
        .create("v", MIB, DiskFormat::Qcow2, VolumeKey::Plain)
        .unwrap();
    assert_eq!(plain.encryption, None);
}

#[test]
fn what_the_host_encrypts_says_with_which_luks_and_what_the_storage_encrypts_says_nothing() {
    let luks2 = Encryption::OnHost(EncryptionFormat::Luks2);
    for (encryption, seen) in [
        (
            Encryption::OnHost(EncryptionFormat::Luks1),
            Some(EncryptionFormat::Luks1),
        ),
        (luks2, Some(EncryptionFormat::Luks2)),
        (Encryption::InStorage, None),
    ] {
        let site = Site::new(pool().with_encryption(encryption));
        let made = site.create("v", MIB, DiskFormat::Raw, site.encrypted()).unwrap();
        assert_eq!(made.encryption, seen);
    }
    let site = Site::new(pool().with_encryption(luks2));
    let refusal = site.create("v", MIB, DiskFormat::Qcow2, site.encrypted());
    refused(refusal, ErrorKind::Unsupported, &["qcow2 has no luks2"]);
}

#[test]
fn encryption_on_the_host_takes_a_host_and_says_why_none_will_do() {
    let mut site = Site::without_hosts(pool());
    let asked = |site: &Site| site.create("v", MIB, DiskFormat::Qcow2, site.encrypted());
    let error = refused(asked(&site), ErrorKind::NoHost, &["no host is registered"]);
    assert_eq!(error.operation(), "create");
    site.hosts.register(Arc::new(MemoryEndpoint::new(host(
        "old",
        &[Capability::RawLuks1],
    ))));
    let mut far = host("far", &[Capability::Qcow2Luks]);
    far.pools.clear();
    site.hosts.register(Arc::new(MemoryEndpoint::new(far)));
    refused(
        asked(&site),
        ErrorKind::NoHost,
        &["old lacks qcow2-luks: not probed", "far does not reach pool gold"],
    );
    assert_eq!(site.get("v"), None);
    site.create("raw", MIB, DiskFormat::Raw, site.encrypted())
        .unwrap();
}

#[test]
fn plain_volumes_and_encryption_in_the_storage_take_no_host() {
    let site = Site::without_hosts(pool());
    site.create("plain", MIB, DiskFormat::Qcow2, VolumeKey::Plain)
        .unwrap();
    let site = Site::without_hosts(pool().with_encryption(Encryption::InStorage));
    site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    site.grow("v", 2 * MIB, site.encrypted()).unwrap();
}

#[test]
fn the_same_request_again_returns_the_same_volume() {
    for encryption in [Encryption::OnHost(EncryptionFormat::Luks1), Encryption::InStorage] {
        let site = Site::new(pool().with_encryption(encryption));
        let first = site
            .create("v", MIB, DiskFormat::Qcow2, site.encrypted())
            .unwrap();
        let again = site
            .create("v", MIB, DiskFormat::Qcow2, site.encrypted())
            .unwrap();
        assert_eq!(first, again);
        assert_eq!(site.pool.volumes(), [volume("v")]);
        site.create("p", MIB, DiskFormat::Raw, VolumeKey::Plain).unwrap();
        site.create("p", MIB, DiskFormat::Raw, VolumeKey::Plain).unwrap();
    }
}

#[test]
fn another_request_for_the_same_id_is_refused_and_changes_nothing() {
    for encryption in [Encryption::OnHost(EncryptionFormat::Luks1), Encryption::InStorage] {
        let site = Site::new(pool().with_encryption(encryption));
        let there = site
            .create("v", MIB, DiskFormat::Qcow2, site.encrypted())
            .unwrap();
        let stranger = Passphrase::generate().unwrap();
        let other = [
            site.create("v", 2 * MIB, DiskFormat::Qcow2, site.encrypted()),
            site.create("v", MIB, DiskFormat::Raw, site.encrypted()),
            site.create("v", MIB, DiskFormat::Qcow2, VolumeKey::Plain),
            site.create("v", 2 * MIB, DiskFormat::Qcow2, VolumeKey::Encrypted(&stranger)),
        ];
        for refusal in other {
            refused(refusal, ErrorKind::AlreadyExists, &["gold", "volume v"]);
        }
        refused(
            site.create("v", MIB, DiskFormat::Qcow2, VolumeKey::Encrypted(&stranger)),
            ErrorKind::WrongKey,
            &["volume v"],
        );
        assert_eq!(site.get("v"), Some(there.clone()));
        assert_eq!(
            site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
                .unwrap(),
            there
        );

        site.create("p", MIB, DiskFormat::Raw, VolumeKey::Plain).unwrap();
        let refusal = site.create("p", MIB, DiskFormat::Raw, site.encrypted());
        refused(refusal, ErrorKind::AlreadyExists, &["volume p"]);
    }
}

#[test]
fn a_format_or_a_template_that_the_pool_does_not_have_is_refused() {
    let site = Site::new(pool().with_capabilities(Capabilities::none()));
    let refusal = site.create("v", MIB, DiskFormat::Qcow2, VolumeKey::Plain);
    refused(refusal, ErrorKind::Unsupported, &["qcow2"]);
    let source = SourceImage::new(Path::new("/templates/t"), DiskFormat::Raw);
    let from = VolumeContent::Template(Template::unnamed(source));
    let id = volume("v");
    let request = CreateVolume::new(&id, guest(MIB), DiskFormat::Raw, VolumeKey::Plain, from);
    refused(
        site.pool.create(&site.cx(), &request),
        ErrorKind::Unsupported,
        &["from a template"],
    );
    assert_eq!(site.get("v"), None);

    let site = Site::new(pool());
    site.pool.create(&site.cx(), &request).unwrap();
    assert_eq!(site.pool.content(&id), Some(PathBuf::from("/templates/t")));
    // The same request with other content is the same volume, with the content that it has.
    site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain).unwrap();
    assert_eq!(site.pool.content(&id), Some(PathBuf::from("/templates/t")));
}

#[test]
fn a_volume_that_does_not_fit_is_not_there() {
    let site = Site::new(pool().with_total(ByteSize::mib(10)));
    site.create("a", 6 * MIB, DiskFormat::Raw, VolumeKey::Plain)
        .unwrap();
    let usage = site.pool.usage(&site.cx()).unwrap();
    assert_eq!((usage.total, usage.free), (ByteSize::mib(10), ByteSize::mib(4)));
    refused(
        site.create("b", 3 * MIB, DiskFormat::Raw, site.encrypted()),
        ErrorKind::NoSpace,
        &["gold has 4 MiB free, 5 MiB is needed"],
    );
    assert_eq!(site.get("b"), None);
    site.create("b", 2 * MIB, DiskFormat::Raw, site.encrypted())
        .unwrap();
    assert_eq!(site.pool.usage(&site.cx()).unwrap().free, ByteSize::default());
}
