//! Where a virtual machine runs, and what comes of hosts that fail or lie.

use std::sync::{Arc, Mutex};

use strongroom_control_plane::{ControlPlaneError, StopVmHow, VmError, VmStatus};
use strongroom_endpoint_selector::fake::MemoryEndpoint;
use strongroom_endpoint_selector::{
    Endpoint, EndpointError, HostAnswer, HostCommand, RegisteredEndpoints, VmCommand,
};
use strongroom_storage_pool::ErrorKind;
use strongroom_types::{ByteSize, Call, Capability, Finding, HostFacts, HostState};

use crate::site::{Site, able_host, add_file_pool, create, id};
use crate::vms::{disk, machine, power_off, start, vm};

#[test]
fn a_machine_with_an_encrypted_volume_wants_a_host_that_runs_such_and_a_plain_one_does_not() {
    let mut facts = able_host("local", &["main"]);
    let none = Finding::Missing("there is no libvirt".into());
    facts.capabilities.record(Capability::EncryptedVms, none);
    let (site, control) = Site::bare(facts);
    add_file_pool(&control, "main");
    machine(&control, &[("open", "plain")]);
    start(&control);
    create(&control, "root", "secret");
    let attach = |control: &strongroom_control_plane::ControlPlane| {
        control.attach_volume(&Call::new(), &vm(), &disk("vdb", "root"))
    };
    let refused = attach(&control).unwrap_err();
    assert!(matches!(refused, ControlPlaneError::NoHost { .. }), "{refused}");
    power_off(&control);
    attach(&control).unwrap();
    let refused = control.start_vm(&Call::new(), &vm(), None).unwrap_err();
    let ControlPlaneError::NoHost { action, source } = refused else {
        panic!("{refused}");
    };
    assert_eq!(action, "run virtual machine guest");
    assert_eq!(
        source.to_string(),
        "no host will do: local lacks encrypted-vms: there is no libvirt"
    );
    assert_eq!(control.vm(&vm()).unwrap().status, VmStatus::Stopped);
    site.assert_sound(&control);
}

#[test]
fn every_reason_against_every_host_is_said_and_a_host_can_be_named() {
    let (site, control) = Site::new();
    machine(&control, &[("root", "secret")]);
    drop(control);
    let hosts = |change: &dyn Fn(&mut HostFacts, &mut HostFacts)| {
        let (mut small, mut far) = (able_host("small", &["main"]), able_host("far", &["other"]));
        change(&mut small, &mut far);
        let mut endpoints = RegisteredEndpoints::new();
        endpoints.register(Arc::new(MemoryEndpoint::new(small)));
        endpoints.register(Arc::new(MemoryEndpoint::new(far)));
        endpoints.register(site.host.clone());
        site.start_with(Arc::new(endpoints))
    };
    let control = hosts(&|small, far| {
        small.free_memory = ByteSize::mib(127);
        small.free_cores = 0;
        far.state = HostState::Maintenance;
    });
    let named = |name: &str| control.start_vm(&Call::new(), &vm(), Some(&id(name)));
    let why = |refused: ControlPlaneError| match refused {
        ControlPlaneError::NoHost { source, .. } => source.to_string(),
        other => panic!("{other}"),
    };
    let small = why(named("small").unwrap_err());
    assert!(
        small.contains("of memory free where 128 MiB is needed"),
        "{small}"
    );
    assert!(small.contains("has 0 cores free where 1 are needed"), "{small}");
    assert!(
        small.contains("far is in maintenance and does not reach pool main"),
        "{small}"
    );
    assert!(small.contains("local is not small"), "{small}");
    named("local").unwrap();
    let elsewhere = named("small").unwrap_err().to_string();
    assert_eq!(
        elsewhere,
        "virtual machine guest runs on host local; stop it first"
    );
    power_off(&control);
    site.assert_sound(&control);
}

#[test]
fn a_machine_is_stopped_on_a_host_that_takes_no_new_work() {
    let (site, control) = Site::new();
    machine(&control, &[("root", "secret")]);
    start(&control);
    drop(control);
    let mut endpoints = RegisteredEndpoints::new();
    endpoints.register(Arc::new(Changed {
        inner: site.host.clone(),
        state: HostState::Maintenance,
        lie: |answer| answer,
    }));
    let control = site.start_with(Arc::new(endpoints));
    assert!(control.vm_facts(&Call::new(), &vm()).unwrap().is_some());
    power_off(&control);
}

#[test]
fn a_host_that_does_not_answer_keeps_the_machine() {
    let (site, control) = Site::new();
    machine(&control, &[("root", "secret")]);
    start(&control);
    drop(control);
    let mut endpoints = RegisteredEndpoints::new();
    endpoints.register(Arc::new(MemoryEndpoint::new(able_host("other", &["main"]))));
    let control = site.start_with(Arc::new(endpoints));
    let refused = control.start_vm(&Call::new(), &vm(), None).unwrap_err();
    assert_eq!(refused.kind(), Some(ErrorKind::NoHost), "{refused}");
    let record = control.vm(&vm()).unwrap();
    assert_eq!(
        (record.status, record.host),
        (VmStatus::Running, Some(id("local")))
    );
}

#[test]
fn after_a_failed_start_nothing_runs_and_no_volume_is_held() {
    let (site, control) = Site::new();
    machine(&control, &[("root", "secret"), ("open", "plain")]);
    // With the answer lost, the machine does run, and has to go.
    for lost in [false, true] {
        let fault = |command: &HostCommand<'_>| {
            let start = matches!(command, HostCommand::Vm(VmCommand::StartVm(_)));
            start.then(|| EndpointError::new(ErrorKind::Io, "StartVm", "the host went quiet"))
        };
        site.host.inner.fail_when(|_| None);
        site.host.inner.fail_after(|_| None);
        match lost {
            false => site.host.inner.fail_when(fault),
            true => site.host.inner.fail_after(fault),
        }
        let refused = control.start_vm(&Call::new(), &vm(), None).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "host local cannot start virtual machine guest"
        );
        let record = control.vm(&vm()).unwrap();
        assert_eq!((record.status, record.host), (VmStatus::Stopped, None), "{lost}");
        assert!(!site.host.inner.end_vm(&vm()), "nothing of it runs");
        site.assert_sound(&control);
    }
}

#[test]
fn a_start_that_cannot_be_undone_holds_the_machine_until_it_is_stopped() {
    let (site, control) = Site::new();
    machine(&control, &[("root", "secret")]);
    let cut = Arc::new(Mutex::new(true));
    let still = cut.clone();
    site.host.inner.fail_when(move |command| {
        let of_vms = matches!(command, HostCommand::Vm(_)) && *still.lock().unwrap();
        of_vms.then(|| EndpointError::new(ErrorKind::Io, "any", "the host went quiet"))
    });
    let refused = control.start_vm(&Call::new(), &vm(), None).unwrap_err();
    assert!(
        matches!(refused, ControlPlaneError::Vm(VmError::NotUndone { .. })),
        "{refused}"
    );
    assert_eq!(refused.kind(), Some(ErrorKind::Io));
    assert_eq!(control.vm(&vm()).unwrap().status.to_string(), "error");
    let again = control
        .start_vm(&Call::new(), &vm(), None)
        .unwrap_err()
        .to_string();
    assert!(
        again.contains("has an unfinished job, to start it (host local cannot"),
        "{again}"
    );
    let stuck = control.delete_vm(&vm()).unwrap_err();
    assert!(
        matches!(stuck, ControlPlaneError::Vm(VmError::Unfinished { .. })),
        "{stuck}"
    );
    *cut.lock().unwrap() = false;
    power_off(&control);
    site.assert_sound(&control);
}

#[test]
fn a_disk_that_could_not_be_attached_is_not_there_after_the_machine_was_stopped() {
    let (site, control) = Site::new();
    machine(&control, &[("root", "secret")]);
    create(&control, "data", "secret");
    start(&control);
    let cut = Arc::new(Mutex::new(true));
    let still = cut.clone();
    site.host.inner.fail_when(move |command| {
        let concerned = matches!(
            command,
            HostCommand::Vm(VmCommand::AttachVmDisk(_) | VmCommand::DetachVmDisk(_))
        );
        (concerned && *still.lock().unwrap())
            .then(|| EndpointError::new(ErrorKind::Io, "any", "the host went quiet"))
    });
    let attach = control.attach_volume(&Call::new(), &vm(), &disk("vdb", "data"));
    attach.unwrap_err();
    assert_eq!(control.vm(&vm()).unwrap().status.to_string(), "error");
    let stopped = control.stop_vm(&Call::new(), &vm(), StopVmHow::PowerOff).unwrap();
    assert_eq!(stopped.disks, [disk("vda", "root")]);
    site.assert_sound(&control);
}

/// A host that says something else than it does.
#[derive(Debug)]
struct Changed {
    inner: Arc<dyn Endpoint>,
    state: HostState,
    lie: fn(HostAnswer) -> HostAnswer,
}

impl Endpoint for Changed {
    fn host(&self) -> HostFacts {
        let mut facts = self.inner.host();
        facts.state = self.state;
        facts
    }

    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        self.inner.run(call, command).map(self.lie)
    }
}

#[test]
fn a_machine_whose_disk_came_out_plain_does_not_run() {
    let (site, control) = Site::new();
    machine(&control, &[("root", "secret")]);
    create(&control, "data", "secret");
    let mut endpoints = RegisteredEndpoints::new();
    endpoints.register(Arc::new(Changed {
        inner: site.host.clone(),
        state: HostState::Up,
        lie: |answer| match answer {
            HostAnswer::Vm(mut facts) => {
                facts.disks.iter_mut().for_each(|disk| disk.encryption = None);
                HostAnswer::Vm(facts)
            }
            other => other,
        },
    }));
    let liar = site.start_with(Arc::new(endpoints));
    let refused = liar.start_vm(&Call::new(), &vm(), None).unwrap_err();
    assert!(
        matches!(refused, ControlPlaneError::Vm(VmError::Mismatch { .. })),
        "{refused}"
    );
    assert!(!site.host.inner.end_vm(&vm()), "nothing of it runs");
    start(&control);
    let refused = liar
        .attach_volume(&Call::new(), &vm(), &disk("vdb", "data"))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("on the other side of the cipher"), "{refused}");
    assert_eq!(control.vm(&vm()).unwrap().disks, [disk("vda", "root")]);
    power_off(&control);
    site.assert_sound(&control);
}
