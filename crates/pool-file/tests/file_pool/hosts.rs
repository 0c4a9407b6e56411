use std::sync::Arc;

use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_endpoint_selector::{Endpoint, RegisteredEndpoints};
use strongroom_storage_pool::SnapshotAction::{Create, Delete, Restore};
use strongroom_storage_pool::{ErrorKind, PoolDriver, VolumeKey};
use strongroom_types::{Call, Capability, DiskFormat, EncryptionFormat};

use crate::site::{MIB, Site, config, guest, host, in_memory, refused, volume};

#[test]
fn each_kind_of_volume_asks_for_the_host_that_it_takes() {
    for (capability, format, encrypted) in [
        (Capability::Qcow2Luks, DiskFormat::Qcow2, true),
        (Capability::RawLuks1, DiskFormat::Raw, true),
        (Capability::PlainImages, DiskFormat::Qcow2, false),
        (Capability::PlainImages, DiskFormat::Raw, false),
    ] {
        let all = [
            Capability::PlainImages,
            Capability::Qcow2Luks,
            Capability::RawLuks1,
            Capability::Luks2,
        ];
        let others: Vec<_> = all.into_iter().filter(|c| *c != capability).collect();
        let (lacking, able) = (host("lacking", &others), host("able", &[capability]));
        let mut hosts = RegisteredEndpoints::new();
        hosts.register(lacking.clone());
        let mut site = Site::new(config(), hosts);
        let create = |site: &Site<_>| {
            let key = if encrypted {
                site.encrypted()
            } else {
                VolumeKey::Plain
            };
            site.create("v", MIB, format, key)
        };
        let words = format!("lacking lacks {capability}: not probed");
        refused(create(&site), ErrorKind::NoHost, &[&words]);
        assert!(lacking.commands().is_empty());
        site.hosts.register(able.clone());
        create(&site).unwrap();
        assert_eq!(able.paths().len(), 1);
    }
}

#[test]
fn a_host_that_does_not_reach_the_pool_is_not_asked() {
    let mut far = host("far", &[Capability::PlainImages]).host();
    far.pools.clear();
    let mut hosts = RegisteredEndpoints::new();
    hosts.register(Arc::new(MemoryEndpoint::new(far)));
    let site = Site::new(config(), hosts);
    let words = &["far does not reach pool main"];
    refused(
        site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain),
        ErrorKind::NoHost,
        words,
    );
    refused(site.get("v"), ErrorKind::NoHost, words);
    refused(site.delete("v"), ErrorKind::NoHost, words);
    refused(site.pool.usage(&site.cx()), ErrorKind::NoHost, words);
    refused(site.pool.recover(&site.cx()), ErrorKind::NoHost, words);
}

#[test]
fn removing_an_encrypted_volume_takes_no_encryption() {
    let bare = host("bare", &[]);
    bare.add_blank("/pool/v.luks", guest(MIB));
    let mut hosts = RegisteredEndpoints::new();
    hosts.register(bare.clone());
    let site = Site::new(config(), hosts);
    refused(site.get("v"), ErrorKind::NoHost, &["bare lacks plain-images"]);
    let attached = site
        .pool
        .attach(&site.cx(), &volume("v"), &"bare".parse().unwrap());
    refused(attached, ErrorKind::NoHost, &["bare lacks plain-images"]);
    site.delete("v").unwrap();
    assert!(bare.paths().is_empty());
}

#[test]
fn a_volume_is_attached_on_the_host_that_is_asked_for_or_not_at_all() {
    let (one, two) = (
        host("node-1", &[Capability::PlainImages]),
        host("node-2", &[Capability::PlainImages]),
    );
    let mut hosts = RegisteredEndpoints::new();
    hosts.register(one.clone());
    hosts.register(two.clone());
    let site = Site::new(config(), hosts);
    site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain).unwrap();
    two.add_blank("/pool/v.raw", guest(MIB));
    let attach = |host: &str| site.pool.attach(&site.cx(), &volume("v"), &host.parse().unwrap());
    let before = two.commands().len();
    let place = attach("node-2").unwrap();
    assert_eq!(
        (place.location.to_string().as_str(), place.encryption),
        ("/pool/v.raw", None)
    );
    assert!(two.commands().len() > before, "the host itself looked");
    assert_eq!(attach("node-2").unwrap(), place);
    refused(
        attach("node-3"),
        ErrorKind::NoHost,
        &["node-1 is not node-3", "node-2 is not node-3"],
    );
    site.pool
        .detach(&site.cx(), &volume("v"), &"node-2".parse().unwrap())
        .unwrap();
    site.pool
        .detach(&site.cx(), &volume("none"), &"node-9".parse().unwrap())
        .unwrap();
}

#[test]
fn an_attachment_says_how_the_host_opens_the_volume() {
    let (site, _) = in_memory(config());
    site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    let attach = |name| {
        site.pool
            .attach(&site.cx(), &volume(name), &"node-1".parse().unwrap())
    };
    let place = attach("v").unwrap();
    assert_eq!(
        (place.format, place.encryption),
        (DiskFormat::Qcow2, Some(EncryptionFormat::Luks1))
    );
    refused(attach("none"), ErrorKind::NotFound, &["main", "no volume none"]);
}

#[test]
fn the_side_of_the_cipher_that_is_said_must_be_the_volumes() {
    let (site, node) = in_memory(config());
    site.create("secret", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    site.create("plain", MIB, DiskFormat::Qcow2, VolumeKey::Plain)
        .unwrap();
    let (encrypted, plain) = (site.encrypted(), VolumeKey::Plain);
    refused(
        site.grow("secret", 2 * MIB, plain),
        ErrorKind::WrongDisk,
        &["secret is an encrypted qcow2 file"],
    );
    refused(
        site.grow("plain", 2 * MIB, encrypted),
        ErrorKind::WrongDisk,
        &["plain is a plain qcow2 file"],
    );
    for action in [Create, Restore, Delete] {
        refused(
            site.snapshot("secret", action, plain),
            ErrorKind::WrongDisk,
            &["secret"],
        );
        refused(
            site.snapshot("plain", action, encrypted),
            ErrorKind::WrongDisk,
            &["plain"],
        );
    }
    assert!(
        !node
            .commands()
            .iter()
            .any(|c| c == "GrowDisk" || c == "SnapshotDisk")
    );
}

#[test]
fn raw_keeps_no_snapshots_and_what_is_not_there_does_not_grow() {
    let (site, _) = in_memory(config());
    site.create("v", MIB, DiskFormat::Raw, site.encrypted()).unwrap();
    refused(
        site.snapshot("v", Create, site.encrypted()),
        ErrorKind::Unsupported,
        &["volume v", "qcow2"],
    );
    refused(
        site.grow("none", MIB, VolumeKey::Plain),
        ErrorKind::NotFound,
        &["no volume none"],
    );
    refused(
        site.snapshot("none", Delete, VolumeKey::Plain),
        ErrorKind::NotFound,
        &["no volume none"],
    );
}

#[test]
fn an_interrupted_call_leaves_nothing() {
    let (mut site, node) = in_memory(config());
    site.call.cancellation().cancel();
    refused(
        site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain),
        ErrorKind::Cancelled,
        &["main"],
    );
    site.call = Call::new();
    assert!(node.paths().is_empty());
}
