//! A storage that makes devices, maps them to hosts, and keeps snapshots of them.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use strongroom_endpoint_selector::{RegisteredEndpoints, fake::MemoryEndpoint};
use strongroom_pool_block::{BlockStorage, ErrorKind};
use strongroom_secret::Passphrase;
use strongroom_storage_pool::{
    OpContext, PoolDriver, ResizeVolume, SizeRule, SnapshotAction, SourceImage, Template, VolumeContent,
    VolumeKey,
};
use strongroom_types::DiskFormat;

use crate::array::{Array, UNIT};
use crate::fuse::End;
use crate::machine::{Machine, disk};
use crate::site::{MIB, Site, guest, refused, volume};

const RAW: DiskFormat = DiskFormat::Raw;

fn site(machine: &Machine) -> Site<Array> {
    Site::new(Array::new(machine.place.path()), machine.agent.clone())
}

fn template(image: &std::path::Path) -> VolumeContent<'_> {
    VolumeContent::Template(Template::unnamed(SourceImage::new(image, RAW)))
}

fn array(site: &Site<Array>) -> &Array {
    &site.pool.storage().inner
}

#[test]
fn a_device_is_mapped_for_the_work_and_for_whoever_attached_it() {
    let machine = Machine::new(&[]);
    let site = site(&machine);
    assert_eq!(site.pool.capabilities().sizes, SizeRule::DeviceRoundedTo(UNIT));
    assert!(site.pool.capabilities().discard);
    let image = machine.image("image", 1, 10 * MIB);
    let made = site
        .create("v", 10 * MIB, RAW, site.encrypted(), template(&image))
        .unwrap();
    assert_eq!((made.guest, made.device.get()), (guest(10 * MIB), 16 * MIB));
    let (id, host) = (volume("v"), "node".parse().unwrap());
    assert!(!array(&site).is_mapped(&id));
    let attached = site.pool.attach(&site.cx(), &id, &host).unwrap();
    assert!(attached.discard);
    assert_eq!(site.pool.attach(&site.cx(), &id, &host).unwrap(), attached);
    assert!(machine.holds(disk(&attached.location, RAW, Some(&site.key)), &image));
    // Work leaves it where it is.
    assert_eq!(site.get("v").unwrap(), Some(made));
    assert!(array(&site).is_mapped(&id));
    site.pool.detach(&site.cx(), &id, &host).unwrap();
    site.pool.detach(&site.cx(), &id, &host).unwrap();
    assert!(!array(&site).is_mapped(&id));
    site.delete("v").unwrap();
    site.pool.detach(&site.cx(), &id, &host).unwrap();
    assert!(array(&site).files().is_empty());
}

#[test]
fn nothing_is_changed_on_a_device_that_a_host_has_who_cannot_be_asked() {
    let machine = Machine::new(&[]);
    let site = site(&machine);
    let made = site.create("v", 6 * MIB, RAW, site.encrypted(), VolumeContent::Blank);
    site.location("v");
    // Another host could do all of it.
    let (mut others, facts) = (RegisteredEndpoints::new(), crate::site::host("other"));
    others.register(Arc::new(MemoryEndpoint::new(facts)));
    let (cx, id) = (OpContext::new(&site.call, &others), volume("v"));
    let words = ["host node has volume v", "detach it first"];
    refused(site.pool.delete(&cx, &id), ErrorKind::Busy, &words);
    let larger = ResizeVolume::new(&id, guest(20 * MIB), site.encrypted());
    refused(site.pool.grow(&cx, &larger), ErrorKind::Busy, &words);
    assert_eq!(site.get("v").unwrap(), Some(made.unwrap()));
    let host = "node".parse().unwrap();
    site.pool.detach(&cx, &id, &host).unwrap();
    site.delete("v").unwrap();
}

#[test]
fn a_device_that_grew_while_a_host_has_it_is_looked_at_again() {
    let machine = Machine::new(&[]);
    let site = site(&machine);
    let image = machine.image("image", 1, 10 * MIB);
    site.create("v", 10 * MIB, RAW, site.encrypted(), template(&image))
        .unwrap();
    site.location("v");
    let grown = site.grow("v", 20 * MIB, site.encrypted()).unwrap();
    assert_eq!((grown.guest, grown.device.get()), (guest(20 * MIB), 24 * MIB));
    let location = site.location("v");
    machine.verify(disk(&location, RAW, Some(&site.key)));
}

#[test]
fn a_growth_that_ended_at_any_step_is_finished_by_the_same_call() {
    let machine = Machine::new(&[]);
    for end in [End::KilledBefore, End::KilledAfter] {
        for step in 0.. {
            let site = site(&machine);
            let image = machine.image("image", 1, 6 * MIB);
            site.create("v", 6 * MIB, RAW, site.encrypted(), template(&image))
                .unwrap();
            site.fuse.arm(step, end);
            let done = site.grow("v", 14 * MIB, site.encrypted());
            if !site.fuse.disarm() {
                done.unwrap();
                assert!(step > 8, "{step}");
                site.delete("v").unwrap();
                break;
            }
            done.unwrap_err();
            let between = site.get("v").unwrap().unwrap();
            assert!([6 * MIB, 14 * MIB].contains(&between.guest.get()), "{between:?}");
            let location = site.location("v");
            machine.verify(disk(&location, RAW, Some(&site.key)));
            let grown = site.grow("v", 14 * MIB, site.encrypted()).unwrap();
            assert_eq!(grown.guest, guest(14 * MIB));
            site.delete("v").unwrap();
        }
    }
}

#[test]
fn a_snapshot_of_the_storage_brings_back_header_content_and_size() {
    for (format, encrypted) in [(RAW, true), (RAW, false), (DiskFormat::Qcow2, true)] {
        let machine = Machine::new(&[]);
        let site = site(&machine);
        let key = if encrypted {
            site.encrypted()
        } else {
            VolumeKey::Plain
        };
        let of_key = encrypted.then_some(&site.key);
        let (first, second) = (
            machine.image("first", 1, 10 * MIB),
            machine.image("second", 2, 10 * MIB),
        );
        site.create("v", 10 * MIB, format, key, template(&first)).unwrap();
        let taken = site.snapshot("v", SnapshotAction::Create, key).unwrap();
        assert_eq!(taken.snapshots.len(), 1);
        assert_eq!(site.snapshot("v", SnapshotAction::Create, key).unwrap(), taken);
        site.grow("v", 20 * MIB, key).unwrap();
        let location = site.location("v");
        machine.write(disk(&location, format, of_key), &second);
        refused(
            site.snapshot("v", SnapshotAction::Restore, key),
            ErrorKind::Busy,
            &["host node", "detach it first"],
        );
        let (id, host) = (volume("v"), "node".parse().unwrap());
        site.pool.detach(&site.cx(), &id, &host).unwrap();
        let restored = site.snapshot("v", SnapshotAction::Restore, key).unwrap();
        assert_eq!(restored.guest, guest(10 * MIB));
        assert_eq!(restored.snapshots.len(), 1);
        let location = site.location("v");
        assert!(
            machine.holds(disk(&location, format, of_key), &first),
            "{format} {encrypted}"
        );
        site.pool.detach(&site.cx(), &id, &host).unwrap();
        let deleted = site.snapshot("v", SnapshotAction::Delete, key).unwrap();
        assert!(deleted.snapshots.is_empty());
        site.snapshot("v", SnapshotAction::Delete, key).unwrap();
        refused(
            site.snapshot("v", SnapshotAction::Restore, key),
            ErrorKind::NotFound,
            &["snapshot s"],
        );
        site.delete("v").unwrap();
        assert!(array(&site).files().is_empty());
    }
}

#[test]
fn nothing_is_restored_with_a_key_that_does_not_open_the_volume_nor_over_the_cipher() {
    let machine = Machine::new(&[]);
    let site = site(&machine);
    site.create("v", 6 * MIB, RAW, site.encrypted(), VolumeContent::Blank)
        .unwrap();
    site.snapshot("v", SnapshotAction::Create, site.encrypted())
        .unwrap();
    let device = machine.place.path().join("v.lun");
    let before = fs::read(&device).unwrap();
    let other = Passphrase::generate().unwrap();
    let wrong = site.snapshot("v", SnapshotAction::Restore, VolumeKey::Encrypted(&other));
    refused(wrong, ErrorKind::WrongKey, &[]);
    assert_eq!(fs::read(&device).unwrap(), before);
    // A storage that mixed up what it keeps: the header that comes back is not there any more.
    let kept = fs::File::options()
        .write(true)
        .open(machine.place.path().join("v.s.lun"))
        .unwrap();
    kept.write_all_at(&[0; 4096], 0).unwrap();
    let restored = site.snapshot("v", SnapshotAction::Restore, site.encrypted());
    refused(restored, ErrorKind::WrongDisk, &["luks1"]);
    // A snapshot of something else is not even tried.
    let call = strongroom_types::Call::new();
    let now = array(&site).find(&call, &volume("v")).unwrap().unwrap().label;
    let plain = now.to_string().replace(":luks1:", ":plain:").parse().unwrap();
    array(&site).mislabel_snapshot(&volume("v"), &plain);
    let restored = site.snapshot("v", SnapshotAction::Restore, site.encrypted());
    refused(restored, ErrorKind::WrongDisk, &["snapshot s is plain raw"]);
}

#[test]
fn keyslots_and_header_are_gone_before_the_storage_destroys_a_device() {
    let machine = Machine::new(&[]);
    let site = site(&machine);
    site.create("v", 6 * MIB, RAW, site.encrypted(), VolumeContent::Blank)
        .unwrap();
    let device = machine.place.path().join("v.lun");
    // Killed right before the storage removes it: by then the header reads as zeros.
    for step in 0.. {
        site.fuse.arm(step, End::KilledBefore);
        let done = site.delete("v");
        assert!(
            site.fuse.disarm(),
            "the header was never zeroed before step {step}"
        );
        done.unwrap_err();
        let header = fs::read(&device).unwrap();
        if header.iter().take(2 << 20).all(|byte| *byte == 0) {
            break;
        }
    }
    assert_eq!(site.get("v").unwrap(), None);
    site.delete("v").unwrap();
    assert!(array(&site).files().is_empty());
}
