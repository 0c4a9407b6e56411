use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use strongroom_endpoint_selector::ContentDigest;
use strongroom_secret::Passphrase;
use strongroom_storage_pool::SnapshotAction::{Create, Restore};
use strongroom_storage_pool::{ErrorKind, SourceImage, Template, VolumeContent, VolumeKey};
use strongroom_types::{DiskFormat, TemplateId};

use crate::machine::{Machine, attached};
use crate::site::{MIB, guest, named, refused, unnamed};

fn template() -> TemplateId {
    "debian-12".parse().unwrap()
}

/// Whether a sector of the image lies in the file as it is. Both formats keep sectors aligned.
fn open_to_see(file: &Path, image: &Path) -> bool {
    let (raw, plain) = (fs::read(file).unwrap(), fs::read(image).unwrap());
    let sectors: HashSet<&[u8]> = plain.chunks(512).collect();
    raw.chunks(512).any(|sector| sectors.contains(sector))
}

#[test]
fn an_overlay_reads_its_template_and_encrypts_what_is_written() {
    let machine = Machine::new();
    let site = machine.site();
    let (id, key) = (template(), site.encrypted());
    let (image, written) = (
        machine.image("image", 3, 1 << 20),
        machine.image("written", 7, 1 << 16),
    );
    let content = VolumeContent::Overlay(named(&id, &image));
    let made = site
        .create_with("v", 2 * MIB, DiskFormat::Qcow2, key, content)
        .unwrap();
    assert_eq!(
        (made.guest, &made.overlay_of),
        (guest(2 * MIB), &Some(id.clone()))
    );
    assert_eq!(machine.files(), ["v.overlay.luks.qcow2"]);
    assert_eq!(machine.templates(), ["debian-12.raw"]);
    assert_eq!(
        site.create_with("v", 2 * MIB, DiskFormat::Qcow2, key, content)
            .unwrap(),
        made,
        "the same request again"
    );
    assert_eq!(site.get("v").unwrap(), Some(made));
    let base = attached(&site, "v").base.unwrap();
    assert_eq!(base.path, machine.pool().join("templates/debian-12.raw"));
    assert!(machine.holds(&site, "v", key, &image));

    site.snapshot("v", Create, key).unwrap();
    machine.write(&site, "v", key, &written);
    let file = machine.pool().join("v.overlay.luks.qcow2");
    assert!(!open_to_see(&file, &written), "what was written lies open");
    assert!(!machine.holds(&site, "v", key, &image));
    site.snapshot("v", Restore, key).unwrap();
    assert!(machine.holds(&site, "v", key, &image));

    let grown = site.grow("v", 3 * MIB, key).unwrap();
    assert_eq!(
        (grown.guest, &grown.overlay_of),
        (guest(3 * MIB), &Some(id.clone()))
    );
    assert!(machine.holds(&site, "v", key, &image));
    let wrong = Passphrase::generate().unwrap();
    let wrong = VolumeKey::Encrypted(&wrong);
    refused(
        site.create_with("v", 3 * MIB, DiskFormat::Qcow2, wrong, content),
        ErrorKind::WrongKey,
        &["v.overlay.luks.qcow2"],
    );
    refused(
        site.flatten("v", wrong),
        ErrorKind::WrongKey,
        &["v.overlay.luks.qcow2"],
    );
}

#[test]
fn a_flattened_volume_needs_its_template_no_more() {
    let machine = Machine::new();
    let site = machine.site();
    let image = machine.image("image", 5, 1 << 20);
    for (name, key, file) in [
        ("secret", site.encrypted(), "secret.overlay.luks.qcow2"),
        ("plain", VolumeKey::Plain, "plain.overlay.qcow2"),
    ] {
        let id = template();
        let content = VolumeContent::Overlay(named(&id, &image));
        site.create_with(name, 2 * MIB, DiskFormat::Qcow2, key, content)
            .unwrap();
        refused(
            site.forget("debian-12"),
            ErrorKind::Busy,
            &[&format!("volume {name} reads from template debian-12")],
        );
        for _ in 0..2 {
            let flat = site.flatten(name, key).unwrap();
            assert_eq!((flat.guest, flat.overlay_of), (guest(2 * MIB), None));
        }
        for _ in 0..2 {
            site.forget("debian-12").unwrap();
        }
        assert!(machine.templates().is_empty());
        assert!(machine.holds(&site, name, key, &image));
        assert_eq!(attached(&site, name).base, None);
        let raw = machine.pool().join(file);
        assert_eq!(
            open_to_see(&raw, &image),
            matches!(key, VolumeKey::Plain),
            "{file}"
        );
        site.delete(name).unwrap();
        assert!(machine.files().is_empty());
    }
}

#[test]
fn a_template_whose_copy_somebody_removed_under_a_volume_is_not_forgotten() {
    let machine = Machine::new();
    let site = machine.site();
    let (id, image) = (template(), machine.image("image", 5, 1 << 20));
    let content = VolumeContent::Overlay(named(&id, &image));
    site.create_with("v", MIB, DiskFormat::Qcow2, site.encrypted(), content)
        .unwrap();
    let kept = machine.pool().join("templates/debian-12.raw");
    let aside = machine.path("aside");
    fs::rename(&kept, &aside).unwrap();
    refused(
        site.forget("debian-12"),
        ErrorKind::Busy,
        &["main", "debian-12 is not there", "volume v", "put it back"],
    );
    fs::rename(&aside, &kept).unwrap();
    refused(
        site.forget("debian-12"),
        ErrorKind::Busy,
        &["volume v reads from"],
    );
    fs::remove_file(&kept).unwrap();
    site.delete("v").unwrap();
    site.forget("debian-12").unwrap();
}

#[test]
fn an_image_that_does_not_hold_what_is_known_of_the_template_is_not_kept() {
    let machine = Machine::new();
    let site = machine.site();
    let (id, image) = (template(), machine.image("image", 5, 1 << 20));
    let known = ContentDigest::new([7; 32], guest(MIB));
    for content in [
        VolumeContent::Template(named(&id, &image).holding(Some(known))),
        VolumeContent::Overlay(named(&id, &image).holding(Some(known))),
    ] {
        refused(
            site.create_with("v", MIB, DiskFormat::Qcow2, site.encrypted(), content),
            ErrorKind::UntrustedImage,
            &["main", "SHA-256", &known.to_string(), "not what was recorded"],
        );
        assert!(machine.files().is_empty() && machine.templates().is_empty());
    }
}

#[test]
fn a_template_is_copied_once_and_not_looked_for_again() {
    let machine = Machine::new();
    let (site, other) = (machine.site(), machine.another());
    let (id, image) = (template(), machine.image("image", 9, 4 << 20));
    let start = Barrier::new(4);
    thread::scope(|scope| {
        for n in 0..4 {
            let (site, image, id, start) = (if n % 2 == 0 { &site } else { &other }, &image, &id, &start);
            scope.spawn(move || {
                start.wait();
                let content = match n {
                    0 | 1 => VolumeContent::Template(named(id, image)),
                    _ => VolumeContent::Overlay(named(id, image)),
                };
                site.create_with(
                    &format!("v{n}"),
                    4 * MIB,
                    DiskFormat::Qcow2,
                    site.encrypted(),
                    content,
                )
                .unwrap();
            });
        }
    });
    assert_eq!(machine.templates(), ["debian-12.raw"]);
    let kept = fs::read(machine.pool().join("templates/debian-12.raw")).unwrap();
    assert_eq!(kept, fs::read(&image).unwrap());
    let moved = machine.path("moved");
    fs::rename(&image, &moved).unwrap();
    let content = VolumeContent::Template(named(&id, &image));
    site.create_with("later", 4 * MIB, DiskFormat::Raw, site.encrypted(), content)
        .unwrap();
    assert!(machine.holds(&site, "later", site.encrypted(), &moved));
    for n in 0..4 {
        let site = if n % 2 == 0 { &site } else { &other };
        assert!(
            machine.holds(site, &format!("v{n}"), site.encrypted(), &moved),
            "v{n}"
        );
    }
}

#[test]
fn an_image_that_is_no_plain_image_is_not_kept() {
    let machine = Machine::new();
    let site = machine.site();
    let id = template();
    let secret = machine.path("secret");
    fs::write(&secret, vec![1; 1 << 16]).unwrap();
    let outside = machine.path("outside.qcow2");
    fs::write(&outside, with_backing_file(&secret)).unwrap();
    for format in [DiskFormat::Qcow2] {
        let image = SourceImage::new(&outside, format);
        for content in [
            VolumeContent::Template(Template::named(&id, image)),
            VolumeContent::Overlay(Template::named(&id, image)),
        ] {
            refused(
                site.create_with("v", MIB, DiskFormat::Qcow2, site.encrypted(), content),
                ErrorKind::UntrustedImage,
                &["main", "outside.qcow2", "backing file"],
            );
        }
    }
    let gone = machine.path("gone");
    refused(
        site.create_with(
            "v",
            MIB,
            DiskFormat::Raw,
            site.encrypted(),
            VolumeContent::Template(named(&id, &gone)),
        ),
        ErrorKind::NotFound,
        &["gone"],
    );
    assert!(machine.files().is_empty() && machine.templates().is_empty());
}

/// The header of a qcow2 of 64 KiB on another file: docs/interop/qcow2.txt of QEMU, section "Header".
fn with_backing_file(on: &Path) -> Vec<u8> {
    let name = on.to_str().unwrap().as_bytes();
    let mut header = b"QFI\xfb".to_vec();
    header.extend(3u32.to_be_bytes());
    header.extend(512u64.to_be_bytes());
    header.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
    header.extend(16u32.to_be_bytes());
    header.extend(65536u64.to_be_bytes());
    header.extend(0u32.to_be_bytes());
    header.extend(1u32.to_be_bytes());
    header.extend((3u64 << 16).to_be_bytes());
    header.extend((1u64 << 16).to_be_bytes());
    header.extend(1u32.to_be_bytes());
    header.extend([0; 12]);
    header.extend([0; 24]);
    header.extend(4u32.to_be_bytes());
    header.extend(104u32.to_be_bytes());
    header.resize(512, 0);
    header.extend(name);
    header.resize(4 << 16, 0);
    header
}

#[test]
fn a_template_larger_than_the_volume_is_not_even_kept() {
    let machine = Machine::new();
    let site = machine.site();
    let (id, image) = (template(), machine.image("image", 1, 2 << 20));
    for content in [
        VolumeContent::Template(named(&id, &image)),
        VolumeContent::Overlay(named(&id, &image)),
    ] {
        let made = site.create_with("v", MIB, DiskFormat::Qcow2, site.encrypted(), content);
        refused(made, ErrorKind::InvalidRequest, &["main", "at least as large"]);
    }
    assert!(machine.files().is_empty() && machine.templates().is_empty());
}

#[test]
fn the_directory_of_the_templates_is_no_way_out_of_the_pool() {
    let machine = Machine::new();
    let site = machine.site();
    let (id, image, outside) = (
        template(),
        machine.image("image", 1, 1 << 20),
        machine.path("outside"),
    );
    fs::create_dir(&outside).unwrap();
    fs::create_dir(outside.join(".strongroom-staging-0")).unwrap();
    fs::remove_dir(machine.pool().join("templates")).unwrap();
    std::os::unix::fs::symlink(&outside, machine.pool().join("templates")).unwrap();
    let content = VolumeContent::Overlay(named(&id, &image));
    site.create_with("v", MIB, DiskFormat::Qcow2, site.encrypted(), content)
        .unwrap_err();
    site.forget("debian-12").unwrap_err();
    strongroom_storage_pool::PoolDriver::recover(&site.pool, &site.cx()).unwrap_err();
    assert_eq!(
        fs::read_dir(&outside).unwrap().count(),
        1,
        "something was done outside"
    );
    site.create_with("w", MIB, DiskFormat::Qcow2, site.encrypted(), unnamed(&image))
        .unwrap();
}
