use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use rustix::fs::statvfs;
use strongroom_endpoint_selector::{Disk, DiskLocation, Protection, RegisteredEndpoints};
use strongroom_storage_pool::SnapshotAction::{Create, Delete};
use strongroom_storage_pool::{ErrorKind, PoolDriver, PoolError, VolumeContent};
use strongroom_types::DiskFormat;

use crate::machine::{Machine, Mount};
use crate::site::{MIB, Site, named, unnamed};

/// Fills the file system of the pool until so many bytes are free.
fn leave(machine: &Machine, bytes: u64) -> Filler {
    let path = machine.pool().join("filler");
    let mut file = File::create_new(&path).unwrap();
    let block = vec![1; 4096];
    while free(&machine.pool()) > bytes && file.write_all(&block).is_ok() {}
    file.sync_all().unwrap_or_default();
    Filler(path)
}

fn free(directory: &Path) -> u64 {
    let space = statvfs(directory).unwrap();
    space.f_bavail * space.f_frsize
}

struct Filler(std::path::PathBuf);

impl Drop for Filler {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

type Work<'w> = &'w dyn Fn(&Site<RegisteredEndpoints>) -> Result<(), PoolError>;

#[test]
fn whatever_write_finds_the_file_system_full_leaves_nothing_and_harms_nothing() {
    let machine = Machine::new();
    let _mount = Mount::ext4(machine.pool(), &machine.path("disk"), 48 << 20);
    let site = machine.site();
    let key = site.encrypted();
    let (image, kept) = (
        machine.image("image", 1, 4 << 20),
        machine.image("kept", 2, 1 << 20),
    );
    let (id, new) = ("kept".parse().unwrap(), "new".parse().unwrap());
    let overlay = VolumeContent::Overlay(named(&id, &kept));
    site.create_with("whole", 4 * MIB, DiskFormat::Qcow2, key, unnamed(&image))
        .unwrap();
    site.create_with("thin", 4 * MIB, DiskFormat::Qcow2, key, overlay)
        .unwrap();
    let before = machine.files();
    let make = |site: &Site<_>, format, content| {
        site.create_with("v", 4 * MIB, format, site.encrypted(), content)
            .map(drop)
    };
    let work: [(&str, Work<'_>); 9] = [
        ("blank qcow2", &|site| {
            make(site, DiskFormat::Qcow2, VolumeContent::Blank)
        }),
        ("blank raw", &|site| {
            make(site, DiskFormat::Raw, VolumeContent::Blank)
        }),
        ("full qcow2", &|site| {
            make(site, DiskFormat::Qcow2, unnamed(&image))
        }),
        ("full raw", &|site| make(site, DiskFormat::Raw, unnamed(&image))),
        ("kept template", &|site| {
            make(
                site,
                DiskFormat::Qcow2,
                VolumeContent::Template(named(&new, &image)),
            )
        }),
        ("overlay", &|site| make(site, DiskFormat::Qcow2, overlay)),
        ("clone", &|site| {
            site.clone("whole", site.encrypted(), "v", site.encrypted())
                .map(drop)
        }),
        ("snapshot", &|site| {
            site.snapshot("whole", Create, site.encrypted()).map(drop)
        }),
        ("flatten", &|site| {
            site.clone("thin", site.encrypted(), "v", site.encrypted())
                .map(drop)
        }),
    ];
    let mut failed = 0;
    for (what, work) in work {
        for left in [0, 128 << 10, 1 << 20, 3 << 20] {
            let filler = leave(&machine, left);
            let outcome = work(&site);
            drop(filler);
            if let Err(e) = outcome {
                failed += 1;
                assert_eq!(e.kind(), ErrorKind::NoSpace, "{what}, {left} bytes left: {e:?}");
                assert_eq!(machine.files(), before, "{what}, {left} bytes left");
                assert!(
                    machine.holds(&site, "whole", key, &image),
                    "{what}, {left} bytes left"
                );
                assert!(
                    machine.holds(&site, "thin", key, &kept),
                    "{what}, {left} bytes left"
                );
            }
            site.delete("v").unwrap();
            site.forget("new").unwrap();
            assert_eq!(machine.templates(), ["kept.raw"], "{what}, {left} bytes left");
        }
        work(&site).unwrap();
        site.delete("v").unwrap();
        site.forget("new").unwrap();
    }
    assert!(failed >= 15, "only {failed} times was the file system full");
    site.snapshot("whole", Delete, key).unwrap();
    for volume in ["whole", "thin"] {
        site.create_with(volume, 4 * MIB, DiskFormat::Qcow2, key, VolumeContent::Blank)
            .unwrap();
    }
}

#[test]
fn a_flatten_that_finds_no_space_is_finished_by_the_next_one() {
    let machine = Machine::new();
    let _mount = Mount::ext4(machine.pool(), &machine.path("disk"), 32 << 20);
    let site = machine.site();
    let (key, image, id) = (
        site.encrypted(),
        machine.image("image", 6, 8 << 20),
        "t".parse().unwrap(),
    );
    let overlay = VolumeContent::Overlay(named(&id, &image));
    site.create_with("v", 8 * MIB, DiskFormat::Qcow2, key, overlay)
        .unwrap();
    let filler = leave(&machine, 2 << 20);
    let error = site.flatten("v", key).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    assert!(machine.holds(&site, "v", key, &image));
    assert_eq!(site.get("v").unwrap().unwrap().overlay_of, Some(id.clone()));
    drop(filler);
    assert_eq!(site.flatten("v", key).unwrap().overlay_of, None);
    assert!(machine.holds(&site, "v", key, &image));
}

#[test]
fn a_copy_that_cannot_fit_is_not_begun() {
    let machine = Machine::new();
    let mount = Mount::tmpfs(machine.pool(), "10m");
    let site = machine.site();
    site.create("sparse", 1 << 40, DiskFormat::Raw, site.encrypted())
        .unwrap();
    let image = machine.image("image", 3, 12 << 20);
    let (id, elsewhere) = ("t".parse().unwrap(), DiskLocation::file(&image));
    for content in [
        VolumeContent::Template(named(&id, &image)),
        VolumeContent::Overlay(named(&id, &image)),
        unnamed(&image),
        VolumeContent::Copy(Disk::new(&elsewhere, DiskFormat::Raw, Protection::Plain)),
    ] {
        let made = site.create_with("v", 12 * MIB, DiskFormat::Qcow2, site.encrypted(), content);
        crate::site::refused(
            made,
            ErrorKind::NoSpace,
            &["main", "image takes 12 MiB", "are free"],
        );
        assert!(machine.templates().is_empty());
    }
    let usage = site.pool.usage(&site.cx()).unwrap();
    assert_eq!((usage.total.get(), usage.provisioned), (10 * MIB, None));
    let small = machine.image("small", 3, 5 << 20);
    let key = site.encrypted();
    site.create_with("v", 5 * MIB, DiskFormat::Raw, key, unnamed(&small))
        .unwrap();
    let cloned = site.clone("v", key, "w", key);
    crate::site::refused(cloned, ErrorKind::NoSpace, &["main", "v.luks takes", "are free"]);
    drop(mount);
}
