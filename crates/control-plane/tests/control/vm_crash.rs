//! Killed at any instant of work on a virtual machine: the next start finishes or undoes it, and the record says what the host has.

use std::sync::Arc;

use strongroom_control_plane::{
    ControlPlane, ControlPlaneError, JobKind, NewContent, Outcome, Recovered, StopVmHow, Subject, VmStatus,
};
use strongroom_types::Call;

use crate::crash::assert_job;
use crate::fragile::Burn;
use crate::site::{Site, create, id, mib, new_volume};
use crate::vms::{disk, machine, new_vm, power_off, start, vm};

/// Kills the work at every moment in turn. After each recovery the record and the host agree on what runs and with which disks, and
/// when the machine is stopped all is in order.
#[track_caller]
fn killed_at_every_moment(
    prepare: impl Fn(&ControlPlane),
    operation: impl Fn(&ControlPlane) -> Result<(), ControlPlaneError> + Copy + Send + 'static,
) -> Vec<Recovered> {
    let mut all = Vec::new();
    for moment in 1.. {
        assert!(moment < 200, "the operation has ever more moments");
        let (site, control) = Site::with_template();
        machine(&control, &[("root", "secret"), ("open", "plain")]);
        create(&control, "data", "secret-raw");
        prepare(&control);
        site.fuse.light(moment, Burn::Kill);
        let done = site.fuse.run(&control, operation);
        site.fuse.put_out();
        if let Some(done) = done {
            done.unwrap();
            assert!(
                moment > 2,
                "the operation has no moment at which it could be killed"
            );
            return all;
        }
        // The database connection of a killed process is not closed in order.
        std::mem::forget(control);
        let (control, recovered) = site.recover();
        for one in &recovered {
            assert!(
                !matches!(one.outcome, Outcome::Failed(_)),
                "moment {moment}: {one}"
            );
        }
        assert_agreed(&control, moment);
        let (control, again): (Arc<ControlPlane>, _) = site.recover();
        assert_eq!(again, [], "moment {moment}: a second recovery has nothing to do");
        power_off(&control);
        site.assert_sound(&control);
        all.extend(recovered);
    }
    all
}

#[track_caller]
fn assert_agreed(control: &ControlPlane, moment: u32) {
    let record = control.vm(&vm()).unwrap();
    let facts = control.vm_facts(&Call::new(), &vm()).unwrap();
    let expected = match facts {
        Some(_) => VmStatus::Running,
        None => VmStatus::Stopped,
    };
    assert_eq!(record.status, expected, "moment {moment}");
    if let Some(facts) = facts {
        let there: Vec<_> = facts.disks.iter().map(|disk| &disk.target).collect();
        let recorded: Vec<_> = record.disks.iter().map(|disk| &disk.target).collect();
        assert_eq!(there, recorded, "moment {moment}");
    }
}

#[test]
fn a_killed_start_goes_on_where_the_guest_runs_and_is_undone_where_it_does_not() {
    let recovered = killed_at_every_moment(
        |_| {},
        |control| control.start_vm(&Call::new(), &vm(), None).map(drop),
    );
    assert_job(&recovered, JobKind::StartVm, Outcome::Undone);
    assert_job(&recovered, JobKind::StartVm, Outcome::Finished);
    let one = recovered
        .iter()
        .find(|one| one.subject == Subject::Vm(vm()))
        .unwrap();
    assert_eq!(
        one.to_string(),
        "virtual machine guest: an earlier process began to start it; this is undone now"
    );
}

#[test]
fn a_killed_power_off_is_finished() {
    let recovered = killed_at_every_moment(start, |control| {
        control
            .stop_vm(&Call::new(), &vm(), StopVmHow::PowerOff)
            .map(drop)
    });
    assert_job(&recovered, JobKind::StopVm, Outcome::Finished);
    assert!(recovered.iter().all(|one| one.outcome == Outcome::Finished));
}

#[test]
fn a_guest_that_was_asked_to_go_down_runs_on_or_is_stopped_in_order() {
    let recovered = killed_at_every_moment(start, |control| {
        control
            .stop_vm(&Call::new(), &vm(), StopVmHow::Shutdown)
            .map(drop)
    });
    assert_job(&recovered, JobKind::StopVm, Outcome::Finished);
    assert_job(&recovered, JobKind::StopVm, Outcome::Undone);
}

#[test]
fn a_killed_attach_is_there_or_not() {
    let recovered = killed_at_every_moment(start, |control| {
        control
            .attach_volume(&Call::new(), &vm(), &disk("vdc", "data"))
            .map(drop)
    });
    assert_job(&recovered, JobKind::AttachDisk, Outcome::Finished);
    assert_job(&recovered, JobKind::AttachDisk, Outcome::Undone);
}

#[test]
fn a_killed_detach_is_finished() {
    let prepare = |control: &ControlPlane| {
        start(control);
        control
            .attach_volume(&Call::new(), &vm(), &disk("vdc", "data"))
            .unwrap();
    };
    let recovered = killed_at_every_moment(prepare, |control| {
        control.detach_volume(&Call::new(), &vm(), &id("vdc")).map(drop)
    });
    assert_job(&recovered, JobKind::DetachDisk, Outcome::Finished);
    assert!(recovered.iter().all(|one| one.outcome == Outcome::Finished));
}

#[test]
fn a_killed_live_grow_is_finished() {
    let recovered = killed_at_every_moment(start, |control| {
        control.grow_volume(&Call::new(), &id("root"), mib(2)).map(drop)
    });
    assert_job(&recovered, JobKind::Grow, Outcome::Finished);
}

#[test]
fn a_killed_live_flatten_is_finished() {
    let prepare = |control: &ControlPlane| {
        let mut new = new_volume("lean", "secret");
        new.content = NewContent::Overlay(id("t"));
        control.create_volume(&Call::new(), &new).unwrap();
        control
            .attach_volume(&Call::new(), &vm(), &disk("vdc", "lean"))
            .unwrap();
        start(control);
    };
    let recovered = killed_at_every_moment(prepare, |control| {
        control.flatten_volume(&Call::new(), &id("lean")).map(drop)
    });
    assert_job(&recovered, JobKind::Flatten, Outcome::Finished);
}

#[test]
fn a_machine_that_is_not_there_any_more_is_recovered_all_the_same() {
    let (site, control) = Site::new();
    control.create_vm(&new_vm()).unwrap();
    create(&control, "root", "secret");
    control
        .attach_volume(&Call::new(), &vm(), &disk("vda", "root"))
        .unwrap();
    site.fuse.kill_after("StartVm");
    let killed = site.fuse.run(&control, |control| {
        control.start_vm(&Call::new(), &vm(), None).map(drop)
    });
    assert!(killed.is_none());
    std::mem::forget(control);
    // The host restarted meanwhile.
    assert!(site.host.inner.end_vm(&vm()));
    let (control, recovered) = site.recover();
    assert_job(&recovered, JobKind::StartVm, Outcome::Undone);
    assert_eq!(control.vm(&vm()).unwrap().status, VmStatus::Stopped);
    site.assert_sound(&control);
}
