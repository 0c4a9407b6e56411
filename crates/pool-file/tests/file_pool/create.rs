use strongroom_endpoint_selector::{EndpointError, HostCommand};
use strongroom_pool_file::FilePool;
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{CloneKind, Encryption, ErrorKind, PoolDriver, Reach, SizeRule, VolumeKey};
use strongroom_types::{DiskFormat, EncryptionFormat};

use crate::site::{MIB, config, guest, in_memory, refused, unnamed};

const LUKS1: Option<EncryptionFormat> = Some(EncryptionFormat::Luks1);

#[test]
fn the_name_of_the_file_says_what_it_is() {
    let (site, node) = in_memory(config());
    for (name, format, key, encryption) in [
        ("a", DiskFormat::Qcow2, site.encrypted(), LUKS1),
        ("b", DiskFormat::Raw, site.encrypted(), LUKS1),
        ("c", DiskFormat::Qcow2, VolumeKey::Plain, None),
        ("d", DiskFormat::Raw, VolumeKey::Plain, None),
    ] {
        let made = site.create(name, MIB, format, key).unwrap();
        assert_eq!(
            (made.format, made.encryption, made.guest),
            (format, encryption, guest(MIB))
        );
        assert_eq!(site.get(name).unwrap(), Some(made));
    }
    let files: Vec<_> = node.paths().iter().map(|p| p.display().to_string()).collect();
    assert_eq!(
        files,
        [
            "/pool/a.luks.qcow2",
            "/pool/b.luks",
            "/pool/c.qcow2",
            "/pool/d.raw"
        ]
    );
}

#[test]
fn the_capabilities_are_those_of_the_configuration() {
    let capabilities = FilePool::open(config()).unwrap().capabilities();
    assert_eq!(
        capabilities.encryption,
        Encryption::OnHost(EncryptionFormat::Luks1)
    );
    assert_eq!(capabilities.formats, [DiskFormat::Raw, DiskFormat::Qcow2].into());
    assert_eq!(capabilities.snapshot_offline, [DiskFormat::Qcow2].into());
    assert_eq!(capabilities.overlays, [DiskFormat::Qcow2].into());
    assert_eq!(capabilities.clone, [CloneKind::OwnKey].into());
    assert!(capabilities.grow && capabilities.shrink && capabilities.revert);
    assert!(capabilities.templates && capabilities.copies && !capabilities.discard);
    assert!(!capabilities.snapshot_group && !capabilities.qos && capabilities.snapshot_online.is_empty());
    assert_eq!(
        (capabilities.sizes, capabilities.reach),
        (SizeRule::Exact, Reach::Host)
    );
    let config = config()
        .without_encryption()
        .reached_by(Reach::Cluster)
        .with_discard();
    let capabilities = FilePool::open(config).unwrap().capabilities();
    assert_eq!(
        (capabilities.encryption, capabilities.reach),
        (Encryption::Unsupported, Reach::Cluster)
    );
    assert!(capabilities.discard);
}

#[test]
fn without_encryption_an_encrypted_volume_is_refused_and_no_host_asked() {
    let (site, node) = in_memory(config().without_encryption());
    let refusal = site.create("v", MIB, DiskFormat::Qcow2, site.encrypted());
    refused(refusal, ErrorKind::Unsupported, &["pool main does not encrypt"]);
    assert!(node.commands().is_empty());
    site.create("v", MIB, DiskFormat::Qcow2, VolumeKey::Plain)
        .unwrap();
}

#[test]
fn the_same_request_again_proves_the_volume_and_returns_it() {
    let (site, node) = in_memory(config());
    for format in [DiskFormat::Qcow2, DiskFormat::Raw] {
        let name = format.as_str();
        let first = site.create(name, MIB, format, site.encrypted()).unwrap();
        assert_eq!(site.create(name, MIB, format, site.encrypted()).unwrap(), first);
        assert_eq!(node.commands().last().map(String::as_str), Some("VerifyDisk"));
    }
    assert_eq!(node.paths().len(), 2);
}

#[test]
fn another_request_for_the_same_id_is_refused_and_changes_nothing() {
    let (site, node) = in_memory(config());
    let there = site
        .create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    let stranger = Passphrase::generate().unwrap();
    for (size, format, key) in [
        (2 * MIB, DiskFormat::Qcow2, site.encrypted()),
        (MIB, DiskFormat::Raw, site.encrypted()),
        (MIB, DiskFormat::Qcow2, VolumeKey::Plain),
        (MIB, DiskFormat::Raw, VolumeKey::Plain),
    ] {
        let refusal = site.create("v", size, format, key);
        refused(
            refusal,
            ErrorKind::AlreadyExists,
            &["main", "volume v", "an encrypted qcow2 file of 1048576 bytes"],
        );
    }
    let refusal = site.create("v", MIB, DiskFormat::Qcow2, VolumeKey::Encrypted(&stranger));
    refused(refusal, ErrorKind::WrongKey, &["/pool/v.luks.qcow2"]);
    assert_eq!(site.get("v").unwrap(), Some(there));
    assert_eq!(node.paths().len(), 1);
}

#[test]
fn a_strangers_file_under_the_name_is_not_taken_over() {
    let (site, node) = in_memory(config());
    node.add_blank("/pool/squatter.luks", guest(MIB));
    let refusal = site.create("squatter", MIB, DiskFormat::Raw, site.encrypted());
    refused(
        refusal,
        ErrorKind::AlreadyExists,
        &["volume squatter", "/pool/squatter.luks"],
    );
    refused(
        site.get("squatter"),
        ErrorKind::WrongDisk,
        &["/pool/squatter.luks"],
    );
    assert!(!node.commands().contains(&"CreateDisk".to_owned()));
}

#[test]
fn a_strangers_plain_raw_file_of_the_right_size_cannot_be_told_from_a_volume() {
    let (site, node) = in_memory(config());
    node.add_blank("/pool/v.raw", guest(MIB));
    let taken = site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain).unwrap();
    assert_eq!((taken.guest, taken.encryption), (guest(MIB), None));
    assert!(!node.commands().contains(&"CreateDisk".to_owned()));
    node.add_blank("/pool/v.qcow2", guest(MIB));
    site.delete("v").unwrap();
    assert!(node.paths().is_empty());
}

#[test]
fn content_is_not_compared_with_that_of_a_volume_that_is_there() {
    let (site, _node) = in_memory(config());
    let made = site
        .create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    let template = unnamed("/elsewhere/t".as_ref());
    let again = site.create_with("v", MIB, DiskFormat::Qcow2, site.encrypted(), template);
    assert_eq!(again.unwrap(), made);
}

#[test]
fn two_files_for_one_id_are_an_error_that_names_both() {
    let (site, node) = in_memory(config());
    site.create("v", MIB, DiskFormat::Qcow2, VolumeKey::Plain)
        .unwrap();
    node.add_blank("/pool/v.raw", guest(MIB));
    refused(
        site.get("v"),
        ErrorKind::WrongDisk,
        &["/pool/v.qcow2", "/pool/v.raw", "volume v", "removes both"],
    );
    refused(
        site.grow("v", 2 * MIB, VolumeKey::Plain),
        ErrorKind::WrongDisk,
        &["/pool/v.raw"],
    );
    site.delete("v").unwrap();
    assert!(node.paths().is_empty());
}

#[test]
fn what_the_host_says_is_said_with_the_pool_and_the_host() {
    let (site, node) = in_memory(config());
    node.fail_when(|command| match command {
        HostCommand::CreateDisk(_) => Some(EndpointError::new(
            ErrorKind::NoSpace,
            "CreateDisk",
            "no space left for x",
        )),
        _ => None,
    });
    let refusal = site.create("v", MIB, DiskFormat::Raw, site.encrypted());
    refused(
        refusal,
        ErrorKind::NoSpace,
        &["pool main on host node-1", "no space left for x"],
    );
    assert_eq!(site.get("v").unwrap(), None);
}

#[test]
fn a_directory_that_cannot_be_a_pool_is_refused_before_anything_is_asked() {
    for (path, word) in [
        ("pool", "absolute"),
        ("/pool/../etc", ".."),
        ("/", "root"),
        ("", "absolute"),
    ] {
        let config = strongroom_pool_file::FilePoolConfig::new("main".parse().unwrap(), path.into());
        refused(
            FilePool::open(config),
            ErrorKind::InvalidRequest,
            &["pool main", word],
        );
    }
}
