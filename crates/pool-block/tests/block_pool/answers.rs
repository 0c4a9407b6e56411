//! What the pool answers to requests that it cannot or must not meet, on a host in memory.

use std::path::Path;
use std::sync::Arc;

use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_endpoint_selector::{DeviceFacts, RegisteredEndpoints};
use strongroom_pool_block::{BlockPool, DeviceShelf, ErrorKind, ShelfDevice};
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{
    CloneKey, CloneKind, CreateVolume, Declassification, Disk, DiskLocation, Encryption, OpContext,
    PoolDriver, Reach, SizeRule, SnapshotAction, VolumeContent, VolumeKey,
};
use strongroom_types::{Call, Cancellation, DeviceSize, DiskFormat, EncryptionFormat};

use crate::site::{MIB, Memory, guest, host, pool_id, refused, volume};

const RAW: DiskFormat = DiskFormat::Raw;
const QCOW2: DiskFormat = DiskFormat::Qcow2;

#[test]
fn the_capabilities_say_what_the_pool_and_its_storage_can_do() {
    let memory = Memory::new(&[64 * MIB]);
    let pool = BlockPool::new(memory.shelf().reached_by(Reach::Cluster));
    let able = pool.capabilities();
    assert_eq!(able.encryption, Encryption::OnHost(EncryptionFormat::Luks1));
    assert_eq!(Vec::from_iter(able.formats), [RAW, QCOW2]);
    assert_eq!(able.sizes, SizeRule::DeviceRoundedTo(512));
    assert_eq!(able.reach, Reach::Cluster);
    assert_eq!(Vec::from_iter(able.snapshot_offline), [QCOW2]);
    assert_eq!(Vec::from_iter(able.clone), [CloneKind::OwnKey]);
    assert!(able.templates && able.copies && able.grow && able.revert);
    assert!(able.shrink && !able.snapshot_group && !able.discard && !able.qos);
    assert_eq!(Vec::from_iter(able.overlays), [QCOW2]);
    assert!(able.snapshot_online.is_empty());
    let plain = BlockPool::new(memory.shelf()).without_encryption();
    assert_eq!(plain.capabilities().encryption, Encryption::Unsupported);
}

#[test]
fn a_pool_that_does_not_encrypt_refuses_and_takes_no_device() {
    let memory = Memory::new(&[64 * MIB]);
    let site = memory.site();
    let pool = BlockPool::new(memory.shelf()).without_encryption();
    let id = volume("v");
    let request = CreateVolume::new(&id, guest(MIB), RAW, site.encrypted(), VolumeContent::Blank);
    refused(
        pool.create(&site.cx(), &request),
        ErrorKind::Unsupported,
        &["does not encrypt"],
    );
    assert_eq!(site.free(), 64 * MIB);
    assert!(memory.node.commands().is_empty());
}

#[test]
fn a_request_that_differs_from_the_volume_that_is_there_is_refused_and_changes_nothing() {
    for format in [RAW, QCOW2] {
        let memory = Memory::new(&[64 * MIB, 64 * MIB]);
        let site = memory.site();
        let create = |size, format, key| site.create("v", size, format, key, VolumeContent::Blank);
        let made = create(16 * MIB, format, site.encrypted()).unwrap();
        let other_format = if format == RAW { QCOW2 } else { RAW };
        let taken = |done, words: &[&str]| refused(done, ErrorKind::AlreadyExists, words);
        taken(
            create(17 * MIB, format, site.encrypted()),
            &["is there already", "16777216 bytes"],
        );
        taken(create(16 * MIB, other_format, site.encrypted()), &["luks1"]);
        taken(create(16 * MIB, format, VolumeKey::Plain), &["luks1"]);
        let other = Passphrase::generate().unwrap();
        let with_another = create(16 * MIB, format, VolumeKey::Encrypted(&other));
        refused(with_another, ErrorKind::WrongKey, &["node"]);
        assert_eq!(create(16 * MIB, format, site.encrypted()).unwrap(), made);
        assert_eq!(site.free(), 64 * MIB);
    }
}

#[test]
fn what_was_encrypted_gets_into_a_plain_volume_only_when_somebody_says_so() {
    let memory = Memory::new(&[64 * MIB, 64 * MIB]);
    let site = memory.site();
    site.create("secret", 8 * MIB, RAW, site.encrypted(), VolumeContent::Blank)
        .unwrap();
    let location = site.location("secret");
    let secret = Disk::new(
        &location,
        RAW,
        strongroom_endpoint_selector::Protection::Luks {
            format: EncryptionFormat::Luks1,
            key: &site.key,
        },
    );
    let why = Declassification { reason: "a test" };
    let create = |key, content| site.create("v", 16 * MIB, RAW, key, content);
    let invalid = |done| refused(done, ErrorKind::InvalidRequest, &["disks"]);
    invalid(create(VolumeKey::Plain, VolumeContent::Copy(secret)));
    invalid(create(site.encrypted(), VolumeContent::Declassified(secret, why)));
    assert_eq!(site.free(), 64 * MIB, "a refused request takes no device");
    create(VolumeKey::Plain, VolumeContent::Declassified(secret, why)).unwrap();
    site.delete("v").unwrap();
    create(site.encrypted(), VolumeContent::Copy(secret)).unwrap();
}

#[test]
fn a_clone_with_a_shared_key_is_refused() {
    let memory = Memory::new(&[64 * MIB, 64 * MIB]);
    let site = memory.site();
    site.create("v", 16 * MIB, RAW, site.encrypted(), VolumeContent::Blank)
        .unwrap();
    let shared = site.clone_with("v", site.encrypted(), "w", CloneKey::Shared);
    refused(shared, ErrorKind::Unsupported, &["share a key"]);
    let plain = site.clone_with("v", site.encrypted(), "w", CloneKey::Own(VolumeKey::Plain));
    refused(plain, ErrorKind::InvalidRequest, &["luks1 raw", "its clone"]);
    let onto_itself = site.clone_with("v", site.encrypted(), "v", CloneKey::Own(site.encrypted()));
    refused(onto_itself, ErrorKind::InvalidRequest, &["its own clone"]);
    let absent = site.clone_with("x", site.encrypted(), "w", CloneKey::Own(site.encrypted()));
    refused(absent, ErrorKind::NotFound, &["no volume x"]);
}

#[test]
fn work_on_a_volume_says_on_which_side_of_the_cipher_it_is() {
    let memory = Memory::new(&[64 * MIB, 64 * MIB]);
    let site = memory.site();
    let blank = VolumeContent::Blank;
    site.create("plain", 16 * MIB, QCOW2, VolumeKey::Plain, blank)
        .unwrap();
    site.create("secret", 16 * MIB, QCOW2, site.encrypted(), blank)
        .unwrap();
    for (name, key) in [("plain", site.encrypted()), ("secret", VolumeKey::Plain)] {
        refused(site.grow(name, 32 * MIB, key), ErrorKind::WrongDisk, &[name]);
        refused(
            site.snapshot(name, SnapshotAction::Create, key),
            ErrorKind::WrongDisk,
            &[name],
        );
    }
    let smaller = site.grow("secret", 8 * MIB, site.encrypted());
    refused(smaller, ErrorKind::InvalidRequest, &["would lose some"]);
    let absent = site.grow("x", 8 * MIB, site.encrypted());
    refused(absent, ErrorKind::NotFound, &["no volume x"]);
    let other = Passphrase::generate().unwrap();
    let wrong = VolumeKey::Encrypted(&other);
    refused(
        site.grow("secret", 32 * MIB, wrong),
        ErrorKind::WrongKey,
        &["node"],
    );
}

#[test]
fn only_qcow2_keeps_snapshots_on_a_shelf() {
    let memory = Memory::new(&[64 * MIB, 64 * MIB]);
    let site = memory.site();
    for (name, format) in [("raw", RAW), ("qcow2", QCOW2)] {
        site.create(name, 16 * MIB, format, site.encrypted(), VolumeContent::Blank)
            .unwrap();
    }
    let of_raw = site.snapshot("raw", SnapshotAction::Create, site.encrypted());
    refused(of_raw, ErrorKind::Unsupported, &["only qcow2"]);
    let snapshot = |action| site.snapshot("qcow2", action, site.encrypted());
    refused(snapshot(SnapshotAction::Restore), ErrorKind::NotFound, &["s"]);
    assert_eq!(snapshot(SnapshotAction::Create).unwrap().snapshots.len(), 1);
    site.grow("qcow2", 24 * MIB, site.encrypted()).unwrap();
    assert_eq!(snapshot(SnapshotAction::Restore).unwrap().guest, guest(16 * MIB));
    assert_eq!(site.get("qcow2").unwrap().unwrap().guest, guest(16 * MIB));
    assert!(snapshot(SnapshotAction::Delete).unwrap().snapshots.is_empty());
}

#[test]
fn a_device_that_is_in_use_or_not_blank_is_refused_and_stays() {
    let memory = Memory::new(&[64 * MIB]);
    let site = memory.site();
    let path = Path::new("/dev/by-id/0");
    let create = || site.create("v", 16 * MIB, RAW, site.encrypted(), VolumeContent::Blank);
    assert!(memory.node.use_device(path, Some("a mount at /data".to_owned())));
    refused(create(), ErrorKind::Busy, &["/dev/by-id/0", "a mount at /data"]);
    assert!(memory.node.use_device(path, None));
    assert_eq!(site.free(), 64 * MIB);

    create().unwrap();
    // The file was lost and, against advice, prepared anew: nobody knows any more whose the device is.
    for lost in [memory.shelf_file(), memory.shelf_file().with_extension("lock")] {
        std::fs::remove_file(lost).unwrap();
    }
    let anew = memory.site();
    let over = anew.create("w", 16 * MIB, RAW, anew.encrypted(), VolumeContent::Blank);
    refused(over, ErrorKind::AlreadyExists, &["/dev/by-id/0"]);
    assert_eq!(anew.get("w").unwrap(), None);
    assert_eq!(anew.free(), 64 * MIB);
    let commands = memory.node.commands();
    let wiped = commands.iter().filter(|c| *c == "BlankDevice").count();
    assert_eq!(wiped, 0, "{commands:?}");
}

#[test]
fn another_device_at_the_path_is_an_error_that_names_both_and_nothing_is_done_there() {
    let memory = Memory::new(&[64 * MIB]);
    let site = memory.site();
    site.create("v", 16 * MIB, RAW, site.encrypted(), VolumeContent::Blank)
        .unwrap();
    let size = DeviceSize::new(64 * MIB).unwrap();
    for (serial, size) in [
        (Some("other".to_owned()), size),
        (None, size),
        (Some("serial-0".to_owned()), DeviceSize::new(63 * MIB).unwrap()),
    ] {
        let mut facts = DeviceFacts::new("/dev/by-id/0", size);
        facts.serial = serial;
        memory.node.add_device(facts);
        let before = memory.node.commands().len();
        let wrong = |words: &[&str], done| refused(done, ErrorKind::WrongDisk, words);
        let words = ["/dev/by-id/0", "serial-0", "67108864", "nothing on it was read"];
        wrong(&words, site.get("v").map(drop));
        wrong(&words, site.delete("v"));
        wrong(&words, site.grow("v", 32 * MIB, site.encrypted()).map(drop));
        let again = site.create("v", 16 * MIB, RAW, site.encrypted(), VolumeContent::Blank);
        wrong(&words, again.map(drop));
        let attached = site
            .pool
            .attach(&site.cx(), &volume("v"), &"node".parse().unwrap());
        wrong(&words, attached.map(drop));
        let commands = memory.node.commands();
        let looked = |c: &String| c == "IdentifyDevice" || c == "RescanDevice";
        assert!(commands.iter().skip(before).all(looked), "{commands:?}");
    }
    assert!(memory.node.remove("/dev/by-id/0".as_ref()));
    refused(site.get("v"), ErrorKind::Io, &["no device at /dev/by-id/0"]);
}

#[test]
fn every_location_says_which_device_it_is_and_how_much_of_it_is_the_disk() {
    let memory = Memory::new(&[64 * MIB, 65 * MIB, 66 * MIB]);
    let site = memory.site();
    let blank = VolumeContent::Blank;
    site.create("luks", 16 * MIB, RAW, site.encrypted(), blank)
        .unwrap();
    site.create("plain", 16 * MIB, RAW, VolumeKey::Plain, blank)
        .unwrap();
    site.create("qcow2", 16 * MIB, QCOW2, site.encrypted(), blank)
        .unwrap();
    for (name, number, used) in [
        ("luks", 0, Some(18 * MIB)),
        ("plain", 1, Some(16 * MIB)),
        ("qcow2", 2, None),
    ] {
        let DiskLocation::Block(device) = site.location(name) else {
            panic!("{name}")
        };
        assert_eq!(device.path, Path::new(&format!("/dev/by-id/{number}")));
        assert_eq!(device.used.map(DeviceSize::get), used, "{name}");
        let identity = device.identity.unwrap();
        assert_eq!(identity.size.get(), (64 + number) * MIB);
        assert_eq!(identity.serial, Some(format!("serial-{number}")));
    }
}

#[test]
fn work_goes_to_a_host_that_can_do_it_and_the_refusal_says_who_cannot() {
    let memory = Memory::new(&[64 * MIB]);
    let site = memory.site();
    let mut facts = host("weak");
    facts.capabilities = Default::default();
    let mut hosts = RegisteredEndpoints::new();
    hosts.register(Arc::new(MemoryEndpoint::new(facts)));
    let (call, id) = (Call::new(), volume("v"));
    let cx = OpContext::new(&call, &hosts);
    for (format, key, lacks) in [
        (RAW, site.encrypted(), "raw-luks1"),
        (QCOW2, site.encrypted(), "qcow2-luks"),
        (RAW, VolumeKey::Plain, "plain-images"),
    ] {
        let request = CreateVolume::new(&id, guest(16 * MIB), format, key, VolumeContent::Blank);
        refused(
            site.pool.create(&cx, &request),
            ErrorKind::NoHost,
            &["weak", lacks],
        );
        assert_eq!(site.free(), 64 * MIB);
    }
}

#[test]
fn a_call_that_is_over_does_nothing() {
    let memory = Memory::new(&[64 * MIB]);
    let mut site = memory.site();
    let stop = Cancellation::new();
    site.call = Call::new().with_cancellation(stop.clone());
    stop.cancel();
    let made = site.create("v", 16 * MIB, RAW, site.encrypted(), VolumeContent::Blank);
    refused(made, ErrorKind::Cancelled, &["nothing was done"]);
    refused(site.delete("v"), ErrorKind::Cancelled, &["nothing was done"]);
    assert!(memory.node.commands().is_empty());
}

#[test]
fn a_shelf_is_given_by_absolute_paths() {
    let size = DeviceSize::new(MIB).unwrap();
    let open = |file: &str, device: &str| {
        DeviceShelf::open(pool_id(), file, [ShelfDevice::new(device, size, None)]).map(drop)
    };
    refused(
        open("shelf", "/dev/a"),
        ErrorKind::InvalidRequest,
        &["not absolute"],
    );
    refused(
        open("/shelf", "dev/a"),
        ErrorKind::InvalidRequest,
        &["not absolute"],
    );
    open("/shelf", "/dev/a").unwrap();
}
