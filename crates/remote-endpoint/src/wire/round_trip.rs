//! Every command goes there and comes out as it went in, with every field said.

use std::path::Path;

use strongroom_endpoint_selector as host;
use strongroom_endpoint_selector::{
    BaseImage, BlockDevice, Boot, ContentDigest, ContentSource, Declassification, DeviceIdentity, Disk,
    DiskContent, DiskFacts, DiskLocation, FileStamp, HostAnswer, HostCommand, MigratedStorage, Protection,
    SnapshotAction, SourceImage, StopVmHow, Vm, VmBackup, VmDestination, VmDisk,
};
use strongroom_secret::Passphrase;
use strongroom_types::{ByteSize, DeviceSize, DiskFormat, EncryptionFormat, GuestSize};
use zeroize::Zeroizing;

use super::answer::WireAnswer;
use super::command::WireCommand;

fn size(bytes: u64) -> GuestSize {
    GuestSize::new(bytes).unwrap()
}

/// Calls back with every command, each with all that can be said.
fn every(seen: &mut dyn FnMut(&HostCommand<'_>)) {
    let key = Passphrase::import(Zeroizing::new(b"correct horse".to_vec())).unwrap();
    let path = Path::new("/srv/p/a\u{e4}");
    let stamp = Some(FileStamp::new(1, 2, -3, 4));
    let device = DeviceSize::new(4096).unwrap();
    let identity = DeviceIdentity::new(device, Some("wwn-1".to_owned()));
    let location = &DiskLocation::Block(
        BlockDevice::new("/dev/x")
            .with_identity(identity)
            .with_used(device),
    );
    let image = SourceImage::new(Path::new("/srv/t"), DiskFormat::Qcow2).stamped(stamp);
    let luks = Protection::Luks {
        format: EncryptionFormat::Luks1,
        key: &key,
    };
    let disk = Disk::new(location, DiskFormat::Qcow2, luks).on(Some(image));
    let why = Declassification { reason: "asked for" };
    let (volume, snapshot) = (&"vol".parse().unwrap(), &"snap".parse().unwrap());
    let (vm, target) = (&"vm".parse().unwrap(), &"vda".parse().unwrap());
    let (passphrase, pool) = (&"pass".parse().unwrap(), &"pool".parse().unwrap());
    let (owner, point) = (&"owner".parse().unwrap(), &"point".parse().unwrap());
    let vm_disk = VmDisk::new(target, volume, disk)
        .opened_by(Some(passphrase))
        .with_discard(true)
        .read_only();
    let disks = [vm_disk, vm_disk];
    let boot = Boot::Kernel {
        kernel: path,
        initramfs: Some(path),
        command_line: "quiet",
    };
    let machine = Vm::new(vm, ByteSize::mib(64), 2, boot)
        .with_disks(&disks)
        .with_console(path)
        .paused();
    let backups = [VmBackup::new(target, vm_disk)];
    let destination = VmDestination::new("qemu+tls://b/system").named(Some("b"));
    let mut create = |content| {
        let digest = Some(ContentDigest::new([7; 32], size(512)));
        seen(
            &host::CreateDisk::new(path, DiskFormat::Raw, size(512), luks, content)
                .digest(digest)
                .into(),
        );
    };
    create(DiskContent::Blank);
    create(DiskContent::Template(image));
    create(DiskContent::Overlay(image));
    create(DiskContent::Copy(disk));
    create(DiskContent::Declassified(disk, why));
    let luks1 = EncryptionFormat::Luks1;
    let (machines, volumes, sizes) = ([vm, vm], [volume], [size(512), size(1024)]);
    let commands: [HostCommand<'_>; 44] = [
        host::OpenDirectory::new(path).into(),
        host::MarkDirectory::new(path, pool)
            .owner(Some(owner))
            .take_over(true)
            .into(),
        host::MakeDirectory::new(path).into(),
        host::ListDirectory::new(path).into(),
        host::IdentifyDevice::new(path).into(),
        host::RescanDevice::new(path).into(),
        host::FormatDevice::new(volume, location, luks1, &key).into(),
        host::FormatQcow2::new(volume, location, size(512), luks)
            .base(Some(image))
            .into(),
        host::ProveBlank::new(location).from(Some(device)).into(),
        host::BlankDevice::new(location).from(Some(device)).into(),
        host::InspectDisk::new(location, DiskFormat::Raw, Some(luks1))
            .base_in(Some(path))
            .into(),
        host::VerifyDisk::new(disk).into(),
        host::GrowDisk::new(disk, size(1024)).into(),
        host::ShrinkDisk::new(disk, size(1024)).into(),
        host::FlattenDisk::new(disk).into(),
        host::SnapshotDisk::new(disk, snapshot, SnapshotAction::Restore).into(),
        host::ReplaceContent::new(disk, ContentSource::Image(image)).into(),
        host::ReplaceContent::new(disk, ContentSource::Declassified(disk, why)).into(),
        host::CompareContent::new(disk, ContentSource::Disk(disk)).into(),
        host::DigestContent::new(disk).first(Some(size(512))).into(),
        host::BackUpHeader::new(disk, path).into(),
        host::EraseKeyslots::new(location, DiskFormat::Raw).into(),
        host::DeleteDisk::new(path).into(),
        host::SweepStaging::new(path).into(),
        host::StartVm::new(machine).into(),
        host::StopVm::new(vm, StopVmHow::PowerOff).into(),
        host::PauseVm::new(vm).into(),
        host::ResumeVm::new(vm).into(),
        host::InspectVm::new(vm).into(),
        host::ReconcileVms::new(&machines).into(),
        host::AttachVmDisk::new(vm, vm_disk).into(),
        host::DetachVmDisk::new(vm, target).into(),
        host::GrowVmDisk::new(vm, target, size(1024)).into(),
        host::SnapshotVmDisks::new(vm, &disks).freeze(true).into(),
        host::MergeVmDisk::new(vm, target).into(),
        host::BackUpVmDisks::new(vm, &backups)
            .checkpoint(Some(point))
            .since(Some(point))
            .into(),
        host::SaveVm::new(vm, vm_disk).into(),
        host::RestoreVm::new(machine, vm_disk).into(),
        host::CopyVmDisk::new(vm, vm_disk).into(),
        host::FlattenVmDisk::new(vm, target).into(),
        host::ChangeVmDiskKey::new(vm, vm_disk, &key)
            .named(Some(passphrase))
            .into(),
        host::PrepareIncomingVm::new(machine, MigratedStorage::Copied, &sizes).into(),
        host::MigrateVm::new(vm, destination, MigratedStorage::Shared).into(),
        host::FinishIncomingVm::new(vm, &volumes).into(),
    ];
    commands.iter().for_each(seen);
}

#[test]
fn every_command_comes_out_as_it_went_in_with_every_field_said() {
    let mut names = std::collections::BTreeSet::new();
    every(&mut |command| {
        let sent = format!("{command:?}");
        for unsaid in ["None", "false", "[]"] {
            assert!(
                !sent.contains(unsaid),
                "this test leaves something unsaid, so it could be lost: {sent}"
            );
        }
        let wire = WireCommand::of(command).unwrap();
        let bytes = super::encode_behind(0, &wire).unwrap();
        let arrived: WireCommand<'_> = super::decode(&bytes).unwrap();
        assert_eq!(arrived.name(), command.name());
        arrived.with(|command| assert_eq!(format!("{command:?}"), sent));
        names.insert(command.name());
    });
    let known: std::collections::BTreeSet<_> = WireCommand::NAMES.iter().copied().collect();
    assert_eq!(names, known);
}

#[test]
fn the_protocol_knows_every_command_that_a_host_is_documented_to_take() {
    // The enums are not exhaustive for us, so what they have is read where they are written down.
    let sources = [
        include_str!("../../../endpoint-selector/src/command.rs"),
        include_str!("../../../endpoint-selector/src/vm_command.rs"),
    ];
    for line in sources.iter().flat_map(|text| text.lines()) {
        let name = line.strip_prefix("    ").and_then(|line| line.strip_suffix(" {"));
        let name = name.filter(|name| name.chars().all(char::is_alphanumeric));
        if let Some(name) = name.filter(|name| name.starts_with(char::is_uppercase)) {
            assert!(
                WireCommand::NAMES.contains(&name),
                "{name} has no mirror in wire/command.rs"
            );
        }
    }
}

#[test]
fn a_key_arrives_whole_and_with_its_origin_and_no_debug_output_has_it() {
    for key in [
        Passphrase::generate().unwrap(),
        Passphrase::import(Zeroizing::new("p\u{e4}ssw\u{f6}rter".as_bytes().to_vec())).unwrap(),
    ] {
        let (volume, location) = ("v".parse().unwrap(), DiskLocation::block("/dev/x"));
        let command = host::FormatDevice::new(&volume, &location, EncryptionFormat::Luks2, &key).into();
        let wire = WireCommand::of(&command).unwrap();
        let bytes = super::encode_behind(0, &wire).unwrap();
        let arrived: WireCommand<'_> = super::decode(&bytes).unwrap();
        let text = String::from_utf8_lossy(key.expose_secret()).into_owned();
        assert!(!format!("{wire:?} {arrived:?}").contains(&text));
        arrived.with(|command| match command {
            HostCommand::FormatDevice(c) => {
                assert_eq!(c.key.expose_secret(), key.expose_secret());
                assert_eq!(c.key.origin(), key.origin());
            }
            other => panic!("{other:?}"),
        });
    }
}

#[test]
fn every_cut_of_a_command_is_refused() {
    every(&mut |command| {
        let bytes = super::encode_behind(0, &WireCommand::of(command).unwrap()).unwrap();
        for end in 0..bytes.len() {
            super::decode::<WireCommand<'_>>(&bytes[..end]).unwrap_err();
        }
    });
}

#[test]
fn an_answer_comes_out_as_it_went_in() {
    let mut facts = DiskFacts::new(
        DiskLocation::file("/srv/a"),
        DiskFormat::Qcow2,
        size(512),
        DeviceSize::new(1024).unwrap(),
    );
    facts.encryption = Some(EncryptionFormat::Luks1);
    facts.allocated = ByteSize::bytes(7);
    facts.payload_offset = strongroom_types::PayloadOffset::LUKS1_QEMU;
    facts.cipher = Some("aes-xts-plain64".to_owned());
    facts.snapshots = vec!["s".parse().unwrap()];
    facts.base = Some(BaseImage::new("/srv/b", DiskFormat::Raw));
    facts.stamp = Some(FileStamp::new(1, 2, 3, 4));
    facts.claims = Some("qcow2");
    let mut directory = host::DirectoryFacts::new(
        "/srv".into(),
        9,
        "ext4".to_owned(),
        ByteSize::gib(9),
        ByteSize::gib(1),
        true,
    );
    directory.pool = Some("p".parse().unwrap());
    directory.owner = Some("o".parse().unwrap());
    directory.mount = Some(host::MountFacts::new(
        "/srv",
        "/dev/a".into(),
        "ext4".into(),
        vec!["rw".into()],
    ));
    directory.locking = host::Locking::Works;
    directory.clock_skew = Some(-5);
    let mut device = host::DeviceFacts::new("/dev/a", DeviceSize::new(512).unwrap());
    device.serial = Some("s".to_owned());
    device.used_by = Some("a mount".to_owned());
    let vm_disk = host::VmDiskFacts::new(
        "vda".parse().unwrap(),
        DiskLocation::file("/o"),
        DiskFormat::Qcow2,
        Some(EncryptionFormat::Luks1),
        size(512),
    )
    .on(vec![DiskLocation::file("/u")]);
    let vm = host::VmFacts::new("m".parse().unwrap(), host::VmState::Paused, vec![vm_disk]);
    for answer in [
        HostAnswer::Done,
        HostAnswer::Disk(facts.clone()),
        HostAnswer::Verified(host::Verification::new(facts, vec!["two readers".to_owned()])),
        HostAnswer::Compared(host::Sameness::Different),
        HostAnswer::Compared(host::Sameness::Identical),
        HostAnswer::Directory(directory),
        HostAnswer::Swept(vec!["/srv/.x".into()]),
        HostAnswer::Names(vec!["a".to_owned()]),
        HostAnswer::Device(device),
        HostAnswer::Digest(ContentDigest::new([3; 32], size(512))),
        HostAnswer::Vm(vm.clone()),
        HostAnswer::Vms(vec![vm]),
    ] {
        let unsaid = format!("{answer:?}").contains("None");
        assert!(
            !unsaid,
            "this test leaves something unsaid, so it could be lost: {answer:?}"
        );
        let bytes = super::encode_behind(0, &WireAnswer::of(answer.clone()).unwrap()).unwrap();
        let arrived: WireAnswer = super::decode(&bytes).unwrap();
        assert_eq!(HostAnswer::from(arrived), answer);
    }
}
