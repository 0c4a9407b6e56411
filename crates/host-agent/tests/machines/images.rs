//! New images under a running guest: overlays, copies, backups.

use std::path::Path;

use strongroom_endpoint_selector::{
    BackUpVmDisks, CopyVmDisk, DiskContent, Endpoint, ErrorKind, FlattenVmDisk, HostAnswer, MergeVmDisk,
    RestoreVm, ResumeVm, SaveVm, SnapshotVmDisks, SourceImage, VerifyDisk, VmBackup,
};
use strongroom_lab::{Console, find_in};
use strongroom_types::{Call, Cancellation, EncryptionFormat};

use crate::devices::Loop;
use crate::world::{MIB, QCOW2, RAW, Volume, World, refused, size};

impl World {
    /// A volume that is not there.
    fn future(&self, name: &str, like: &Volume) -> Volume {
        let mut volume = Volume::named(self.path(name), QCOW2, like.target.as_str());
        volume.id = like.id.clone();
        volume.passphrase = "pp-2".parse().unwrap();
        volume
    }

    /// Fails when a text of the guest is in a file, or a key in a file or argument.
    #[track_caller]
    pub(crate) fn nothing_in_clear(&self, text: &str, volumes: &[&Volume]) {
        self.no_secrets();
        let hits = find_in([self.host().shared()], text).unwrap();
        assert!(hits.is_empty(), "{hits:?}");
        for volume in volumes {
            let Some(key) = &volume.key else { continue };
            let key = String::from_utf8(key.expose_secret().to_vec()).unwrap();
            let places = [
                self.host().shared().to_owned(),
                self.host().outside("/var/log/libvirt".as_ref()),
            ];
            assert!(
                find_in(places, &key).unwrap().is_empty(),
                "the key of {}",
                volume.id
            );
            for command in self.runner.commands() {
                assert!(!format!("{command:?}").contains(&key), "the key of {}", volume.id);
            }
        }
    }
}

fn written(guest: &mut Console, disk: &str, block: u64, text: &str) {
    guest.write_canary(disk, block, text).unwrap();
    assert_eq!(guest.read_canary(disk, block).unwrap(), text);
}

fn there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

#[test]
fn two_disks_are_frozen_at_one_instant_go_on_encrypted_and_are_merged_back() {
    let world = World::new();
    let device = Loop::of_zeros(&world, "vol-9", 34 * MIB);
    let root = world.volume("root.qcow2", QCOW2, "vda");
    let data = device.formatted(&world, "vdb");
    let plain = world.plain_volume("plain.raw", RAW, "vdc");
    let mut guest = world.start(&[root.for_guest(), data.for_guest(), plain.for_guest()]);
    written(&mut guest, "vda", 10, "SNAPCANARY0");
    let before = world.inspect();
    let (one, two) = (world.future("one.qcow2", &root), world.future("two.qcow2", &data));
    let overlays = [one.for_guest(), two.for_guest()];
    let facts = world.ask(SnapshotVmDisks::new(&world.vm, &overlays));
    for (overlay, lower) in [(&one, &root), (&two, &data)] {
        let disk = facts.disk(&overlay.target).unwrap();
        assert_eq!(
            (&disk.location, &disk.below),
            (&overlay.location, &vec![lower.location.clone()])
        );
        assert_eq!(disk.encryption, Some(EncryptionFormat::Luks1));
        assert_eq!(disk.guest, before.disk(&lower.target).unwrap().guest);
    }
    assert_eq!(facts.disk(&plain.target), before.disk(&plain.target));
    written(&mut guest, "vda", 11, "SNAPCANARY1");
    written(&mut guest, "vdb", 12, "SNAPCANARY2");
    assert_eq!(guest.read_canary("vda", 10).unwrap(), "SNAPCANARY0");
    world.nothing_in_clear("SNAPCANARY", &[&root, &data, &one, &two]);
    for target in [&root.target, &data.target] {
        for _ in 0..2 {
            world.ask(MergeVmDisk::new(&world.vm, target));
        }
    }
    assert_eq!(world.inspect(), before);
    assert!(!there(one.path()) && !there(two.path()));
    for (disk, block, text) in [
        ("vda", 10, "SNAPCANARY0"),
        ("vda", 11, "SNAPCANARY1"),
        ("vdb", 12, "SNAPCANARY2"),
    ] {
        assert_eq!(guest.read_canary(disk, block).unwrap(), text);
    }
    world.power_off();
    world.run(VerifyDisk::new(root.disk())).unwrap();
    world.run(VerifyDisk::new(data.disk())).unwrap();
}

#[test]
fn a_snapshot_that_is_refused_leaves_nothing() {
    let world = World::new();
    let root = world.volume("root.qcow2", QCOW2, "vda");
    let data = world.volume("data.luks", RAW, "vdb");
    world.start_paused(&[root.for_guest(), data.for_guest()]).unwrap();
    let before = world.inspect();
    let (one, two) = (world.future("one.qcow2", &root), world.future("two.qcow2", &data));
    let plain = world.future("one.qcow2", &root).plain();
    let mut nowhere = two.for_guest();
    let vdz = "vdz".parse().unwrap();
    nowhere.target = &vdz;
    for (overlays, kind) in [
        (vec![plain.for_guest()], ErrorKind::InvalidRequest),
        (vec![one.for_guest(), nowhere], ErrorKind::NotFound),
        (vec![one.for_guest(), one.for_guest()], ErrorKind::InvalidRequest),
        (vec![root.for_guest()], ErrorKind::AlreadyExists),
        (vec![data.for_guest()], ErrorKind::InvalidRequest),
        (vec![], ErrorKind::InvalidRequest),
    ] {
        refused(world.run(SnapshotVmDisks::new(&world.vm, &overlays)), kind, &[]);
        assert_eq!(world.inspect(), before);
    }
    // No agent answers in the guest: what was made for it goes.
    let overlays = [one.for_guest(), two.for_guest()];
    let frozen = SnapshotVmDisks::new(&world.vm, &overlays).freeze(true);
    refused(world.run(frozen), ErrorKind::Unsupported, &["does not run"]);
    world.ask(ResumeVm::new(&world.vm));
    refused(world.run(frozen), ErrorKind::Unsupported, &["agent"]);
    assert_eq!(world.inspect().disks, before.disks);
    assert!(!there(one.path()) && !there(two.path()));
    world.no_secrets();
}

#[test]
fn a_disk_is_copied_under_another_key_and_to_a_device_while_the_guest_writes() {
    let world = World::new();
    let root = world.volume("root.qcow2", QCOW2, "vda");
    let mut guest = world.start(&[root.for_guest()]);
    written(&mut guest, "vda", 10, "COPYCANARY0");
    guest
        .output("(i=1000; while true; do echo w | dd of=/dev/vda bs=4096 seek=$i conv=fsync 2>/dev/null; i=$((i+1)); done) >/dev/null 2>&1 &")
        .unwrap();
    let copy = world.future("copy.qcow2", &root);
    for _ in 0..2 {
        let facts = world.ask(CopyVmDisk::new(&world.vm, copy.for_guest()));
        assert_eq!(facts.disk(&root.target).unwrap().location, copy.location);
    }
    written(&mut guest, "vda", 11, "COPYCANARY1");
    world.nothing_in_clear("COPYCANARY", &[&root, &copy]);
    assert!(there(root.path()), "the old disk is the caller's to erase");
    // To a raw LUKS device: exactly as large behind its header, or refused before anything is written.
    let small = Loop::of_zeros(&world, "vol-8", 65 * MIB);
    let right = Loop::of_zeros(&world, "vol-9", 66 * MIB);
    let on = |device: &Loop| {
        let mut volume = world.future("third.luks", &root).on_device(&device.path);
        volume.format = RAW;
        volume.passphrase = "pp-3".parse().unwrap();
        volume
    };
    let too_small = on(&small);
    let refusal = world.run(CopyVmDisk::new(&world.vm, too_small.for_guest()));
    refused(refusal, ErrorKind::InvalidRequest, &["exactly as large"]);
    assert!(
        std::fs::read(&small.backing)
            .unwrap()
            .iter()
            .all(|byte| *byte == 0)
    );
    let third = on(&right);
    let facts = world.ask(CopyVmDisk::new(&world.vm, third.for_guest()));
    assert_eq!(
        facts.disk(&root.target).unwrap().encryption,
        Some(EncryptionFormat::Luks1)
    );
    written(&mut guest, "vda", 12, "COPYCANARY2");
    assert_eq!(guest.read_canary("vda", 10).unwrap(), "COPYCANARY0");
    world.nothing_in_clear("COPYCANARY", &[&root, &copy, &third]);
    assert!(find_in([right.path.as_str()], "COPYCANARY").unwrap().is_empty());
    world.power_off();
    for volume in [&root, &copy, &third] {
        world.run(VerifyDisk::new(volume.disk())).unwrap();
    }
}

#[test]
fn a_copy_is_never_plain_and_one_that_is_not_waited_for_leaves_nothing() {
    let world = World::new();
    let root = world.volume("root.qcow2", QCOW2, "vda");
    world.start_paused(&[root.for_guest()]).unwrap();
    let before = world.inspect();
    let plain = world.future("copy.qcow2", &root).plain();
    refused(
        world.run(CopyVmDisk::new(&world.vm, plain.for_guest())),
        ErrorKind::InvalidRequest,
        &["plain"],
    );
    let copy = world.future("copy.qcow2", &root);
    let stopped = Cancellation::new();
    let call = Call::new().with_cancellation(stopped.clone());
    let command = CopyVmDisk::new(&world.vm, copy.for_guest()).into();
    let answer = std::thread::scope(|scope| {
        let copying = scope.spawn(|| world.agent.run(&call, &command));
        while !there(copy.path()) && !copying.is_finished() {
            std::thread::yield_now();
        }
        stopped.cancel();
        copying.join().unwrap()
    });
    refused(answer, ErrorKind::Cancelled, &[]);
    assert_eq!(world.inspect(), before);
    assert!(!there(copy.path()));
    world.no_secrets();
}

#[test]
fn a_plain_disk_becomes_encrypted_while_the_guest_runs() {
    let world = World::new();
    let root = world.plain_volume("root.raw", RAW, "vda");
    let mut guest = world.start(&[root.for_guest()]);
    written(&mut guest, "vda", 10, "TURNCANARY");
    assert!(!find_in([root.path()], "TURNCANARY").unwrap().is_empty());
    let copy = world.future("copy.qcow2", &root);
    let facts = world.ask(CopyVmDisk::new(&world.vm, copy.for_guest()));
    assert_eq!(
        facts.disk(&root.target).unwrap().encryption,
        Some(EncryptionFormat::Luks1)
    );
    assert_eq!(guest.read_canary("vda", 10).unwrap(), "TURNCANARY");
    assert!(find_in([copy.path()], "TURNCANARY").unwrap().is_empty());
}

#[test]
fn an_overlay_on_a_plain_template_is_flattened_and_not_merged_into_it() {
    let world = World::new();
    let template = world.path("template.raw");
    let text = "TEMPLATECANARY\n".repeat(4096);
    std::fs::write(&template, &text.as_bytes()[..49152]).unwrap();
    let base = SourceImage::new(&template, RAW);
    let volume = world.made(
        Volume::named(world.path("root.qcow2"), QCOW2, "vda"),
        DiskContent::Overlay(base),
    );
    let mut disk = volume.for_guest();
    disk.disk = volume.disk().on(Some(base));
    let mut guest = world.start(&[disk]);
    assert_eq!(guest.read_canary("vda", 0).unwrap(), "TEMPLATECANARY");
    let merge = MergeVmDisk::new(&world.vm, &volume.target);
    refused(world.run(merge), ErrorKind::InvalidRequest, &["clear"]);
    for _ in 0..2 {
        let facts = world.ask(FlattenVmDisk::new(&world.vm, &volume.target));
        assert_eq!(facts.disk(&volume.target).unwrap().below, []);
    }
    std::fs::remove_file(&template).unwrap();
    assert_eq!(guest.read_canary("vda", 0).unwrap(), "TEMPLATECANARY");
    world.nothing_in_clear("TEMPLATECANARY", &[&volume]);
    world.power_off();
    world.run(VerifyDisk::new(volume.disk())).unwrap();
}

#[test]
fn a_backup_is_encrypted_under_its_own_key_and_an_incremental_one_has_only_what_changed() {
    let world = World::new();
    let root = world.volume("root.qcow2", QCOW2, "vda");
    let data = world.volume("data.luks", RAW, "vdb");
    let mut guest = world.start(&[root.for_guest(), data.for_guest()]);
    written(&mut guest, "vda", 10, "BACKCANARY0");
    let (full, next, of_raw) = (
        world.future("full.qcow2", &root),
        world.future("next.qcow2", &root),
        world.future("raw.qcow2", &data),
    );
    let (c1, c2) = ("c-1".parse().unwrap(), "c-2".parse().unwrap());
    let backups = [VmBackup::new(&root.target, full.for_guest())];
    world.ask(BackUpVmDisks::new(&world.vm, &backups).checkpoint(Some(&c1)));
    written(&mut guest, "vda", 11, "BACKCANARY1");
    let backups = [VmBackup::new(&root.target, next.for_guest())];
    let incremental = BackUpVmDisks::new(&world.vm, &backups).since(Some(&c1));
    world.ask(incremental.checkpoint(Some(&c2)));
    let allocated = |path: &Path| std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap()) * 512;
    assert!(allocated(next.path()) < 8 * MIB, "{}", allocated(next.path()));
    let backups = [VmBackup::new(&data.target, of_raw.for_guest())];
    let remembered = BackUpVmDisks::new(&world.vm, &backups).checkpoint(Some(&c1));
    refused(world.run(remembered), ErrorKind::Unsupported, &["full backup"]);
    assert!(!there(of_raw.path()));
    world.ask(BackUpVmDisks::new(&world.vm, &backups));
    let plain = world.future("plain.qcow2", &root).plain();
    let in_clear = [VmBackup::new(&root.target, plain.for_guest())];
    refused(
        world.run(BackUpVmDisks::new(&world.vm, &in_clear)),
        ErrorKind::InvalidRequest,
        &["plain"],
    );
    world.nothing_in_clear("BACKCANARY", &[&root, &data, &full, &next, &of_raw]);
    for volume in [&full, &next, &of_raw] {
        let verified = world.run(VerifyDisk::new(volume.disk())).unwrap();
        let HostAnswer::Verified(verified) = verified else {
            panic!("{verified:?}")
        };
        assert_eq!(verified.facts.guest, size(64 * MIB));
        let other = strongroom_endpoint_selector::Disk::new(&volume.location, QCOW2, root.protection());
        refused(world.run(VerifyDisk::new(other)), ErrorKind::WrongKey, &[]);
    }
}

#[test]
fn a_saved_guest_goes_on_where_it_was_and_its_memory_is_nowhere_in_clear() {
    let world = World::new();
    let root = world.volume("root.qcow2", QCOW2, "vda");
    let mut guest = world.start(&[root.for_guest()]);
    written(&mut guest, "vda", 10, "SAVECANARY0");
    guest
        .output("yes SAVECANARY1 | head -c 1000000 > /tmp/remembered")
        .unwrap();
    drop(guest);
    let mut memory = Volume::named(world.path("memory.luks"), RAW, "vda");
    memory.id = "vm-1-memory".parse().unwrap();
    let qcow2 = world.future("memory.qcow2", &root);
    let wrong = SaveVm::new(&world.vm, qcow2.for_guest());
    refused(world.run(wrong), ErrorKind::InvalidRequest, &["raw LUKS1"]);
    let saved = world.run(SaveVm::new(&world.vm, memory.for_guest())).unwrap();
    assert!(matches!(saved, HostAnswer::Disk(facts) if facts.encryption == Some(EncryptionFormat::Luks1)));
    world.nothing_runs();
    world.nothing_in_clear("SAVECANARY", &[&root, &memory]);
    let (console, disks) = (world.path("vm-1.console"), [root.for_guest()]);
    let machine = world.machine(&world.vm, &console, &disks);
    let stranger = strongroom_secret::Passphrase::generate().unwrap();
    let wrong_key = RestoreVm::new(machine, memory.opened_with(&stranger));
    refused(world.run(wrong_key), ErrorKind::WrongKey, &["memory.luks"]);
    world.nothing_runs();
    world.ask(RestoreVm::new(machine, memory.for_guest()));
    let mut guest = Console::connect(&console).unwrap();
    assert_eq!(guest.output("head -n 1 /tmp/remembered").unwrap(), "SAVECANARY1");
    assert_eq!(guest.read_canary("vda", 10).unwrap(), "SAVECANARY0");
    world.nothing_in_clear("SAVECANARY", &[&root, &memory]);
}
