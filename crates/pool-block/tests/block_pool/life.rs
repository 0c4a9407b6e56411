//! The life of volumes on loop devices with real tools.

use std::fs;
use std::os::unix::fs::symlink;

use strongroom_endpoint_selector::SourceImage;
use strongroom_pool_block::{DeviceShelf, ErrorKind, ShelfDevice};
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{
    CloneKey, Declassification, PoolDriver, SnapshotAction, Template, VolumeContent, VolumeKey,
};
use strongroom_types::{DeviceSize, DiskFormat};

use crate::machine::{Machine, disk, tool};
use crate::site::{MIB, guest, pool_id, refused, volume};

const RAW: DiskFormat = DiskFormat::Raw;
const QCOW2: DiskFormat = DiskFormat::Qcow2;

fn template(image: &std::path::Path) -> VolumeContent<'_> {
    VolumeContent::Template(Template::unnamed(SourceImage::new(image, RAW)))
}

#[test]
fn a_disk_has_what_was_asked_for_and_nothing_behind_it_is_written() {
    let machine = Machine::new(&[32 * MIB, 33 * MIB, 40 * MIB]);
    let canary = vec![0xc5; 4096];
    // Not even on a page, let alone on a megabyte.
    let size = 20 * MIB + 1536;
    for (number, used) in [(0, size + 2 * MIB), (1, size)] {
        machine.loops[number].write(used, &canary);
    }
    let site = machine.site();
    let image = machine.image("image", 1, size);
    site.create("secret", size, RAW, site.encrypted(), template(&image))
        .unwrap();
    site.create("plain", size, RAW, VolumeKey::Plain, template(&image))
        .unwrap();
    for (name, number, used, key) in [
        ("secret", 0, size + 2 * MIB, Some(&site.key)),
        ("plain", 1, size, None),
    ] {
        let there = site.get(name).unwrap().unwrap();
        assert_eq!(there.guest, guest(size));
        let location = site.location(name);
        let of = disk(&location, RAW, key);
        machine.verify(of);
        assert!(machine.holds(of, &image), "{name}");
        assert_eq!(machine.loops[number].read(used, 4096), canary, "{name}");
    }
    let ciphertext = machine.loops[0].read(2 * MIB, 4096);
    assert_ne!(ciphertext, fs::read(&image).unwrap()[..4096]);
    site.delete("secret").unwrap();
    site.delete("plain").unwrap();
    for (number, used) in [(0, size + 2 * MIB), (1, size)] {
        let left = machine.loops[number].read(0, usize::try_from(used).unwrap());
        assert!(
            left.iter().all(|byte| *byte == 0),
            "something is left on device {number}"
        );
        assert_eq!(machine.loops[number].read(used, 4096), canary);
    }
}

#[test]
fn a_qcow2_volume_lives_on_a_device_with_its_snapshots() {
    let machine = Machine::new(&[48 * MIB]);
    let mut site = machine.site();
    site.pool = site.pool.with_qcow2_room(200);
    let (first, second) = (
        machine.image("first", 1, 8 * MIB),
        machine.image("second", 2, 8 * MIB),
    );
    site.create("v", 16 * MIB, QCOW2, site.encrypted(), template(&first))
        .unwrap();
    let location = site.location("v");
    let of = disk(&location, QCOW2, Some(&site.key));
    let snapshot = |action| site.snapshot("v", action, site.encrypted()).unwrap();
    assert_eq!(snapshot(SnapshotAction::Create).snapshots.len(), 1);
    machine.write(of, &second);
    assert!(machine.holds(of, &second));
    snapshot(SnapshotAction::Restore);
    assert!(machine.holds(of, &first));
    assert!(snapshot(SnapshotAction::Delete).snapshots.is_empty());
    assert_eq!(
        site.grow("v", 20 * MIB, site.encrypted()).unwrap().guest,
        guest(20 * MIB)
    );
    machine.verify(of);
    assert!(machine.holds(of, &first));
    site.delete("v").unwrap();
    assert!(machine.loops[0].read(0, 48 << 20).iter().all(|byte| *byte == 0));
}

#[test]
fn a_device_that_its_operator_made_larger_is_noticed_with_the_list_as_it_was() {
    let machine = Machine::new(&[24 * MIB]);
    let site = machine.site();
    let list = machine.devices();
    site.create("v", 16 * MIB, RAW, site.encrypted(), VolumeContent::Blank)
        .unwrap();
    machine.loops[0].grow(40 * MIB);
    assert_eq!(site.get("v").unwrap().unwrap().device.get(), 24 * MIB);
    let grown = site.grow("v", 30 * MIB, site.encrypted()).unwrap();
    assert_eq!((grown.guest, grown.device.get()), (guest(30 * MIB), 40 * MIB));
    // The kernel knows it before anybody is asked.
    machine.loops[0].grow(48 * MIB);
    tool(
        "losetup",
        &["--set-capacity", machine.loops[0].path.to_str().unwrap()],
    );
    assert_eq!(site.get("v").unwrap().unwrap().guest, guest(30 * MIB));
    let anew = machine.site_with(list);
    let there = anew.get("v").unwrap().unwrap();
    assert_eq!((there.guest, there.device.get()), (guest(30 * MIB), 48 * MIB));
    let location = anew.location("v");
    machine.verify(disk(&location, RAW, Some(&site.key)));
    let more = site.grow("v", 60 * MIB, site.encrypted());
    refused(more, ErrorKind::NoSpace, &["50331648", "make the device larger"]);
    anew.delete("v").unwrap();
}

#[test]
fn a_device_by_another_name_is_the_same_device() {
    let machine = Machine::new(&[24 * MIB]);
    let site = machine.site();
    site.create("v", 16 * MIB, RAW, site.encrypted(), VolumeContent::Blank)
        .unwrap();
    let alias = machine.place.path().join("alias");
    symlink(&machine.loops[0].path, &alias).unwrap();
    let size = DeviceSize::new(24 * MIB).unwrap();
    let by = |path: &std::path::Path| ShelfDevice::new(path, size, None);
    let file = machine.place.path().join("shelf");
    let twice = [by(&machine.loops[0].path), by(&alias)];
    let twice = DeviceShelf::open(pool_id(), &file, twice);
    refused(twice, ErrorKind::InvalidRequest, &["on the list twice"]);
    let other = machine.site_with(vec![by(&alias)]);
    let taken = other.create("w", MIB, RAW, other.encrypted(), VolumeContent::Blank);
    refused(taken, ErrorKind::NoSpace, &["no device is free"]);
}

#[test]
fn a_thin_qcow2_volume_is_larger_than_its_device() {
    let machine = Machine::new(&[16 * MIB]);
    let mut site = machine.site();
    site.pool = site.pool.with_qcow2_room(10);
    let made = site.create("v", 100 * MIB, QCOW2, site.encrypted(), VolumeContent::Blank);
    assert_eq!(made.unwrap().guest, guest(100 * MIB));
    let image = machine.image("image", 1, 8 * MIB);
    let location = site.location("v");
    machine.write(disk(&location, QCOW2, Some(&site.key)), &image);
    assert!(machine.holds(disk(&location, QCOW2, Some(&site.key)), &image));
}

#[test]
fn a_volume_grows_after_its_device_did_and_keeps_its_content() {
    for format in [RAW, QCOW2] {
        let machine = Machine::new(&[24 * MIB]);
        let site = machine.site();
        let image = machine.image("image", 1, 16 * MIB);
        let made = site
            .create("v", 16 * MIB, format, site.encrypted(), template(&image))
            .unwrap();
        assert_eq!(made.device.get(), 24 * MIB);
        let to = 30 * MIB + 512;
        let too_small = site.grow("v", to, site.encrypted());
        refused(too_small, ErrorKind::NoSpace, &["make the device larger"]);
        machine.loops[0].grow(40 * MIB);
        // The operator says the new size; the host's kernel does not know of it yet.
        let serial = Some(machine.loops[0].backing.to_str().unwrap().to_owned());
        let listed = ShelfDevice::new(&machine.loops[0].path, DeviceSize::new(40 * MIB).unwrap(), serial);
        let mut later = machine.site_with(vec![listed]);
        later.key = site.key;
        let grown = later.grow("v", to, later.encrypted()).unwrap();
        assert_eq!((grown.guest, grown.device.get()), (guest(to), 40 * MIB));
        assert_eq!(later.get("v").unwrap(), Some(grown.clone()));
        assert_eq!(later.grow("v", to, later.encrypted()).unwrap(), grown);
        let location = later.location("v");
        let of = disk(&location, format, Some(&later.key));
        machine.verify(of);
        let content = machine.content(of, to);
        assert_eq!(content.get(..16 << 20), fs::read(&image).unwrap().get(..));
    }
}

#[test]
fn a_volume_does_not_grow_over_what_somebody_left_there() {
    let machine = Machine::new(&[32 * MIB, 32 * MIB]);
    let site = machine.site();
    for (number, name, key, header) in [
        (0, "plain", VolumeKey::Plain, 0),
        (1, "secret", site.encrypted(), 2 * MIB),
    ] {
        site.create(name, 16 * MIB, RAW, key, VolumeContent::Blank)
            .unwrap();
        let device = &machine.loops[number];
        device.write(20 * MIB + header, b"somebody's");
        let at = (20 * MIB + header).to_string();
        refused(
            site.grow(name, 24 * MIB, key),
            ErrorKind::AlreadyExists,
            &["not blank", &at],
        );
        assert_eq!(site.get(name).unwrap().unwrap().guest, guest(16 * MIB));
        assert_eq!(site.grow(name, 20 * MIB, key).unwrap().guest, guest(20 * MIB));
        assert_eq!(device.read(20 * MIB + header, 10), b"somebody's");
    }
}

#[test]
fn another_device_behind_the_same_path_is_not_touched() {
    let machine = Machine::new(&[24 * MIB, 24 * MIB]);
    // The name of a device is a symlink, which can lead to another one tomorrow.
    let path = machine.place.path().join("by-id");
    let leads_to = |number: usize| {
        let _ = fs::remove_file(&path);
        symlink(&machine.loops[number].path, &path).unwrap();
    };
    leads_to(0);
    let serial = Some(machine.loops[0].backing.to_str().unwrap().to_owned());
    let size = DeviceSize::new(24 * MIB).unwrap();
    let site = machine.site_with(vec![ShelfDevice::new(&path, size, serial)]);
    site.create("v", 16 * MIB, RAW, site.encrypted(), VolumeContent::Blank)
        .unwrap();
    leads_to(1);
    let words = ["backing-1", "backing-0", "nothing on it was read or written"];
    refused(site.get("v"), ErrorKind::WrongDisk, &words);
    refused(site.delete("v"), ErrorKind::WrongDisk, &words);
    refused(
        site.grow("v", 20 * MIB, site.encrypted()),
        ErrorKind::WrongDisk,
        &words,
    );
    let host = "node".parse().unwrap();
    let attached = site.pool.attach(&site.cx(), &volume("v"), &host);
    refused(attached, ErrorKind::WrongDisk, &words);
    let untouched = machine.loops[1].read(0, 24 << 20);
    assert!(untouched.iter().all(|byte| *byte == 0));
    leads_to(0);
    assert_eq!(site.get("v").unwrap().unwrap().guest, guest(16 * MIB));
}

#[test]
fn a_device_with_somebodys_data_is_refused_and_stays() {
    let machine = Machine::new(&[24 * MIB]);
    machine.loops[0].write(17 * MIB, b"somebody's");
    let site = machine.site();
    for (format, key) in [
        (RAW, site.encrypted()),
        (RAW, VolumeKey::Plain),
        (QCOW2, site.encrypted()),
    ] {
        let made = site.create("v", 17 * MIB + 512, format, key, VolumeContent::Blank);
        refused(made, ErrorKind::AlreadyExists, &["not blank", "17825792"]);
        assert_eq!(site.get("v").unwrap(), None);
    }
    assert_eq!(machine.loops[0].read(17 * MIB, 10), b"somebody's");
    // A mounted device is somebody's too, blank or not.
    machine.loops[0].write(17 * MIB, &[0; 10]);
    let claimed = fs::File::options()
        .read(true)
        .open(&machine.loops[0].path)
        .unwrap();
    drop(claimed);
    site.create("v", 17 * MIB, RAW, site.encrypted(), VolumeContent::Blank)
        .unwrap();
}

#[test]
fn copies_and_clones_go_through_both_ciphers() {
    let machine = Machine::new(&[24 * MIB, 24 * MIB, 24 * MIB, 40 * MIB]);
    let site = machine.site();
    let image = machine.image("image", 1, 16 * MIB);
    site.create("source", 16 * MIB, RAW, site.encrypted(), template(&image))
        .unwrap();
    let key = Passphrase::generate().unwrap();
    let own = CloneKey::Own(VolumeKey::Encrypted(&key));
    let clone = site.clone_with("source", site.encrypted(), "clone", own).unwrap();
    assert_eq!(clone.guest, guest(16 * MIB));
    let again = site.clone_with("source", site.encrypted(), "clone", own).unwrap();
    assert_eq!(again, clone);
    let (from, to) = (site.location("source"), site.location("clone"));
    let (source, copy) = (disk(&from, RAW, Some(&site.key)), disk(&to, RAW, Some(&key)));
    assert!(machine.holds(copy, &image));
    assert_eq!(machine.digest(copy), machine.digest(source));
    // Neither the key of the source nor its header in front of the clone's data opens the clone's content.
    let ciphertext = |number: usize| machine.loops[number].read(2 * MIB, 1 << 20);
    assert_ne!(ciphertext(0), ciphertext(1));
    let wrong = site.create("clone", 16 * MIB, RAW, site.encrypted(), VolumeContent::Blank);
    refused(wrong, ErrorKind::WrongKey, &[]);

    let why = Declassification { reason: "a test" };
    let clear = VolumeContent::Declassified(source, why);
    site.create("clear", 16 * MIB, RAW, VolumeKey::Plain, clear)
        .unwrap();
    assert!(machine.holds(disk(&site.location("clear"), RAW, None), &image));
    let moved = VolumeContent::Copy(source);
    site.create("moved", 20 * MIB, QCOW2, VolumeKey::Encrypted(&key), moved)
        .unwrap();
    assert!(machine.holds(disk(&site.location("moved"), QCOW2, Some(&key)), &image));
    assert!(machine.holds(source, &image), "the source is what it was");
}

#[test]
fn a_volume_that_is_mounted_is_not_removed_and_is_there_as_before() {
    let machine = Machine::new(&[24 * MIB]);
    let site = machine.site();
    let made = site
        .create("v", 16 * MIB, RAW, VolumeKey::Plain, VolumeContent::Blank)
        .unwrap();
    let (path, at) = (
        machine.loops[0].path.to_str().unwrap(),
        machine.place.path().join("at"),
    );
    fs::create_dir(&at).unwrap();
    // Debian: e2fsprogs.
    tool("mkfs.ext4", &["-q", "-b", "4096", path, "4096"]);
    tool("mount", &[path, at.to_str().unwrap()]);
    fs::write(at.join("file"), "content").unwrap();
    refused(site.delete("v"), ErrorKind::Busy, &[]);
    assert_eq!(fs::read_to_string(at.join("file")).unwrap(), "content");
    assert_eq!(site.get("v").unwrap(), Some(made));
    tool("umount", &[at.to_str().unwrap()]);
    site.delete("v").unwrap();
    assert!(machine.loops[0].read(0, 16 << 20).iter().all(|byte| *byte == 0));
}
