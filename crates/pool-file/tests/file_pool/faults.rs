use std::fs;
use std::os::unix::fs::symlink;

use strongroom_endpoint_selector::RegisteredEndpoints;
use strongroom_storage_pool::SnapshotAction::Create;
use strongroom_storage_pool::{ErrorKind, PoolDriver, PoolError, VolumeContent, VolumeKey};
use strongroom_types::DiskFormat;

use crate::machine::{Machine, Mount, agent};
use crate::site::{MIB, Site, named, refused, unnamed, volume};

type Here = Site<RegisteredEndpoints>;

/// Every operation on a pool that has a volume `v`; none may succeed.
#[track_caller]
fn nothing_works(site: &Here, kind: ErrorKind, word: &str) {
    let host = "here".parse().unwrap();
    let answers: Vec<Result<(), PoolError>> = vec![
        site.get("v").map(drop),
        site.pool.usage(&site.cx()).map(drop),
        site.pool.attach(&site.cx(), &volume("v"), &host).map(drop),
    ];
    for answer in answers {
        refused(answer, kind, &["pool main on host here", word]);
    }
    nothing_is_written(site, kind, word);
}

#[track_caller]
fn nothing_is_written(site: &Here, kind: ErrorKind, word: &str) {
    let key = site.encrypted();
    let answers: Vec<Result<(), PoolError>> = vec![
        site.create("v", MIB, DiskFormat::Qcow2, key).map(drop),
        site.create("w", MIB, DiskFormat::Raw, key).map(drop),
        site.clone("v", key, "w", key).map(drop),
        site.grow("v", 2 * MIB, key).map(drop),
        site.shrink("v", MIB / 2, key).map(drop),
        site.snapshot("v", Create, key).map(drop),
        site.flatten("v", key).map(drop),
        site.forget("t"),
        site.delete("v"),
        site.pool.recover(&site.cx()),
    ];
    for answer in answers {
        refused(answer, kind, &["pool main on host here", word]);
    }
}

/// A pool `main` with a volume `v`, beside another pool that must not notice what happens.
fn with_a_neighbour() -> (Machine, Here, Machine, Here) {
    let (machine, neighbour) = (Machine::new(), Machine::new());
    let (site, other) = (machine.site(), neighbour.site());
    for site in [&site, &other] {
        site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
            .unwrap();
    }
    (machine, site, neighbour, other)
}

#[track_caller]
fn works(site: &Here) {
    let key = site.encrypted();
    site.create("v", MIB, DiskFormat::Qcow2, key).unwrap();
    site.create("other", MIB, DiskFormat::Raw, key).unwrap();
    site.delete("other").unwrap();
}

#[test]
fn a_directory_that_vanishes_is_an_error_and_comes_back() {
    let (machine, site, _neighbour, other) = with_a_neighbour();
    let away = machine.path("away");
    fs::rename(machine.pool(), &away).unwrap();
    nothing_works(&site, ErrorKind::Io, "not there");
    assert!(!machine.pool().exists(), "it was made anew");
    works(&other);
    fs::create_dir(machine.pool()).unwrap();
    nothing_works(&site, ErrorKind::Io, "no mark of pool main");
    assert_eq!(
        fs::read_dir(machine.pool()).unwrap().count(),
        0,
        "something was written"
    );
    fs::remove_dir(machine.pool()).unwrap();
    fs::rename(&away, machine.pool()).unwrap();
    works(&site);
}

#[test]
fn a_symlink_in_place_of_the_directory_is_followed_nowhere() {
    let (machine, site, _neighbour, other) = with_a_neighbour();
    let away = machine.path("away");
    fs::rename(machine.pool(), &away).unwrap();
    symlink(&away, machine.pool()).unwrap();
    nothing_works(&site, ErrorKind::InvalidRequest, "symlink");
    site.pool.prepare(&site.cx()).unwrap_err();
    works(&other);
    fs::remove_file(machine.pool()).unwrap();
    fs::rename(&away, machine.pool()).unwrap();
    works(&site);
}

#[test]
fn a_mount_that_vanishes_is_no_empty_pool_even_to_a_program_that_was_just_started() {
    let (neighbour, machine) = (Machine::new(), Machine::new());
    let other = neighbour.site();
    let mount = Mount::tmpfs(machine.pool(), "16m");
    let site = machine.site_with(machine.config().on_mount_point());
    let unaware = machine.site();
    site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    drop(mount);
    nothing_works(&site, ErrorKind::Io, "is no mount point");
    for site in [unaware, machine.another()] {
        nothing_works(&site, ErrorKind::Io, "no mark of pool main");
    }
    assert_eq!(
        fs::read_dir(machine.pool()).unwrap().count(),
        0,
        "something was written"
    );
    let refusal = site.pool.prepare(&site.cx());
    refused(refusal, ErrorKind::Io, &["is no mount point"]);
    works(&other);
}

#[test]
fn the_file_system_of_another_pool_at_the_place_of_this_one_is_refused() {
    let (machine, site, _neighbour, other) = with_a_neighbour();
    let mount = Mount::tmpfs(machine.pool(), "16m");
    let config = strongroom_pool_file::FilePoolConfig::new("silver".parse().unwrap(), machine.pool());
    let agent = agent();
    agent.reach("silver".parse().unwrap());
    let silver = Machine::unprepared(config, agent);
    silver.pool.prepare(&silver.cx()).unwrap();
    nothing_works(&site, ErrorKind::WrongDisk, "directory of pool silver");
    refused(
        site.pool.prepare(&site.cx()),
        ErrorKind::AlreadyExists,
        &["silver"],
    );
    works(&other);
    drop(mount);
    works(&site);
}

#[test]
fn another_file_system_or_source_than_expected_is_refused_by_what_the_kernel_says() {
    let machine = Machine::new();
    let _mount = Mount::tmpfs(machine.pool(), "16m");
    let config = machine
        .config()
        .expecting_file_system("tmpfs")
        .expecting_source("tmpfs");
    let site = machine.site_with(config.clone());
    site.create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    let xfs = Machine::unprepared(config.clone().expecting_file_system("xfs"), agent());
    nothing_works(&xfs, ErrorKind::Io, "is on tmpfs and not on xfs");
    let disk = Machine::unprepared(config.expecting_source("/dev/sdb1"), agent());
    nothing_works(&disk, ErrorKind::Io, "is on tmpfs and not on /dev/sdb1");
    let nfs =
        strongroom_pool_file::FilePoolConfig::nfs("main".parse().unwrap(), machine.pool(), "filer:/gold");
    nothing_works(
        &Machine::unprepared(nfs, agent()),
        ErrorKind::Io,
        "the export is not mounted",
    );
}

#[test]
fn a_pool_that_becomes_read_only_is_still_read() {
    let (machine, neighbour) = (Machine::new(), Machine::new());
    let other = neighbour.site();
    let mount = Mount::tmpfs(machine.pool(), "16m");
    let site = machine.site();
    let made = site
        .create("v", MIB, DiskFormat::Qcow2, site.encrypted())
        .unwrap();
    mount.read_only();
    nothing_is_written(&site, ErrorKind::PermissionDenied, "cannot be written to");
    assert_eq!(site.get("v").unwrap(), Some(made));
    let host = "here".parse().unwrap();
    site.pool.attach(&site.cx(), &volume("v"), &host).unwrap();
    site.pool.usage(&site.cx()).unwrap();
    works(&other);
}

#[test]
fn a_strangers_symlink_under_the_name_of_a_template_or_a_mark_leads_nowhere() {
    let machine = Machine::new();
    let site = machine.site();
    let (image, outside) = (machine.image("image", 1, 1 << 20), machine.path("outside"));
    fs::write(&outside, vec![9; 1 << 20]).unwrap();
    symlink(&outside, machine.pool().join("templates/t.raw")).unwrap();
    let id = "t".parse().unwrap();
    for content in [
        VolumeContent::Template(named(&id, &image)),
        VolumeContent::Overlay(named(&id, &image)),
    ] {
        refused(
            site.create_with("v", MIB, DiskFormat::Qcow2, site.encrypted(), content),
            ErrorKind::WrongDisk,
            &["templates/t.raw", "symlink"],
        );
    }
    site.forget("t").unwrap_err();
    assert_eq!(fs::read(&outside).unwrap(), vec![9; 1 << 20]);
    assert!(machine.files().is_empty());
    let mark = machine.pool().join(".strongroom-pool");
    let elsewhere = machine.path("mark");
    fs::rename(&mark, &elsewhere).unwrap();
    symlink(&elsewhere, &mark).unwrap();
    site.create_with("v", MIB, DiskFormat::Qcow2, site.encrypted(), unnamed(&image))
        .unwrap_err();
    let key = VolumeKey::Plain;
    site.create("w", MIB, DiskFormat::Raw, key).unwrap_err();
    assert!(machine.files().is_empty());
}
