//! Killed at any instant: before and after every call of the driver and every command of the host, and so between any two
//! transactions. The next start finishes or undoes the work.

use std::path::Path;
use std::sync::Arc;

use strongroom_control_plane::{
    ControlPlane, ControlPlaneError, JobKind, NewContent, Outcome, Recovered, Sameness, SourceImage,
    TemplateImage,
};
use strongroom_types::{Call, DiskFormat, VolumeId};

use crate::fragile::Burn;
use crate::site::{Site, create, id, mib, new_volume};

/// Kills the operation at every moment in turn, each time on a new site that `prepare` has prepared and that also has a volume
/// `keep`. Checks that all is sound after recovery, with `check` for what the operation was about. Returns what was recovered
/// at all moments together.
#[track_caller]
fn killed_at_every_moment(
    prepare: impl Fn(&ControlPlane),
    operation: impl Fn(&ControlPlane) -> Result<(), ControlPlaneError> + Copy + Send + 'static,
    check: impl Fn(&Site, &ControlPlane),
) -> Vec<Recovered> {
    let site = || {
        let (site, control) = Site::new();
        prepare(&control);
        (site, control)
    };
    killed_on_site(site, operation, check)
}

/// The same on sites that the test makes.
#[track_caller]
pub(crate) fn killed_on_site(
    site: impl Fn() -> (Site, Arc<ControlPlane>),
    operation: impl Fn(&ControlPlane) -> Result<(), ControlPlaneError> + Copy + Send + 'static,
    check: impl Fn(&Site, &ControlPlane),
) -> Vec<Recovered> {
    let mut all = Vec::new();
    for moment in 1.. {
        assert!(moment < 500, "the operation has ever more moments");
        let (site, control) = site();
        create(&control, "keep", "secret-raw");
        site.fuse.light(moment, Burn::Kill);
        let done = site.fuse.run(&control, operation);
        site.fuse.put_out();
        match done {
            Some(done) => {
                done.unwrap();
                assert!(
                    moment > 1,
                    "the operation has no moment at which it could be killed"
                );
                site.assert_sound(&control);
                return all;
            }
            // The database connection of a killed process is not closed in order.
            None => std::mem::forget(control),
        }
        let (control, recovered) = site.recover();
        for one in &recovered {
            assert!(
                !matches!(one.outcome, Outcome::Failed(_)),
                "moment {moment}: {one}"
            );
        }
        let volumes = site.assert_sound(&control);
        assert!(volumes.iter().any(|v| v.id.as_str() == "keep"), "moment {moment}");
        check(&site, &control);
        let (control, again) = site.recover();
        assert_eq!(again, [], "moment {moment}: a second recovery has nothing to do");
        all.extend(recovered);
        drop(control);
    }
    all
}

#[track_caller]
pub(crate) fn assert_job(recovered: &[Recovered], job: JobKind, outcome: Outcome) {
    assert!(
        recovered
            .iter()
            .any(|r| r.job == Some(job) && r.outcome == outcome),
        "no moment left a job {job:?} that ended as {outcome:?}: {recovered:?}"
    );
}

fn volume() -> VolumeId {
    id("vol")
}

fn image(path: &str) -> SourceImage<'_> {
    SourceImage::new(Path::new(path), DiskFormat::Raw)
}

#[test]
fn a_killed_create_is_undone() {
    for offering in ["secret", "secret-raw", "plain"] {
        let recovered = killed_at_every_moment(
            |_| {},
            move |control| {
                let mut new = new_volume("vol", offering);
                new.content = NewContent::Image(TemplateImage::new("/templates/a", DiskFormat::Raw));
                control.create_volume(&Call::new(), &new).map(drop)
            },
            |site, control| {
                let refused = control.volume(&volume()).unwrap_err();
                assert_eq!(refused.to_string(), "there is no volume vol");
                assert_eq!(site.disks(), ["keep"]);
                // Nothing stands in the way of a second attempt.
                create(control, "vol", offering);
                control.delete_volume(&Call::new(), &volume()).unwrap();
            },
        );
        assert_job(&recovered, JobKind::Create, Outcome::Undone);
    }
}

#[test]
fn a_killed_grow_leaves_one_of_the_two_sizes_and_the_record_says_which() {
    for offering in ["secret", "secret-raw"] {
        let recovered = killed_at_every_moment(
            |control| drop(create(control, "vol", offering)),
            |control| control.grow_volume(&Call::new(), &volume(), mib(2)).map(drop),
            |_, control| {
                let size = control.volume(&volume()).unwrap().guest;
                assert!([mib(1), mib(2)].contains(&size), "{size}");
            },
        );
        assert_job(&recovered, JobKind::Grow, Outcome::Finished);
    }
}

#[test]
fn a_snapshot_that_was_being_taken_is_undone() {
    let recovered = killed_at_every_moment(
        |control| drop(create(control, "vol", "secret")),
        |control| {
            control
                .create_snapshot(&Call::new(), &volume(), &id("before"))
                .map(drop)
        },
        |_, control| assert_eq!(control.snapshots(&volume()).unwrap(), []),
    );
    assert_job(&recovered, JobKind::TakeSnapshot, Outcome::Undone);
}

#[test]
fn the_removal_of_a_snapshot_is_finished() {
    let recovered = killed_at_every_moment(
        |control| {
            create(control, "vol", "secret");
            control
                .create_snapshot(&Call::new(), &volume(), &id("before"))
                .unwrap();
        },
        |control| control.delete_snapshot(&Call::new(), &volume(), &id("before")),
        |_, _| {},
    );
    assert_job(&recovered, JobKind::RemoveSnapshot, Outcome::Finished);
}

#[test]
fn a_restore_is_finished_with_content_and_size() {
    let recovered = killed_at_every_moment(
        |control| {
            let mut new = new_volume("vol", "secret");
            new.content = NewContent::Image(TemplateImage::new("/templates/a", DiskFormat::Raw));
            control.create_volume(&Call::new(), &new).unwrap();
            control
                .create_snapshot(&Call::new(), &volume(), &id("before"))
                .unwrap();
            control.grow_volume(&Call::new(), &volume(), mib(2)).unwrap();
            control
                .replace_content(&Call::new(), &volume(), &image("/images/b"))
                .unwrap();
        },
        |control| {
            control
                .restore_snapshot(&Call::new(), &volume(), &id("before"))
                .map(drop)
        },
        |_, control| {
            let size = control.volume(&volume()).unwrap().guest;
            let content = if size == mib(1) {
                "/templates/a"
            } else {
                "/images/b"
            };
            let same = control
                .compare_content(&Call::new(), &volume(), &image(content))
                .unwrap();
            assert_eq!(same, Sameness::Identical, "{size}");
            assert_eq!(
                control.snapshots(&volume()).unwrap().len(),
                1,
                "the snapshot stays"
            );
        },
    );
    assert_job(&recovered, JobKind::Restore, Outcome::Finished);
}

#[test]
fn an_overwrite_is_finished() {
    let recovered = killed_at_every_moment(
        |control| drop(create(control, "vol", "secret")),
        |control| control.replace_content(&Call::new(), &volume(), &image("/images/b")),
        |_, _| {},
    );
    assert_job(&recovered, JobKind::ReplaceContent, Outcome::Finished);
}

#[test]
fn a_header_backup_that_was_being_made_is_undone() {
    let recovered = killed_at_every_moment(
        |control| drop(create(control, "vol", "secret-raw")),
        |control| {
            control
                .back_up_header(&Call::new(), &volume(), Path::new("/backups/vol"))
                .map(drop)
        },
        |_, _| {},
    );
    assert_job(&recovered, JobKind::BackUpHeader, Outcome::Undone);
}

#[test]
fn a_delete_is_finished() {
    for offering in ["secret", "secret-raw", "plain"] {
        let recovered = killed_at_every_moment(
            |control| {
                create(control, "vol", offering);
                match offering {
                    "secret-raw" => drop(
                        control
                            .back_up_header(&Call::new(), &volume(), Path::new("/backups/vol"))
                            .unwrap(),
                    ),
                    _ => drop(
                        control
                            .create_snapshot(&Call::new(), &volume(), &id("before"))
                            .unwrap(),
                    ),
                }
            },
            |control| control.delete_volume(&Call::new(), &volume()).map(drop),
            |site, control| {
                // The job comes before the first moment, so that every kill comes after it.
                let refused = control.volume(&volume()).unwrap_err();
                assert_eq!(refused.to_string(), "there is no volume vol");
                assert_eq!(site.disks(), ["keep"]);
            },
        );
        assert_job(&recovered, JobKind::Delete, Outcome::Finished);
    }
}

#[test]
fn what_only_reads_leaves_no_attachment() {
    for read in [
        |control: &ControlPlane| control.verify_volume(&Call::new(), &volume()).map(drop),
        |control: &ControlPlane| {
            control
                .compare_content(&Call::new(), &volume(), &image("/images/b"))
                .map(drop)
        },
    ] {
        let recovered =
            killed_at_every_moment(|control| drop(create(control, "vol", "secret")), read, |_, _| {});
        assert!(recovered.iter().any(|r| r.job.is_none()), "{recovered:?}");
    }
}

#[test]
fn a_recovery_that_is_killed_is_finished_by_the_next() {
    for (job, command) in [
        (JobKind::Create, "CreateDisk"),
        (JobKind::Grow, "GrowDisk"),
        (JobKind::TakeSnapshot, "SnapshotDisk"),
        (JobKind::Restore, "SnapshotDisk"),
        (JobKind::Delete, "EraseKeyslots"),
    ] {
        for moment in 1.. {
            let (site, control) = Site::new();
            create(&control, "vol", "secret");
            control
                .create_snapshot(&Call::new(), &volume(), &id("before"))
                .unwrap();
            site.fuse.kill_after(command);
            let done = site.fuse.run(&control, move |control| match job {
                JobKind::Create => drop(control.create_volume(&Call::new(), &new_volume("new", "secret"))),
                JobKind::Grow => drop(control.grow_volume(&Call::new(), &volume(), mib(2))),
                JobKind::TakeSnapshot => {
                    drop(control.create_snapshot(&Call::new(), &volume(), &id("after")));
                }
                JobKind::Restore => drop(control.restore_snapshot(&Call::new(), &volume(), &id("before"))),
                _ => drop(control.delete_volume(&Call::new(), &volume())),
            });
            assert_eq!(done, None, "{job:?} ran no {command}");
            std::mem::forget(control);

            let control = site.start();
            site.fuse.light(moment, Burn::Kill);
            let done = site.fuse.run(&control, |control| control.recover(&Call::new()));
            site.fuse.put_out();
            if let Some(recovered) = done {
                let recovered = recovered.unwrap();
                assert!(recovered.iter().any(|r| r.job == Some(job)), "{recovered:?}");
                assert!(moment > 1);
                site.assert_sound(&control);
                break;
            }
            std::mem::forget(control);
            let (control, recovered) = site.recover();
            for one in &recovered {
                assert!(!matches!(one.outcome, Outcome::Failed(_)), "{moment}: {one}");
            }
            site.assert_sound(&control);
        }
    }
}
