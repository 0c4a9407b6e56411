//! Machines start on encrypted disks, and on nothing that is not what is said.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use strongroom_endpoint_selector::{
    DiskContent, ErrorKind, HostAnswer, InspectVm, PauseVm, ResumeVm, StartVm, VmDisk, VmState,
};
use strongroom_exec::SystemRunner;
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_lab::find_in;
use strongroom_secret::Passphrase;
use strongroom_types::{Call, EncryptionFormat, VmId};

use crate::world::{MIB, QCOW2, RAW, World, refused, size};

#[test]
fn a_guest_on_four_encrypted_disks_with_four_keys_leaves_its_text_in_none_of_them_and_no_key_behind() {
    let world = World::new();
    let volumes = [
        world.volume("one.qcow2", QCOW2, "vda"),
        world.volume("two.luks", RAW, "vdb"),
        world.volume("three.qcow2", QCOW2, "vdc"),
        world.plain_volume("four.raw", RAW, "vdd"),
    ];
    let disks: Vec<VmDisk<'_>> = volumes.iter().map(|volume| volume.for_guest()).collect();
    let mut guest = world.start(&disks);
    world.no_secrets();
    for (number, volume) in volumes.iter().enumerate() {
        let (disk, text) = (volume.target.as_str(), format!("STARTCANARY{number}"));
        guest.write_canary(disk, 100, &text).unwrap();
        assert_eq!(guest.read_canary(disk, 100).unwrap(), text);
        assert_eq!(guest.disk_bytes(disk).unwrap(), 64 * MIB);
        let hits = find_in([volume.path()], &text).unwrap();
        assert_eq!(hits.is_empty(), volume.key.is_some(), "{text}: {hits:?}");
    }
    let facts = world.inspect();
    assert_eq!(facts.state, VmState::Running);
    for volume in &volumes {
        let disk = facts.disk(&volume.target).unwrap();
        assert_eq!((&disk.location, disk.format), (&volume.location, volume.format));
        assert_eq!(
            disk.encryption,
            volume.key.as_ref().map(|_| EncryptionFormat::Luks1)
        );
        assert_eq!((disk.guest, disk.below.len()), (size(64 * MIB), 0));
    }
    // The same again changes nothing; other disks are refused.
    let console = world.path("vm-1.console");
    assert_eq!(
        world.ask(StartVm::new(world.machine(&world.vm, &console, &disks))),
        facts
    );
    let fewer = StartVm::new(world.machine(&world.vm, &console, &disks[..2]));
    refused(
        world.run(fewer),
        ErrorKind::AlreadyExists,
        &["vm-1", "other disks"],
    );
    // No key is in an argument, on the host's disks, or in libvirt's logs.
    for volume in &volumes {
        let Some(key) = &volume.key else { continue };
        let text = String::from_utf8(key.expose_secret().to_vec()).unwrap();
        for command in world.runner.commands() {
            assert!(!format!("{command:?}").contains(&text), "a key is in an argument");
        }
        for place in ["/var/log/libvirt", "/etc/libvirt", "/run/libvirt"] {
            let outside = world.host().outside(place.as_ref());
            assert!(
                find_in([outside], &text).unwrap().is_empty(),
                "a key is in {place}"
            );
        }
    }
    world.power_off();
    world.power_off();
    world.nothing_runs();
    refused(
        world.run(InspectVm::new(&world.vm)),
        ErrorKind::NotFound,
        &["vm-1"],
    );
}

#[test]
fn nothing_starts_on_a_disk_that_is_not_what_is_said_and_nothing_of_it_is_left() {
    let world = World::new();
    let good = world.volume("good.qcow2", QCOW2, "vda");
    let plain = world.plain_volume("plain.qcow2", QCOW2, "vdb");
    let raw = world.volume("raw.luks", RAW, "vdb");
    let stranger = Passphrase::generate().unwrap();
    let said_encrypted = plain.opened_with(&stranger);
    let said_plain = VmDisk::new(
        &raw.target,
        &raw.id,
        strongroom_endpoint_selector::Disk::new(
            &raw.location,
            RAW,
            strongroom_endpoint_selector::Protection::Plain,
        ),
    );
    let damaged = world.volume("damaged.luks", RAW, "vdb");
    let file = OpenOptions::new().write(true).open(damaged.path()).unwrap();
    file.write_all_at(b"gone", 0).unwrap();
    let missing = crate::world::Volume::named(world.path("missing.qcow2"), QCOW2, "vdb");
    let luks2 = crate::world::Volume::named(world.path("luks2.luks"), RAW, "vdb");
    let key = luks2.key.as_ref().unwrap();
    let two = strongroom_endpoint_selector::Protection::Luks {
        format: EncryptionFormat::Luks2,
        key,
    };
    world
        .run(strongroom_endpoint_selector::CreateDisk::new(
            luks2.path(),
            RAW,
            size(64 * MIB),
            two,
            DiskContent::Blank,
        ))
        .unwrap();
    let said_luks2 = VmDisk::new(
        &luks2.target,
        &luks2.id,
        strongroom_endpoint_selector::Disk::new(&luks2.location, RAW, two),
    );
    for (disk, kind, words) in [
        (said_encrypted, ErrorKind::WrongDisk, "plain"),
        (said_plain, ErrorKind::WrongDisk, "LUKS"),
        (raw.opened_with(&stranger), ErrorKind::WrongKey, "raw.luks"),
        (good.opened_with(&stranger), ErrorKind::WrongKey, "good.qcow2"),
        (damaged.for_guest(), ErrorKind::WrongDisk, "damaged.luks"),
        (missing.for_guest(), ErrorKind::NotFound, "missing.qcow2"),
        (luks2.for_guest(), ErrorKind::WrongDisk, "luks2"),
        (said_luks2, ErrorKind::Unsupported, "LUKS2"),
    ] {
        let disks = match disk.target.as_str() {
            "vda" => vec![disk],
            _ => vec![good.for_guest(), disk],
        };
        refused(world.start_paused(&disks), kind, &[words]);
        world.nothing_runs();
        world.no_secrets();
    }
    // Nothing was spoilt.
    world.start_paused(&[good.for_guest(), raw.for_guest()]).unwrap();
}

#[test]
fn a_disk_belongs_to_one_machine_at_a_time() {
    let world = World::new();
    let (one, two) = (
        world.volume("one.qcow2", QCOW2, "vda"),
        world.volume("two.luks", RAW, "vda"),
    );
    world.start_paused(&[one.for_guest()]).unwrap();
    let (other, console): (VmId, _) = ("vm-2".parse().unwrap(), world.path("vm-2.console"));
    let start = |disk| {
        let disks = [disk];
        world.run(StartVm::new(world.machine(&other, &console, &disks).paused()))
    };
    refused(start(one.for_guest()), ErrorKind::Busy, &["one.qcow2"]);
    world.no_secrets();
    start(two.for_guest()).unwrap();
    let all = world
        .run(strongroom_endpoint_selector::ReconcileVms::new(&[]))
        .unwrap();
    let HostAnswer::Vms(all) = all else {
        panic!("{all:?}")
    };
    let names: Vec<_> = all.iter().map(|vm| vm.id.as_str()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_guest_pauses_and_goes_on() {
    let world = World::new();
    let volume = world.volume("one.qcow2", QCOW2, "vda");
    let HostAnswer::Vm(facts) = world.start_paused(&[volume.for_guest()]).unwrap() else {
        panic!("no machine")
    };
    assert_eq!(facts.state, VmState::Paused);
    for _ in 0..2 {
        assert_eq!(world.ask(ResumeVm::new(&world.vm)).state, VmState::Running);
    }
    for _ in 0..2 {
        assert_eq!(world.ask(PauseVm::new(&world.vm)).state, VmState::Paused);
    }
    let other = "vm-2".parse().unwrap();
    refused(world.run(PauseVm::new(&other)), ErrorKind::NotFound, &["vm-2"]);
}

#[test]
fn an_agent_without_a_hypervisor_says_what_to_install() {
    let vm: VmId = "vm-1".parse().unwrap();
    let agent = |paths| HostAgent::new("here".parse().unwrap(), paths, Arc::new(SystemRunner::new()));
    let ask = |agent: &HostAgent| {
        use strongroom_endpoint_selector::Endpoint;
        agent.run(&Call::new(), &InspectVm::new(&vm).into())
    };
    let without = agent(ToolPaths::system());
    refused(
        ask(&without),
        ErrorKind::Unsupported,
        &["libvirt-daemon-system", "qemu:///system"],
    );
    let empty = tempfile::tempdir().unwrap();
    let no_virsh =
        agent(ToolPaths::in_directory(empty.path())).with_hypervisor("qemu:///system".parse().unwrap());
    refused(
        ask(&no_virsh),
        ErrorKind::MissingTool,
        &["virsh", "libvirt-clients"],
    );
    let socket = format!(
        "qemu+unix:///system?socket={}",
        empty.path().join("none").display()
    );
    let no_daemon = agent(ToolPaths::system()).with_hypervisor(socket.parse().unwrap());
    refused(ask(&no_daemon), ErrorKind::Tool, &["cannot be reached"]);
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}
