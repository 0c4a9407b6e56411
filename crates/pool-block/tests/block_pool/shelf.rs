//! The shelf and its file.

use std::fs;

use strongroom_pool_block::{BlockStorage, DeviceShelf, ErrorKind, ShelfDevice};
use strongroom_storage_pool::{PoolDriver, VolumeContent, VolumeKey};
use strongroom_types::{Call, DeviceSize, DiskFormat};

use crate::site::{MIB, Memory, guest, pool_id, refused, volume};

const RAW: DiskFormat = DiskFormat::Raw;

#[test]
fn a_process_that_starts_anew_finds_every_volume_on_its_device() {
    let memory = Memory::new(&[64 * MIB, 80 * MIB, 96 * MIB]);
    let site = memory.site();
    for (name, size) in [("a", 70), ("b", 16), ("c", 90)] {
        site.create(name, size * MIB, RAW, site.encrypted(), VolumeContent::Blank)
            .unwrap();
    }
    let again = memory.site();
    for (name, size, device) in [("a", 70, 80), ("b", 16, 64), ("c", 90, 96)] {
        let there = again.get(name).unwrap().unwrap();
        assert_eq!(
            (there.guest, there.device.get()),
            (guest(size * MIB), device * MIB)
        );
    }
    assert_eq!(again.free(), 0);
    let more = again.create("d", MIB, RAW, again.encrypted(), VolumeContent::Blank);
    refused(
        more,
        ErrorKind::NoSpace,
        &["no device is free", "3145728 are needed"],
    );
}

#[test]
fn a_file_that_is_missing_damaged_or_anothers_is_an_error_and_stays_as_it_is() {
    let memory = Memory::new(&[64 * MIB, 64 * MIB]);
    let site = memory.site();
    for name in ["a", "b"] {
        site.create(name, 16 * MIB, RAW, site.encrypted(), VolumeContent::Blank)
            .unwrap();
    }
    let file = memory.shelf_file();
    let good = fs::read_to_string(&file).unwrap();
    let half = good.get(..good.len() / 2).unwrap().to_owned();
    let commands = memory.node.commands().len();
    for (text, kind, words) in [
        (String::new(), ErrorKind::Io, "is no such file"),
        (half, ErrorKind::Io, "is no such file"),
        (
            good.replace("shelf 2", "shelf 1"),
            ErrorKind::Io,
            "says that it is",
        ),
        (
            good.replace("\"disks\"", "\"tapes\""),
            ErrorKind::AlreadyExists,
            "is that of pool \"tapes\"",
        ),
        (
            good.replace("by-id/1", "by-id/0"),
            ErrorKind::Io,
            "to two volumes",
        ),
        (
            good.replace("serial-1", "serial-0"),
            ErrorKind::Io,
            "to two volumes",
        ),
        (
            good.replace(":ready:", ":rotten:"),
            ErrorKind::Io,
            "is not the label",
        ),
        (
            good.replace("\"a\": {", "\"A\": {"),
            ErrorKind::Io,
            "an id consists of",
        ),
        (
            good.replace("67108864", "67108865"),
            ErrorKind::Io,
            "not a multiple of 512",
        ),
        // All of these could be what was written, had it been another time.
        (
            good.replace(":ready:raw:luks1:", ":ready:raw:plain:"),
            ErrorKind::Io,
            "the checksum is another",
        ),
        (
            good.replace("by-id/1", "by-id/2"),
            ErrorKind::Io,
            "edited where it has \"b\"",
        ),
        (
            good.replace("serial-1", "serial-2"),
            ErrorKind::Io,
            "the checksum is another",
        ),
        (
            good.replace("67108864", "67108352"),
            ErrorKind::Io,
            "the checksum is another",
        ),
        (
            good.replace("\"b\": {", "\"c\": {"),
            ErrorKind::Io,
            "edited where it has \"c\"",
        ),
        (
            good.replace("\"pool\"", "\"more\": 1, \"pool\""),
            ErrorKind::Io,
            "unknown field",
        ),
    ] {
        assert_ne!(text, good, "{words}");
        fs::write(&file, &text).unwrap();
        let create = site.create("c", 16 * MIB, RAW, site.encrypted(), VolumeContent::Blank);
        refused(create, kind, &[words]);
        refused(site.get("a"), kind, &[words]);
        refused(site.delete("a"), kind, &[words]);
        refused(site.pool.usage(&site.cx()), kind, &[words]);
        refused(site.pool.prepare(&site.cx()), kind, &[words]);
        refused(site.pool.recover(&site.cx()), kind, &[words]);
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
    }
    assert_eq!(
        memory.node.commands().len(),
        commands,
        "a host was asked for something"
    );
    fs::remove_file(&file).unwrap();
    refused(
        site.get("a"),
        ErrorKind::Io,
        &["is not there", "put the file back"],
    );
    fs::write(&file, &good).unwrap();
    assert_eq!(site.get("a").unwrap().unwrap().guest, guest(16 * MIB));
}

#[test]
fn a_device_that_the_list_does_not_have_as_it_was_stops_its_volume_and_no_other() {
    let memory = Memory::new(&[64 * MIB, 64 * MIB]);
    let site = memory.site();
    for name in ["a", "b"] {
        site.create(name, 16 * MIB, RAW, site.encrypted(), VolumeContent::Blank)
            .unwrap();
    }
    let size = |mib: u64| DeviceSize::new(mib * MIB).unwrap();
    let (good, call) = (memory.devices.clone(), Call::new());
    let serial = |serial: &str| Some(serial.to_owned());
    for (device, words) in [
        (None, "not on the list"),
        (
            Some(ShelfDevice::new("/dev/by-id/0", size(64), serial("x"))),
            "serial number",
        ),
        (
            Some(ShelfDevice::new("/dev/by-id/0", size(64), None)),
            "serial number",
        ),
        (
            Some(ShelfDevice::new("/dev/by-id/0", size(63), serial("serial-0"))),
            "67108864",
        ),
        // The same device by another name is not free.
        (
            Some(ShelfDevice::new("/dev/by-id/x", size(64), serial("serial-0"))),
            "not on the list",
        ),
    ] {
        let list = good.iter().skip(1).cloned().chain(device);
        let shelf = DeviceShelf::open(pool_id(), memory.shelf_file(), list).unwrap();
        refused(
            shelf.find(&call, &volume("a")),
            ErrorKind::WrongDisk,
            &[words, "/dev/by-id/0"],
        );
        assert_eq!(shelf.find(&call, &volume("b")).unwrap().unwrap().size, size(64));
        let label = shelf.find(&call, &volume("b")).unwrap().unwrap().label;
        let more = shelf.provision(&call, &volume("c"), size(1), &label);
        refused(more, ErrorKind::NoSpace, &["no device is free"]);
        assert_eq!(shelf.usage(&call).unwrap().free.get(), 0);
    }
}

#[test]
fn a_label_is_changed_only_by_whoever_knows_what_it_says() {
    let memory = Memory::new(&[64 * MIB]);
    let site = memory.site();
    site.create("v", 16 * MIB, RAW, VolumeKey::Plain, VolumeContent::Blank)
        .unwrap();
    let (shelf, call, id) = (memory.shelf(), Call::new(), volume("v"));
    let now = shelf.find(&call, &id).unwrap().unwrap().label;
    let next = now.to_string().replace(":ready:", ":leaving:").parse().unwrap();
    let other = now.to_string().replace(":ready:", ":begun:").parse().unwrap();
    let busy = shelf.relabel(&call, &id, &other, &next);
    refused(busy, ErrorKind::Busy, &["somebody else"]);
    assert_eq!(shelf.find(&call, &id).unwrap().unwrap().label, now);
    shelf.relabel(&call, &id, &now, &next).unwrap();
    shelf.relabel(&call, &id, &now, &next).unwrap();
    assert_eq!(shelf.find(&call, &id).unwrap().unwrap().label, next);
    let absent = shelf.relabel(&call, &volume("w"), &now, &next);
    refused(absent, ErrorKind::NotFound, &["volume w"]);
}

#[test]
fn while_another_holds_the_lock_a_change_waits_until_its_call_ends() {
    let memory = Memory::new(&[64 * MIB]);
    let site = memory.site();
    let mut lock = memory.shelf_file().into_os_string();
    lock.push(".lock");
    let held = fs::File::open(lock).unwrap();
    held.lock().unwrap();
    let shelf = memory.shelf();
    let call = Call::new().with_timeout(std::time::Duration::from_millis(50));
    refused(
        shelf.remove(&call, &volume("v")),
        ErrorKind::Deadline,
        &["waiting for"],
    );
    assert_eq!(site.free(), 64 * MIB, "reading needs no lock");
    held.unlock().unwrap();
    shelf.remove(&Call::new(), &volume("v")).unwrap();
}
