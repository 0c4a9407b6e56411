//! Two commands at once, and a domain that somebody else changed.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use strongroom_endpoint_selector::{
    AttachVmDisk, Endpoint, ErrorKind, HostAnswer, PauseVm, ReconcileVms, StopVm, StopVmHow, VmState,
};
use strongroom_types::Call;

use crate::hook::Hook;
use crate::world::{QCOW2, RAW, World, agent, refused};

#[test]
fn the_second_of_two_commands_for_one_machine_or_one_disk_is_busy_and_a_key_in_use_is_left_alone() {
    let world = World::new();
    let root = world.volume("root.qcow2", QCOW2, "vda");
    let data = world.volume("data.luks", RAW, "vdb");
    world.start_paused(&[root.for_guest()]).unwrap();
    // Stands still before virsh attaches the disk, with its key in libvirt.
    let (arrived, waits) = channel();
    let (go_on, told) = channel::<()>();
    let (arrived, told) = (Mutex::new(arrived), Mutex::new(told));
    let hook = Hook::before(move |_, command| {
        if format!("{command}").contains("attach-device") {
            arrived.lock().unwrap().send(()).unwrap();
            // A test that has failed lets it go, too.
            let _ = told.lock().unwrap().recv();
        }
    });
    let slow = agent(world.host(), Arc::new(hook));
    let attach = AttachVmDisk::new(&world.vm, data.for_guest());
    std::thread::scope(|scope| {
        // Goes with this closure, however it ends.
        let go_on = { go_on };
        let attaching = scope.spawn(|| slow.run(&Call::new(), &attach.into()));
        waits.recv().unwrap();
        refused(world.run(PauseVm::new(&world.vm)), ErrorKind::Busy, &["vm-1"]);
        let stop = StopVm::new(&world.vm, StopVmHow::PowerOff);
        refused(world.run(stop), ErrorKind::Busy, &["vm-1"]);
        // Another machine with the disk that is on its way to this one.
        let (other, console) = ("vm-2".parse().unwrap(), world.path("vm-2.console"));
        let disks = [data.for_guest()];
        let start = strongroom_endpoint_selector::StartVm::new(world.machine(&other, &console, &disks));
        refused(world.run(start), ErrorKind::Busy, &["data.luks"]);
        assert!(matches!(
            world.run(ReconcileVms::new(&[])),
            Ok(HostAnswer::Vms(_))
        ));
        assert!(world.secrets().contains("strongroom/data/pp-1"));
        go_on.send(()).unwrap();
        attaching.join().unwrap().unwrap();
    });
    world.no_secrets();
    assert_eq!(world.inspect().disks.len(), 2);
}

#[test]
fn keys_that_nobody_waits_for_go_and_other_peoples_stay() {
    let world = World::new();
    let strangers = world.path("secret.xml");
    let xml = "<secret ephemeral='yes' private='yes'><usage type='volume'><volume>somebody/else</volume></usage></secret>";
    std::fs::write(&strangers, xml).unwrap();
    world.virsh(&["secret-define", strangers.to_str().unwrap()]);
    let ours = strongroom_libvirt::SecretName::new(&"vol-1".parse().unwrap(), &"pp-1".parse().unwrap());
    let uuid = ours.uuid();
    let xml = format!(
        "<secret ephemeral='yes' private='yes'><uuid>{uuid}</uuid><usage type='volume'><volume>{}</volume></usage></secret>",
        ours.usage()
    );
    std::fs::write(&strangers, xml).unwrap();
    world.virsh(&["secret-define", strangers.to_str().unwrap()]);
    assert!(world.secrets().contains("strongroom/vol-1/pp-1"));
    assert_eq!(
        world.run(ReconcileVms::new(&[])).unwrap(),
        HostAnswer::Vms(vec![])
    );
    let left = world.secrets();
    assert!(
        left.contains("somebody/else") && !left.contains("strongroom"),
        "{left}"
    );
}

#[test]
fn what_somebody_else_did_to_a_machine_is_seen() {
    let world = World::new();
    let root = world.volume("root.qcow2", QCOW2, "vda");
    let data = world.volume("data.luks", RAW, "vdb");
    world.start_paused(&[root.for_guest(), data.for_guest()]).unwrap();
    world.virsh(&["resume", "vm-1"]);
    assert_eq!(world.inspect().state, VmState::Running);
    world.host().restart_libvirtd().unwrap();
    assert_eq!(world.inspect().disks.len(), 2);
    world.virsh(&["destroy", "vm-1"]);
    refused(world.run(PauseVm::new(&world.vm)), ErrorKind::NotFound, &["vm-1"]);
    // It starts anew.
    world.start_paused(&[data.for_guest(), root.for_guest()]).unwrap();
    world.host().kill_qemu("vm-1").unwrap();
    world.start_paused(&[root.for_guest()]).unwrap();
    assert_eq!(world.inspect().disks.len(), 1);
}
