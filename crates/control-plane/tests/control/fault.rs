//! Every call of the driver and every command of the host fails in turn, before it did anything and after it did everything.

use std::path::Path;

use strongroom_control_plane::{ControlPlane, ControlPlaneError, JobKind, SourceImage, VolumeState};
use strongroom_endpoint_selector::{EndpointError, ErrorKind, HostCommand};
use strongroom_types::{Call, DiskFormat, VolumeId};

use crate::fragile::Burn;
use crate::site::{Site, create, id, mib, new_volume};

pub(crate) type Operation = fn(&ControlPlane) -> Result<(), ControlPlaneError>;

fn volume() -> VolumeId {
    id("vol")
}

fn grow(control: &ControlPlane) -> Result<(), ControlPlaneError> {
    control.grow_volume(&Call::new(), &volume(), mib(2)).map(drop)
}

fn take(control: &ControlPlane) -> Result<(), ControlPlaneError> {
    control
        .create_snapshot(&Call::new(), &volume(), &id("new"))
        .map(drop)
}

fn remove(control: &ControlPlane) -> Result<(), ControlPlaneError> {
    control.delete_snapshot(&Call::new(), &volume(), &id("before"))
}

fn restore(control: &ControlPlane) -> Result<(), ControlPlaneError> {
    control
        .restore_snapshot(&Call::new(), &volume(), &id("before"))
        .map(drop)
}

fn replace(control: &ControlPlane) -> Result<(), ControlPlaneError> {
    let source = SourceImage::new(Path::new("/images/b"), DiskFormat::Raw);
    control.replace_content(&Call::new(), &volume(), &source)
}

fn back_up(control: &ControlPlane) -> Result<(), ControlPlaneError> {
    control
        .back_up_header(&Call::new(), &id("raw"), Path::new("/backups/new"))
        .map(drop)
}

fn delete(control: &ControlPlane) -> Result<(), ControlPlaneError> {
    control.delete_volume(&Call::new(), &volume()).map(drop)
}

fn delete_raw(control: &ControlPlane) -> Result<(), ControlPlaneError> {
    control.delete_volume(&Call::new(), &id("raw")).map(drop)
}

fn make(control: &ControlPlane) -> Result<(), ControlPlaneError> {
    control
        .create_volume(&Call::new(), &new_volume("new", "secret"))
        .map(drop)
}

/// A site with a qcow2 volume `vol` that has a snapshot, and a raw volume `raw` that has a header backup.
fn site() -> (Site, std::sync::Arc<ControlPlane>) {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    control
        .create_snapshot(&Call::new(), &volume(), &id("before"))
        .unwrap();
    create(&control, "raw", "secret-raw");
    control
        .back_up_header(&Call::new(), &id("raw"), Path::new("/backups/raw"))
        .unwrap();
    (site, control)
}

/// Lets the operation fail at every moment in turn.
#[track_caller]
fn failing(
    burn: Burn,
    operation: Operation,
    check: impl Fn(&Site, &ControlPlane, Result<(), ControlPlaneError>),
) {
    failing_on(site, burn, operation, check);
}

/// The same on sites that the test makes.
#[track_caller]
pub(crate) fn failing_on(
    site: impl Fn() -> (Site, std::sync::Arc<ControlPlane>),
    burn: Burn,
    operation: Operation,
    check: impl Fn(&Site, &ControlPlane, Result<(), ControlPlaneError>),
) {
    for moment in 1.. {
        assert!(moment < 500, "the operation has ever more moments");
        let (site, control) = site();
        site.fuse.light(moment, burn);
        let result = operation(&control);
        if !site.fuse.put_out() {
            result.unwrap();
            assert!(moment > 1, "the operation asks nobody");
            return;
        }
        check(&site, &control, result);
    }
}

#[test]
fn after_one_failure_all_is_in_order_at_once() {
    for operation in [grow, take, remove, restore, back_up, make] as [Operation; 6] {
        failing(Burn::Fail(ErrorKind::Io), operation, |site, control, result| {
            site.assert_sound(control);
            if let Err(error) = result {
                let undone = !matches!(error, ControlPlaneError::NotUndone { .. });
                assert!(undone, "{error}");
            }
        });
    }
}

#[test]
fn what_was_being_made_is_not_there_after_an_error() {
    failing(Burn::Fail(ErrorKind::Io), make, |_, control, result| {
        assert_eq!(control.volume(&id("new")).is_ok(), result.is_ok());
    });
    failing(Burn::Fail(ErrorKind::Io), take, |_, control, result| {
        let there = control.snapshots(&volume()).unwrap().len();
        assert_eq!(there, 1 + usize::from(result.is_ok()));
    });
    failing(Burn::Fail(ErrorKind::Io), back_up, |site, control, result| {
        let there = control.header_backups(&id("raw")).unwrap().len();
        assert_eq!(there, 1 + usize::from(result.is_ok()));
        assert_eq!(site.backups().len(), there);
    });
}

#[test]
fn after_a_failed_grow_the_record_is_what_the_pool_says() {
    failing(Burn::Fail(ErrorKind::Io), grow, |site, control, _| {
        let recorded = control.volume(&volume()).unwrap();
        let facts = control.verify_volume(&Call::new(), &volume()).unwrap().facts;
        assert_eq!(recorded.guest, facts.guest);
        site.assert_sound(control);
    });
}

#[test]
fn a_delete_that_failed_is_finished_by_the_next_call() {
    for (operation, name) in [(delete as Operation, "vol"), (delete_raw, "raw")] {
        failing(Burn::Fail(ErrorKind::Io), operation, |site, control, result| {
            if result.is_err() {
                let state = control.volume(&id(name)).unwrap().state;
                assert!(matches!(state, VolumeState::Failed(_)), "{state}");
                assert_eq!(state.to_string(), "error");
                operation(control).unwrap();
            }
            control.volume(&id(name)).unwrap_err();
            site.assert_sound(control);
        });
    }
}

#[test]
fn a_restore_does_not_call_off_a_delete() {
    let (site, control) = site();
    site.host.inner.fail_when(|command| match command {
        HostCommand::EraseKeyslots(_) => {
            Some(EndpointError::new(ErrorKind::Io, "EraseKeyslots", "no answer"))
        }
        _ => None,
    });
    delete(&control).unwrap_err();
    for operation in [restore, remove, take, grow, replace] as [Operation; 5] {
        let refused = operation(&control).unwrap_err();
        let ControlPlaneError::Unfinished { job, failure, .. } = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(job, JobKind::Delete);
        assert!(failure.unwrap().contains("no answer"));
    }
    site.host.inner.fail_when(|_| None);
    control.recover(&Call::new()).unwrap();
    control.volume(&volume()).unwrap_err();
    site.assert_sound(&control);
}

#[test]
fn an_overwrite_that_failed_in_the_middle_is_finished_or_restored() {
    for finish in [true, false] {
        failing(Burn::Fail(ErrorKind::Io), replace, |site, control, result| {
            let state = control.volume(&volume()).unwrap().state;
            if let Err(ControlPlaneError::NotUndone { .. }) = result {
                assert!(matches!(state, VolumeState::Failed(_)), "{state}");
                let refused = grow(control).unwrap_err();
                assert!(
                    matches!(refused, ControlPlaneError::Unfinished { .. }),
                    "{refused}"
                );
                match finish {
                    true => drop(control.recover(&Call::new()).unwrap()),
                    false => restore(control).unwrap(),
                }
            }
            site.assert_sound(control);
        });
    }
}

#[test]
fn a_volume_with_mixed_content_does_not_become_ready_by_a_restore_that_did_nothing() {
    let (site, control) = site();
    let fail = |kind| {
        move |command: &HostCommand<'_>| match command {
            HostCommand::ReplaceContent(_) | HostCommand::SnapshotDisk(_) => {
                Some(EndpointError::new(kind, command.name(), "the tool died"))
            }
            _ => None,
        }
    };
    site.host.inner.fail_when(fail(ErrorKind::Tool));
    replace(&control).unwrap_err();
    // This kind of failure means that nothing was changed; what was there before is still not in order.
    site.host.inner.fail_when(fail(ErrorKind::Busy));
    restore(&control).unwrap_err();
    let state = control.volume(&volume()).unwrap().state;
    assert_eq!(state, VolumeState::Failed(JobKind::Restore));
    site.host.inner.fail_when(|_| None);
    restore(&control).unwrap();
    site.assert_sound(&control);
    // Of a volume that was in order before, nothing is left to do.
    site.host.inner.fail_when(fail(ErrorKind::Busy));
    restore(&control).unwrap_err();
    assert_eq!(control.volume(&volume()).unwrap().state, VolumeState::Ready);
}

#[test]
fn when_everything_fails_the_job_stays_and_recovery_settles_it() {
    let all: [Operation; 9] = [
        grow, take, remove, restore, replace, back_up, delete, delete_raw, make,
    ];
    for operation in all {
        failing(Burn::Cut(ErrorKind::Io), operation, |site, control, result| {
            let before = site.count("jobs");
            if result.is_ok() {
                assert_eq!(before, 0);
            }
            let recovered = control.recover(&Call::new()).unwrap();
            assert_eq!(recovered.iter().filter(|r| r.job.is_some()).count(), before);
            site.assert_sound(control);
        });
    }
}

#[test]
fn a_caller_who_stops_leaves_things_in_order() {
    for operation in [
        |control: &ControlPlane, call: &Call| {
            control
                .create_volume(call, &new_volume("new", "secret"))
                .map(drop)
        },
        |control: &ControlPlane, call: &Call| control.grow_volume(call, &volume(), mib(2)).map(drop),
        |control: &ControlPlane, call: &Call| control.create_snapshot(call, &volume(), &id("new")).map(drop),
        |control: &ControlPlane, call: &Call| {
            let path = Path::new("/backups/new");
            control.back_up_header(call, &id("raw"), path).map(drop)
        },
    ] {
        for number in 1.. {
            let (site, control) = site();
            let call = Call::new();
            let (flag, mut count) = (call.cancellation().clone(), 0);
            site.host.inner.fail_when(move |_| {
                count += 1;
                if count == number {
                    flag.cancel();
                }
                None
            });
            let result = operation(&control, &call);
            site.assert_sound(&control);
            if !call.cancellation().is_cancelled() {
                result.unwrap();
                break;
            }
        }
    }
}

#[test]
fn a_database_that_refuses_the_end_leaves_the_job() {
    for operation in [grow, take, remove, restore, replace, back_up, delete, make] as [Operation; 8] {
        let (site, control) = site();
        site.sql("CREATE TRIGGER full BEFORE DELETE ON jobs BEGIN SELECT RAISE(ABORT, 'no space'); END");
        let error = operation(&control).unwrap_err();
        assert_eq!(site.count("jobs"), 1, "{error}");
        site.sql("DROP TRIGGER full");
        control.recover(&Call::new()).unwrap();
        site.assert_sound(&control);
    }
}

#[test]
fn a_database_that_refuses_the_beginning_leaves_everything_as_it_was() {
    for operation in [grow, take, remove, restore, replace, back_up, delete, make] as [Operation; 8] {
        let (site, control) = site();
        let before = control.volumes().unwrap();
        site.sql("CREATE TRIGGER full BEFORE INSERT ON jobs BEGIN SELECT RAISE(ABORT, 'no space'); END");
        let error = operation(&control).unwrap_err();
        assert!(matches!(error, ControlPlaneError::Store(_)), "{error}");
        site.sql("DROP TRIGGER full");
        assert_eq!(site.assert_sound(&control), before);
    }
}
