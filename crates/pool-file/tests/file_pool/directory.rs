use strongroom_endpoint_selector::{EndpointError, HostCommand};
use strongroom_storage_pool::SnapshotAction::Create;
use strongroom_storage_pool::{ErrorKind, PoolDriver, PoolError, VolumeKey};
use strongroom_types::{ByteSize, DiskFormat};

use crate::site::{MIB, Site, config, directory, in_memory, refused, volume};

/// What every operation answers; none may succeed.
fn every_operation<S: strongroom_endpoint_selector::EndpointSelector>(site: &Site<S>) -> Vec<PoolError> {
    let (v, host) = (volume("v"), "node-1".parse().unwrap());
    vec![
        site.create("w", MIB, DiskFormat::Raw, VolumeKey::Plain)
            .unwrap_err(),
        site.get("v").unwrap_err(),
        site.delete("v").unwrap_err(),
        site.pool.attach(&site.cx(), &v, &host).unwrap_err(),
        site.grow("v", 2 * MIB, site.encrypted()).unwrap_err(),
        site.snapshot("v", Create, site.encrypted()).unwrap_err(),
        site.pool.usage(&site.cx()).unwrap_err(),
        site.pool.recover(&site.cx()).unwrap_err(),
    ]
}

#[test]
fn usage_is_what_the_host_sees() {
    let (site, node) = in_memory(config());
    node.set_directory(directory("/pool", true));
    let usage = site.pool.usage(&site.cx()).unwrap();
    assert_eq!((usage.total, usage.free), (ByteSize::gib(4), ByteSize::gib(3)));
}

#[test]
fn a_directory_that_is_gone_says_nothing_about_a_volume() {
    let (site, node) = in_memory(config());
    node.fail_when(|command| match command {
        HostCommand::OpenDirectory(_) => Some(EndpointError::new(
            ErrorKind::NotFound,
            "OpenDirectory",
            "/pool: no such directory",
        )),
        _ => None,
    });
    for error in every_operation(&site) {
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        assert!(
            error.message().contains("main") && error.message().contains("/pool"),
            "{error}"
        );
    }
}

#[test]
fn a_read_only_directory_can_be_read_and_not_changed() {
    let (site, node) = in_memory(config());
    site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    node.set_directory(directory("/pool", false));
    let words = &["main", "/pool cannot be written to"];
    refused(
        site.create("w", MIB, DiskFormat::Raw, VolumeKey::Plain),
        ErrorKind::PermissionDenied,
        words,
    );
    refused(
        site.grow("v", 2 * MIB, site.encrypted()),
        ErrorKind::PermissionDenied,
        words,
    );
    refused(
        site.snapshot("v", Create, site.encrypted()),
        ErrorKind::PermissionDenied,
        words,
    );
    refused(site.delete("v"), ErrorKind::PermissionDenied, words);
    refused(site.pool.recover(&site.cx()), ErrorKind::PermissionDenied, words);
    assert_eq!(site.get("v").unwrap().unwrap().id, volume("v"));
    site.pool
        .attach(&site.cx(), &volume("v"), &"node-1".parse().unwrap())
        .unwrap();
    site.pool.usage(&site.cx()).unwrap();
}

#[test]
fn recovery_sweeps_the_directory_and_that_of_the_templates() {
    let (site, node) = in_memory(config());
    site.pool.recover(&site.cx()).unwrap();
    assert_eq!(
        node.commands(),
        ["OpenDirectory", "SweepStaging", "MakeDirectory", "SweepStaging"]
    );
}

#[test]
fn a_directory_without_the_mark_is_an_error_and_no_empty_pool() {
    let (site, node) = in_memory(config());
    site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    for (mark, kind, words) in [
        (
            None,
            ErrorKind::Io,
            "has no mark of pool main: its file system is not mounted",
        ),
        (
            Some("other"),
            ErrorKind::WrongDisk,
            "is the directory of pool other",
        ),
    ] {
        let mut facts = directory("/pool", true);
        facts.pool = mark.map(|pool| pool.parse().unwrap());
        node.set_directory(facts);
        for error in every_operation(&site) {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(
                error.message().contains("pool main") && error.message().contains(words),
                "{error}"
            );
        }
    }
    assert_eq!(node.paths().len(), 1, "nothing was made or removed");
    node.set_directory(directory("/pool", true));
    assert_eq!(site.get("v").unwrap().unwrap().id, volume("v"));
}

#[test]
fn a_directory_of_another_installation_is_refused_by_every_operation_and_by_preparing() {
    let (site, node) = in_memory(config().of_installation("here".parse().unwrap()));
    site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    for owner in [None, Some("here")] {
        let mut facts = directory("/pool", true);
        facts.owner = owner.map(|owner| owner.parse().unwrap());
        node.set_directory(facts);
        assert_eq!(site.get("v").unwrap().unwrap().id, volume("v"), "{owner:?}");
    }
    let mut facts = directory("/pool", true);
    facts.owner = Some("there".parse().unwrap());
    node.set_directory(facts);
    for error in every_operation(&site) {
        assert_eq!(error.kind(), ErrorKind::WrongDisk, "{error}");
        assert!(
            error.message().contains("of another installation, there"),
            "{error}"
        );
        assert!(error.message().contains("take the directory over"), "{error}");
    }
    refused(
        site.pool.prepare(&site.cx()),
        ErrorKind::AlreadyExists,
        &["main", "another installation"],
    );
}

#[test]
fn preparing_marks_the_directory_and_never_takes_another_pools() {
    let (site, node) = in_memory(config());
    let mut blank = directory("/pool", true);
    blank.pool = None;
    node.set_directory(blank);
    refused(site.get("v"), ErrorKind::Io, &["no mark"]);
    for _ in 0..2 {
        site.pool.prepare(&site.cx()).unwrap();
    }
    assert_eq!(site.get("v").unwrap(), None);
    let mut other = directory("/pool", true);
    other.pool = Some("other".parse().unwrap());
    node.set_directory(other);
    refused(site.pool.prepare(&site.cx()), ErrorKind::AlreadyExists, &["main"]);
    node.set_directory(directory("/pool", false));
    refused(
        site.pool.prepare(&site.cx()),
        ErrorKind::PermissionDenied,
        &["/pool cannot be written to"],
    );
}
