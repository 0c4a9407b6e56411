//! Machines that go from one host to another.

use std::sync::Arc;

use strongroom_endpoint_selector::{
    CreateDisk, DiskContent, Endpoint, ErrorKind, FinishIncomingVm, HostAnswer, HostCommand, InspectVm,
    MigrateVm, MigratedStorage, PrepareIncomingVm, ReconcileVms, StartVm, Vm, VmDestination,
};
use strongroom_exec::SystemRunner;
use strongroom_host_agent::HostAgent;
use strongroom_lab::{Console, Hypervisor, LINK, LabPlan, find_in};
use strongroom_secret::Passphrase;
use strongroom_types::Call;

use crate::world::{MIB, QCOW2, World, agent, refused, size};

fn run<'c>(
    agent: &HostAgent,
    command: impl Into<HostCommand<'c>>,
) -> Result<HostAnswer, strongroom_endpoint_selector::EndpointError> {
    agent.run(&Call::new(), &command.into())
}

fn no_secrets(host: &Hypervisor) {
    let done = host.virsh(["secret-list"]).unwrap();
    assert_eq!(String::from_utf8(done.stdout).unwrap().trim(), "");
}

#[test]
fn a_guest_moves_on_shared_storage_inside_tls_and_no_key_is_left_on_either_host() {
    let world = World::with(LabPlan::new());
    let root = world.volume("root.qcow2", QCOW2, "vda");
    // Of each host's own: the one that ends takes its socket away.
    let (console, disks, sizes) = (
        world.host().local().join("vm-1.console"),
        [root.for_guest()],
        [size(64 * MIB)],
    );
    let machine: Vm<'_> = world.machine(&world.vm, &console, &disks);
    world.ask(StartVm::new(machine));
    let mut guest = Console::connect(&world.host().outside(&console)).unwrap();
    guest.write_canary("vda", 10, "MOVECANARY0").unwrap();
    guest
        .output("yes MOVECANARY1 | head -c 1000000 > /tmp/remembered")
        .unwrap();
    drop(guest);
    let (here, there) = (world.host(), world.lab.second());
    let other = agent(there, Arc::new(SystemRunner::new()));
    let uri = there.migration_uri();
    let migrate = MigrateVm::new(&world.vm, VmDestination::new(&uri), MigratedStorage::Shared);
    let volumes = [&root.id];
    let finish = FinishIncomingVm::new(&world.vm, &volumes);

    // Not made ready: it stays here. Nor with another key.
    let unprepared = run(&world.agent, migrate).unwrap_err();
    assert_eq!(world.inspect().disks.len(), 1, "{unprepared}");
    let stranger = Passphrase::generate().unwrap();
    let wrong = [root.opened_with(&stranger)];
    let prepare = PrepareIncomingVm::new(
        world.machine(&world.vm, &console, &wrong),
        MigratedStorage::Shared,
        &sizes,
    );
    refused(run(&other, prepare), ErrorKind::WrongKey, &["root.qcow2"]);
    no_secrets(there);

    let prepare = PrepareIncomingVm::new(machine, MigratedStorage::Shared, &sizes);
    assert_eq!(run(&other, prepare).unwrap(), HostAnswer::Done);
    // Its keys wait as long as somebody waits for it.
    let waited = run(&other, ReconcileVms::new(&[&world.vm])).unwrap();
    assert_eq!(waited, HostAnswer::Vms(vec![]));
    let capture = here.captured(LINK).unwrap();
    assert_eq!(run(&world.agent, migrate).unwrap(), HostAnswer::Done);
    let wire = capture.stop().unwrap().file;
    let HostAnswer::Vms(came) = run(&other, finish).unwrap() else {
        panic!("no machines")
    };
    assert_eq!(came.len(), 1);
    assert!(find_in([&wire], "MOVECANARY").unwrap().is_empty());
    assert!(
        std::fs::metadata(&wire).unwrap().len() > 10 * MIB,
        "the guest's memory went over it"
    );
    refused(
        world.run(InspectVm::new(&world.vm)),
        ErrorKind::NotFound,
        &["vm-1"],
    );
    for host in [here, there] {
        no_secrets(host);
    }
    let mut guest = Console::connect(&there.outside(&console)).unwrap();
    assert_eq!(guest.output("head -n 1 /tmp/remembered").unwrap(), "MOVECANARY1");
    assert_eq!(guest.read_canary("vda", 10).unwrap(), "MOVECANARY0");
}

#[test]
fn a_machine_that_does_not_come_leaves_neither_key_nor_disk() {
    let world = World::new();
    let root = crate::world::Volume::named(world.path("root.qcow2"), QCOW2, "vda");
    let (console, disks, sizes) = (world.path("vm-1.console"), [root.for_guest()], [size(64 * MIB)]);
    let machine = world.machine(&world.vm, &console, &disks);
    let prepare = PrepareIncomingVm::new(machine, MigratedStorage::Copied, &sizes);
    let volumes = [&root.id];
    for reconciled in [false, true] {
        assert_eq!(world.run(prepare).unwrap(), HostAnswer::Done);
        assert!(root.path().exists() && world.secrets().contains("strongroom/root/pp-1"));
        let gone = if reconciled {
            world.run(ReconcileVms::new(&[])).unwrap()
        } else {
            world.run(FinishIncomingVm::new(&world.vm, &volumes)).unwrap()
        };
        assert_eq!(gone, HostAnswer::Vms(vec![]));
        assert!(!root.path().exists());
        world.no_secrets();
    }
    // A disk that was there before stays, and has to be what is said.
    let create = CreateDisk::new(
        root.path(),
        QCOW2,
        size(32 * MIB),
        root.protection(),
        DiskContent::Blank,
    );
    world.run(create).unwrap();
    refused(world.run(prepare), ErrorKind::WrongDisk, &["bytes instead of"]);
    assert!(root.path().exists());
    world.no_secrets();
    let mismatched = PrepareIncomingVm::new(machine, MigratedStorage::Copied, &[]);
    refused(world.run(mismatched), ErrorKind::InvalidRequest, &["sizes"]);
}
