use std::sync::Arc;
use std::time::Duration;

use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_endpoint_selector::{
    DirectoryFacts, EndpointError, HostCommand, Locking, MountFacts, RegisteredEndpoints,
};
use strongroom_pool_file::{FilePool, FilePoolConfig};
use strongroom_storage_pool::{ErrorKind, PoolDriver, PoolError, Reach, VolumeKey};
use strongroom_types::{Capability, DiskFormat};

use crate::site::{MIB, Site, config, directory, host, in_memory, refused};

const EXPORT: &str = "filer:/export/gold";

fn nfs() -> FilePoolConfig {
    FilePoolConfig::nfs("main".parse().unwrap(), "/pool".into(), EXPORT)
}

fn cluster() -> FilePoolConfig {
    FilePoolConfig::shared_mount_point("main".parse().unwrap(), "/pool".into())
}

fn mounted(point: &str, source: &str, kind: &str, options: &[&str]) -> DirectoryFacts {
    let mut facts = directory("/pool", true);
    let options = options.iter().map(|&o| o.to_owned()).collect();
    facts.mount = Some(MountFacts::new(point, source.into(), kind.into(), options));
    facts.locking = Locking::Works;
    facts
}

/// What a pool says of such a directory, to somebody who reads and to somebody who writes.
fn says(config: &FilePoolConfig, facts: &DirectoryFacts) -> [Result<(), PoolError>; 2] {
    let (site, node) = in_memory(config.clone());
    node.set_directory(facts.clone());
    [
        site.pool.usage(&site.cx()).map(drop),
        site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain).map(drop),
    ]
}

#[track_caller]
fn fine(config: &FilePoolConfig, facts: &DirectoryFacts) {
    says(config, facts).into_iter().for_each(Result::unwrap);
}

/// Neither read nor write.
#[track_caller]
fn wrong(config: &FilePoolConfig, facts: &DirectoryFacts, kind: ErrorKind, word: &str) {
    for said in says(config, facts) {
        refused(said, kind, &["pool main on host node-1", "/pool", word]);
    }
}

/// May be read, but not written.
#[track_caller]
fn read_only(config: &FilePoolConfig, facts: &DirectoryFacts, kind: ErrorKind, word: &str) {
    let [read, write] = says(config, facts);
    read.unwrap();
    refused(write, kind, &["pool main on host node-1", "/pool", word]);
}

#[test]
fn a_mount_point_without_its_mount_is_refused() {
    let config = config().on_mount_point();
    fine(&config, &mounted("/pool", "/dev/sdb1", "ext4", &["rw"]));
    wrong(
        &config,
        &mounted("/", "/dev/sda1", "ext4", &["rw"]),
        ErrorKind::Io,
        "no mount point, it belongs to what is mounted at /",
    );
    wrong(&config, &directory("/pool", true), ErrorKind::Io, "cannot tell");
}

#[test]
fn another_file_system_or_source_than_expected_is_refused() {
    let config = config()
        .expecting_file_system("xfs")
        .expecting_source("/dev/mapper/gold");
    fine(&config, &mounted("/", "/dev/mapper/gold", "xfs", &["rw"]));
    wrong(
        &config,
        &mounted("/", "/dev/mapper/gold", "ext4", &["rw"]),
        ErrorKind::Io,
        "is on ext4 and not on xfs",
    );
    wrong(
        &config,
        &mounted("/", "/dev/sda1", "xfs", &["rw"]),
        ErrorKind::Io,
        "is on /dev/sda1 and not on /dev/mapper/gold",
    );
}

#[test]
fn an_nfs_pool_is_on_its_export_wherever_that_is_mounted() {
    for kind in ["nfs", "nfs4"] {
        fine(
            &nfs(),
            &mounted("/pool", EXPORT, kind, &["rw", "hard", "local_lock=none"]),
        );
        fine(
            &nfs(),
            &mounted("/", "filer:/export/gold/", kind, &["rw", "hard"]),
        );
    }
    wrong(
        &nfs(),
        &mounted("/", "/dev/sda1", "ext4", &["rw"]),
        ErrorKind::Io,
        "the export is not mounted",
    );
    wrong(
        &nfs(),
        &mounted("/pool", "filer:/export/silver", "nfs4", &["rw", "hard"]),
        ErrorKind::Io,
        "is on filer:/export/silver and not on filer:/export/gold",
    );
    wrong(&nfs(), &directory("/pool", true), ErrorKind::Io, "not mounted");
}

#[test]
fn an_nfs_mount_that_loses_writes_is_refused_unless_that_is_meant() {
    for option in ["soft", "softerr"] {
        let facts = mounted("/pool", EXPORT, "nfs4", &["rw", option]);
        wrong(&nfs(), &facts, ErrorKind::Unsupported, "lose writes");
        fine(&nfs().with_soft_mount(), &facts);
    }
}

#[test]
fn an_nfs_mount_whose_locks_stay_on_the_host_is_refused_unless_that_is_meant() {
    for option in ["nolock", "local_lock=all", "local_lock=flock", "local_lock=posix"] {
        let facts = mounted("/pool", EXPORT, "nfs", &["rw", "hard", option]);
        wrong(
            &nfs(),
            &facts,
            ErrorKind::Unsupported,
            "no other host sees the locks",
        );
        fine(&nfs().without_locks(), &facts);
        fine(&nfs().reached_by(Reach::Host), &facts);
    }
}

#[test]
fn a_shared_mount_point_is_mounted_at_the_directory_itself() {
    fine(&cluster(), &mounted("/pool", "/dev/dm-3", "gfs2", &["rw"]));
    let beside = mounted("/", "/dev/sda1", "ext4", &["rw"]);
    wrong(&cluster(), &beside, ErrorKind::Io, "no mount point");
    let config = cluster().expecting_file_system("ocfs2");
    let other = mounted("/pool", "/dev/dm-3", "gfs2", &["rw"]);
    wrong(&config, &other, ErrorKind::Io, "is on gfs2 and not on ocfs2");
}

#[test]
fn hosts_that_share_a_pool_need_locks_unless_that_is_said() {
    let mut facts = mounted("/pool", "/dev/dm-3", "gfs2", &["rw"]);
    facts.locking = Locking::Missing;
    read_only(&cluster(), &facts, ErrorKind::Unsupported, "without locks");
    fine(&cluster().without_locks(), &facts);
    fine(&config(), &facts);
}

#[test]
fn clocks_that_are_apart_stop_a_shared_pool_and_not_a_local_one() {
    for skew in [-5001, 5001] {
        let mut facts = mounted("/pool", "/dev/dm-3", "gfs2", &["rw"]);
        facts.clock_skew = Some(skew);
        let word = format!("is {skew} ms off the host's, more than 5000 ms");
        read_only(&cluster(), &facts, ErrorKind::Io, &word);
        fine(
            &cluster().with_clock_skew_up_to(Duration::from_millis(5001)),
            &facts,
        );
        fine(&config(), &facts);
        facts.clock_skew = Some(skew - skew.signum());
        fine(&cluster(), &facts);
    }
}

#[test]
fn the_kind_of_pool_says_who_reaches_it() {
    for (config, reach) in [
        (config(), Reach::Host),
        (nfs(), Reach::Zone),
        (cluster(), Reach::Cluster),
        (nfs().reached_by(Reach::Cluster), Reach::Cluster),
    ] {
        assert_eq!(FilePool::open(config).unwrap().capabilities().reach, reach);
    }
}

#[test]
fn what_is_no_export_is_refused_before_anything_is_asked() {
    for export in ["", "filer", ":/export", "/export", "filer:export"] {
        let config = FilePoolConfig::nfs("main".parse().unwrap(), "/pool".into(), export);
        refused(
            FilePool::open(config),
            ErrorKind::InvalidRequest,
            &["pool main", "server:/path"],
        );
    }
}

/// Two hosts of a shared pool.
fn two(config: FilePoolConfig) -> (Site<RegisteredEndpoints>, [Arc<MemoryEndpoint>; 2]) {
    let nodes = ["node-1", "node-2"].map(|name| host(name, &[Capability::PlainImages]));
    let mut hosts = RegisteredEndpoints::new();
    for node in &nodes {
        node.set_directory(mounted("/pool", EXPORT, "nfs4", &["rw", "hard"]));
        hosts.register(node.clone());
    }
    (Site::new(config, hosts), nodes)
}

fn hangs(command: &HostCommand<'_>) -> Option<EndpointError> {
    let message = "/pool did not answer within 30 s";
    matches!(command, HostCommand::OpenDirectory(_))
        .then(|| EndpointError::new(ErrorKind::Io, command.name(), message))
}

#[test]
fn a_host_whose_mount_hangs_or_is_gone_is_passed_over_while_another_one_works() {
    let (site, [one, other]) = two(nfs());
    let create = |name| site.create(name, MIB, DiskFormat::Raw, VolumeKey::Plain);
    one.fail_when(hangs);
    create("v").unwrap();
    assert_eq!((one.paths().len(), other.paths().len()), (0, 1));
    other.fail_when(hangs);
    refused(create("w"), ErrorKind::Io, &["host node-1", "did not answer"]);
    other.fail_when(|_| None);
    one.fail_when(|_| None);
    one.set_directory(mounted("/", "/dev/sda1", "ext4", &["rw"]));
    create("x").unwrap();
    assert_eq!((one.paths().len(), other.paths().len()), (0, 2));
    let attached = site
        .pool
        .attach(&site.cx(), &"v".parse().unwrap(), &"node-1".parse().unwrap());
    refused(attached, ErrorKind::Io, &["host node-1", "not mounted"]);
}

#[test]
fn a_local_pool_is_looked_for_on_one_host_alone() {
    let (site, [one, other]) = two(config());
    one.fail_when(hangs);
    let made = site.create("v", MIB, DiskFormat::Raw, VolumeKey::Plain);
    refused(made, ErrorKind::Io, &["host node-1", "did not answer"]);
    assert!(other.commands().is_empty());
}
