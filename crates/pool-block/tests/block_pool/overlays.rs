//! Overlays on a template that has a device of its own.

use std::fs;

use sha2::{Digest, Sha256};
use strongroom_endpoint_selector::{ContentDigest, SourceImage};
use strongroom_pool_block::{BlockStorage, ErrorKind};
use strongroom_storage_pool::{CloneKey, PoolDriver, SnapshotAction, Template, VolumeContent, VolumeKey};
use strongroom_types::{Call, DiskFormat, TemplateId};

use crate::machine::{Machine, disk};
use crate::site::{MIB, Memory, guest, refused, volume};

const RAW: DiskFormat = DiskFormat::Raw;
const QCOW2: DiskFormat = DiskFormat::Qcow2;

fn overlay<'a>(id: &'a TemplateId, image: &'a std::path::Path) -> VolumeContent<'a> {
    VolumeContent::Overlay(Template::named(id, SourceImage::new(image, RAW)))
}

fn has(bytes: &[u8], canary: &[u8]) -> bool {
    bytes.windows(canary.len()).any(|window| window == canary)
}

#[test]
fn what_an_overlay_writes_is_ciphertext_on_its_device_and_after_a_flatten_the_device_alone_has_it_all() {
    let machine = Machine::new(&[24 * MIB, 32 * MIB]);
    let site = machine.site();
    let (id, size) = ("debian".parse().unwrap(), 20 * MIB);
    let image = machine.image("image", 1, 8 * MIB);
    let plain = fs::read(&image).unwrap()[MIB as usize..][..4096].to_vec();
    let made = site.create("v", size, QCOW2, site.encrypted(), overlay(&id, &image));
    let made = made.unwrap();
    assert_eq!((made.guest, made.overlay_of.as_ref()), (guest(size), Some(&id)));
    let host = "node".parse().unwrap();
    let at = site.pool.attach(&site.cx(), &volume("v"), &host).unwrap();
    let base = at.base.unwrap();
    assert_eq!(
        (base.path.as_path(), base.format),
        (machine.loops[0].path.as_path(), QCOW2)
    );
    let all = |number: usize, mib: u64| machine.loops[number].read(0, (mib * MIB) as usize);
    assert!(has(&all(0, 24), &plain), "the template is on its device");
    assert!(!has(&all(1, 32), &plain), "and not on the overlay's");

    let of = disk(&at.location, QCOW2, Some(&site.key)).on(Some(base.source()));
    machine.verify(of);
    assert!(machine.holds(of, &image));
    let before = all(0, 24);
    let secret = machine.image("secret", 77, MIB);
    let canary = fs::read(&secret).unwrap()[8192..][..4096].to_vec();
    machine.write(of, &secret);
    assert!(!has(&all(0, 24), &canary) && !has(&all(1, 32), &canary));
    assert!(before == all(0, 24), "nobody writes to a template");
    let content = machine.digest(of);
    refused(site.forget("debian"), ErrorKind::Busy, &["volume v", "flatten"]);

    for _ in 0..2 {
        let flat = site.flatten("v").unwrap();
        assert_eq!((flat.overlay_of, flat.guest), (None, guest(size)));
    }
    let alone = disk(&at.location, QCOW2, Some(&site.key));
    machine.verify(alone);
    assert_eq!(machine.digest(alone), content);
    assert!(
        !has(&all(1, 32), &plain),
        "the template's content became ciphertext"
    );
    site.forget("debian").unwrap();
    assert!(
        all(0, 24).iter().all(|byte| *byte == 0),
        "the template's device is blank"
    );
    assert_eq!(machine.digest(alone), content);
    assert_eq!(site.get("v").unwrap().unwrap().overlay_of, None);
}

#[test]
fn an_overlay_grows_shrinks_keeps_snapshots_and_is_cloned() {
    let machine = Machine::new(&[24 * MIB, 64 * MIB, 64 * MIB]);
    let site = machine.site();
    let id = "debian".parse().unwrap();
    let image = machine.image("image", 1, 8 * MIB);
    let made = site.create("v", 16 * MIB, QCOW2, site.encrypted(), overlay(&id, &image));
    assert_eq!(made.unwrap().overlay_of.as_ref(), Some(&id));
    for to in [20, 12] {
        let changed = match to {
            20 => site.grow("v", to * MIB, site.encrypted()),
            _ => site.shrink("v", to * MIB, site.encrypted()),
        };
        let changed = changed.unwrap();
        assert_eq!(
            (changed.guest, changed.overlay_of.as_ref()),
            (guest(to * MIB), Some(&id))
        );
    }
    let too_small = site.shrink("v", 4 * MIB, site.encrypted());
    refused(too_small, ErrorKind::InvalidRequest, &["flatten it first"]);
    let host = "node".parse().unwrap();
    let at = site.pool.attach(&site.cx(), &volume("v"), &host).unwrap();
    let base = at.base.unwrap();
    let of = disk(&at.location, QCOW2, Some(&site.key)).on(Some(base.source()));
    let content = machine.digest(of);
    site.snapshot("v", SnapshotAction::Create, site.encrypted())
        .unwrap();
    machine.write(of, &machine.image("other", 9, MIB));
    refused(site.flatten("v"), ErrorKind::Unsupported, &["snapshots inside"]);
    let clone = site.clone_with("v", site.encrypted(), "w", CloneKey::Own(site.encrypted()));
    assert_eq!(clone.unwrap().overlay_of, None);
    let copy = site.location("w");
    assert_eq!(
        machine.digest(disk(&copy, QCOW2, Some(&site.key))),
        machine.digest(of)
    );
    site.snapshot("v", SnapshotAction::Restore, site.encrypted())
        .unwrap();
    assert_eq!(machine.digest(of), content);
    site.snapshot("v", SnapshotAction::Delete, site.encrypted())
        .unwrap();
    site.flatten("v").unwrap();
}

#[test]
fn a_template_is_kept_once_and_its_device_has_a_name_that_no_volume_has() {
    let memory = Memory::new(&[64 * MIB; 4]);
    let site = memory.site();
    let (id, image) = (
        "debian".parse().unwrap(),
        std::path::Path::new("/images/debian.raw"),
    );
    memory
        .node
        .add_image(image, strongroom_types::ByteSize::bytes(8 * MIB));
    for name in ["a", "b"] {
        site.create(name, 16 * MIB, QCOW2, site.encrypted(), overlay(&id, image))
            .unwrap();
    }
    let volumes = memory.shelf().volumes(&Call::new()).unwrap();
    let names: Vec<_> = volumes.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a", "b", "kept-template-debian"]);
    let taken = site.create(
        "kept-template-x",
        MIB,
        RAW,
        VolumeKey::Plain,
        VolumeContent::Blank,
    );
    refused(taken, ErrorKind::InvalidRequest, &["give the volume another"]);
    refused(
        site.delete("kept-template-debian"),
        ErrorKind::InvalidRequest,
        &["of a template"],
    );
    assert_eq!(site.get("kept-template-debian").unwrap(), None);
    let none = site.shrink("kept-template-debian", MIB, VolumeKey::Plain);
    refused(none, ErrorKind::NotFound, &["no volume"]);
    let small = site.create("c", 4 * MIB, QCOW2, site.encrypted(), overlay(&id, image));
    refused(small, ErrorKind::InvalidRequest, &["at least as large"]);
    let long = "t".repeat(51).parse().unwrap();
    let small = site.create("c", 16 * MIB, QCOW2, site.encrypted(), overlay(&long, image));
    refused(small, ErrorKind::InvalidRequest, &["too long"]);
    let raw = site.create("c", 16 * MIB, RAW, site.encrypted(), overlay(&id, image));
    refused(raw, ErrorKind::Unsupported, &["ask for qcow2"]);
    assert_eq!(memory.shelf().volumes(&Call::new()).unwrap().len(), 3);
    site.delete("a").unwrap();
    refused(site.forget("debian"), ErrorKind::Busy, &["volume b"]);
    site.delete("b").unwrap();
    site.forget("debian").unwrap();
    assert_eq!(memory.shelf().volumes(&Call::new()).unwrap(), []);
}

#[test]
fn a_template_that_is_not_what_was_recorded_leaves_its_device_blank_and_nothing_lies_on_it() {
    let machine = Machine::new(&[24 * MIB, 32 * MIB]);
    let site = machine.site();
    let (id, size) = ("debian".parse().unwrap(), 16 * MIB);
    let image = machine.image("image", 1, 8 * MIB);
    let bytes = fs::read(&image).unwrap();
    let known = |bytes: &[u8]| ContentDigest::new(Sha256::digest(bytes).into(), guest(bytes.len() as u64));
    let right = known(&bytes);
    let create = |name: &str, known: ContentDigest| {
        let template = Template::named(&id, SourceImage::new(&image, RAW)).holding(Some(known));
        let content = VolumeContent::Overlay(template);
        site.create(name, size, QCOW2, site.encrypted(), content)
    };
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    let longer = [&bytes[..], &[0; 512]].concat();
    let text = right.to_string();
    for (wrong, words) in [
        (&other, [text.as_str(), "recorded"]),
        (&longer, ["has 8388608 bytes", "of 8389120 bytes"]),
    ] {
        refused(create("v", known(wrong)), ErrorKind::UntrustedImage, &words);
        assert_eq!(site.pool.storage().volumes(&Call::new()).unwrap(), []);
        assert_eq!(
            machine.loops[0].read(0, 24 << 20),
            vec![0; 24 << 20],
            "a blank device"
        );
    }
    create("v", right).unwrap();
    site.delete("v").unwrap();
    // Another installation's template of the same name, and one that somebody wrote to.
    refused(
        create("w", known(&other)),
        ErrorKind::UntrustedImage,
        &[
            "kept-template-debian",
            "damaged or another installation's",
            "add it again",
        ],
    );
    create("w", right).unwrap();
    site.delete("w").unwrap();
    site.forget("debian").unwrap();
    fs::write(&image, &other).unwrap();
    create("w", known(&other)).unwrap();
}
