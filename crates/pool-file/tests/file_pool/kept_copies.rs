//! A kept copy is what was recorded of its template, or nothing is made of it.

use std::fs;
use std::path::{Path, PathBuf};

use strongroom_endpoint_selector::RegisteredEndpoints;
use strongroom_storage_pool::{ErrorKind, PoolError, Volume, VolumeContent};
use strongroom_types::{DiskFormat, TemplateId};

use crate::machine::Machine;
use crate::site::{MIB, Site, named, refused};

fn template() -> TemplateId {
    "t".parse().unwrap()
}

/// Makes a volume of a template that is known to hold what is in this image.
fn make(
    machine: &Machine,
    site: &Site<RegisteredEndpoints>,
    name: &str,
    overlay: bool,
    image: &Path,
    recorded: &Path,
) -> Result<Volume, PoolError> {
    let id = template();
    let of = named(&id, image).holding(Some(machine.digest(recorded)));
    let content = match overlay {
        true => VolumeContent::Overlay(of),
        false => VolumeContent::Template(of),
    };
    site.create_with(name, MIB, DiskFormat::Qcow2, site.encrypted(), content)
}

/// The copies that are there, without the notes beside them.
fn copies(machine: &Machine) -> Vec<PathBuf> {
    let mut names = machine.templates();
    names.retain(|name| name.ends_with(".raw"));
    let directory = machine.pool().join("templates");
    names.into_iter().map(|name| directory.join(name)).collect()
}

/// Changes one byte.
fn damage(copy: &Path) {
    let mut bytes = fs::read(copy).unwrap();
    bytes[70_000] ^= 1;
    fs::write(copy, bytes).unwrap();
}

#[test]
fn another_content_of_the_same_name_is_another_copy() {
    let machine = Machine::new();
    let site = machine.site();
    let (one, two) = (machine.image("one", 3, 1 << 20), machine.image("two", 4, 1 << 20));
    make(&machine, &site, "of-one", true, &one, &one).unwrap();
    for (name, overlay) in [("full", false), ("overlay", true)] {
        make(&machine, &site, name, overlay, &two, &two).unwrap();
        assert!(machine.holds(&site, name, site.encrypted(), &two), "{name}");
    }
    assert!(machine.holds(&site, "of-one", site.encrypted(), &one));
    assert_eq!(copies(&machine).len(), 2);

    site.delete("overlay").unwrap();
    refused(site.forget("t"), ErrorKind::Busy, &["volume of-one reads from"]);
    assert_eq!(copies(&machine).len(), 1, "nothing lies on the other copy");
    assert!(machine.holds(&site, "of-one", site.encrypted(), &one));
    site.delete("of-one").unwrap();
    site.forget("t").unwrap();
    assert_eq!(machine.templates(), Vec::<String>::new());
}

#[test]
fn a_damaged_copy_that_nothing_lies_on_is_made_anew() {
    for overlay in [false, true] {
        let machine = Machine::new();
        let image = machine.image("image", 3, 1 << 20);
        make(&machine, &machine.site(), "first", false, &image, &image).unwrap();
        let copy = copies(&machine).remove(0);
        damage(&copy);
        let site = machine.site();
        make(&machine, &site, "second", overlay, &image, &image).unwrap();
        assert!(machine.holds(&site, "second", site.encrypted(), &image));
        assert_eq!(fs::read(&copy).unwrap(), fs::read(&image).unwrap());

        damage(&copy);
        fs::remove_file(&image).unwrap();
        if !overlay {
            let recorded = machine.image("recorded", 3, 1 << 20);
            refused(
                make(&machine, &site, "third", false, &image, &recorded),
                ErrorKind::NotFound,
                &["image"],
            );
            assert_eq!(
                copies(&machine),
                [copy],
                "without an image there is no other copy"
            );
        }
    }
}

#[test]
fn a_damaged_copy_that_a_volume_lies_on_is_refused_and_stays() {
    let machine = Machine::new();
    let site = machine.site();
    let image = machine.image("image", 3, 1 << 20);
    make(&machine, &site, "lies", true, &image, &image).unwrap();
    let copy = copies(&machine).remove(0);
    let sound = fs::read(&copy).unwrap();
    damage(&copy);
    let words = &["main", "is damaged", "SHA-256", "put the copy back"];
    for overlay in [false, true] {
        refused(
            make(&machine, &site, "v", overlay, &image, &image),
            ErrorKind::UntrustedImage,
            words,
        );
    }
    refused(
        site.flatten("lies", site.encrypted()),
        ErrorKind::UntrustedImage,
        words,
    );
    assert_eq!(machine.files(), ["lies.overlay.luks.qcow2"]);
    fs::write(&copy, sound).unwrap();
    make(&machine, &site, "v", false, &image, &image).unwrap();
    site.flatten("lies", site.encrypted()).unwrap();
    for name in ["v", "lies"] {
        assert!(machine.holds(&site, name, site.encrypted(), &image), "{name}");
    }
}

#[test]
fn a_copy_is_not_read_again_while_its_file_is_as_it_was() {
    let machine = Machine::new();
    let image = machine.image("image", 3, 1 << 20);
    make(&machine, &machine.site(), "first", true, &image, &image).unwrap();
    let notes = || {
        let mut names = machine.templates();
        names.retain(|name| name.ends_with(".seen"));
        names
    };
    let first = notes();
    assert_eq!(first.len(), 1, "{first:?}");
    make(&machine, &machine.site(), "second", true, &image, &image).unwrap();
    assert_eq!(notes(), first);
    // Its time of change is another one now, and its content the same.
    let copy = copies(&machine).remove(0);
    fs::write(&copy, fs::read(&copy).unwrap()).unwrap();
    make(&machine, &machine.site(), "third", true, &image, &image).unwrap();
    let third = notes();
    assert_eq!(third.len(), 1, "{third:?}");
    assert_ne!(third, first);
}
