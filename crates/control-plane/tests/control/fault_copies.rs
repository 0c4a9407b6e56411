//! Every call and command fails in turn while one disk is made from another: the volume is what it was or what it was to be, and
//! nothing is left that the next start would not find.

use std::path::Path;
use std::sync::Arc;

use strongroom_control_plane::{
    ControlPlane, ControlPlaneError, ExportAs, MoveVolume, NewClone, NewContent, NewExport, NewImport,
    Reinstall, Sameness, SourceImage,
};
use strongroom_endpoint_selector::ErrorKind;
use strongroom_types::{Call, DiskFormat, GuestSize};

use crate::crash_copies::users;
use crate::fault::{Operation, failing_on};
use crate::fragile::Burn;
use crate::site::{Site, id, new_volume};

/// A volume `vol` that is a full copy of the template, `thin` that lies on it, and a sealed export of `vol`.
fn site() -> (Site, Arc<ControlPlane>) {
    let (site, control) = Site::with_template();
    for (name, content) in [
        ("vol", NewContent::Template(id("t"))),
        ("thin", NewContent::Overlay(id("t"))),
    ] {
        let mut new = new_volume(name, "secret");
        new.content = content;
        control.create_volume(&Call::new(), &new).unwrap();
    }
    let key = users();
    let export = NewExport::new(
        id("vol"),
        "/exports/sealed",
        DiskFormat::Raw,
        ExportAs::Sealed(&key),
    );
    control.export_volume(&Call::new(), &export).unwrap();
    (site, control)
}

fn clone(control: &ControlPlane) -> Result<(), ControlPlaneError> {
    let mut new = NewClone::new(id("vol"));
    (new.id, new.pool) = (Some(id("new")), Some(id("other")));
    control.clone_volume(&Call::new(), &new).map(drop)
}

fn import(control: &ControlPlane) -> Result<(), ControlPlaneError> {
    let key = users();
    let mut new = NewImport::new(id("secret-raw"), "/exports/sealed", DiskFormat::Raw);
    (new.id, new.key) = (Some(id("new")), Some(&key));
    control.import_volume(&Call::new(), &new).map(drop)
}

fn export(control: &ControlPlane) -> Result<(), ControlPlaneError> {
    let reason = ExportAs::Declassified("a test");
    let new = NewExport::new(id("vol"), "/exports/clear", DiskFormat::Raw, reason);
    control.export_volume(&Call::new(), &new).map(drop)
}

fn reinstall(control: &ControlPlane) -> Result<(), ControlPlaneError> {
    let new = Reinstall::new(id("vol"), NewContent::Template(id("t")));
    control.reinstall_volume(&Call::new(), &new).map(drop)
}

fn move_it(control: &ControlPlane) -> Result<(), ControlPlaneError> {
    let new = MoveVolume::new(id("vol"), id("other"));
    control.move_volume(&Call::new(), &new).map(drop)
}

fn flatten(control: &ControlPlane) -> Result<(), ControlPlaneError> {
    control.flatten_volume(&Call::new(), &id("thin")).map(drop)
}

fn shrink(control: &ControlPlane) -> Result<(), ControlPlaneError> {
    let to = GuestSize::new(1 << 19).unwrap();
    control.shrink_volume(&Call::new(), &id("vol"), to).map(drop)
}

/// All but the shrunk one reads as the template.
fn assert_content(control: &ControlPlane) {
    let image = SourceImage::new(Path::new("/images/t"), DiskFormat::Raw);
    for volume in control.volumes().unwrap() {
        if volume.guest.get() == 1 << 20 {
            let same = control.compare_content(&Call::new(), &volume.id, &image).unwrap();
            assert_eq!(same, Sameness::Identical, "{}", volume.id);
        }
    }
}

#[test]
fn after_one_failure_all_is_in_order_at_once_or_after_the_next_start() {
    for operation in [clone, import, export, reinstall, move_it, flatten, shrink] as [Operation; 7] {
        failing_on(
            site,
            Burn::Fail(ErrorKind::Io),
            operation,
            |site, control, result| {
                // Only what had to be destroyed may be left for the next start, and the volume does not wait for it.
                let left = control
                    .volumes()
                    .unwrap()
                    .into_iter()
                    .any(|v| v.disk_of.is_some());
                assert!(!left || result.is_ok(), "{result:?}");
                if left {
                    control.recover(&Call::new()).unwrap();
                }
                site.assert_sound(control);
                assert_content(control);
            },
        );
    }
}

#[test]
fn when_everything_fails_recovery_settles_it() {
    for operation in [clone, import, export, reinstall, move_it, flatten, shrink] as [Operation; 7] {
        failing_on(site, Burn::Cut(ErrorKind::Io), operation, |site, control, _| {
            let before = site.count("jobs");
            let recovered = control.recover(&Call::new()).unwrap();
            assert_eq!(recovered.iter().filter(|r| r.job.is_some()).count(), before);
            site.assert_sound(control);
            assert_content(control);
        });
    }
}

#[test]
fn a_database_that_refuses_the_beginning_leaves_everything_as_it_was() {
    for operation in [clone, import, export, reinstall, move_it, flatten, shrink] as [Operation; 7] {
        let (site, control) = site();
        let before = control.volumes().unwrap();
        site.sql("CREATE TRIGGER full BEFORE INSERT ON jobs BEGIN SELECT RAISE(ABORT, 'no space'); END");
        let error = operation(&control).unwrap_err();
        assert!(matches!(error, ControlPlaneError::Store(_)), "{error}");
        site.sql("DROP TRIGGER full");
        assert_eq!(site.assert_sound(&control), before);
    }
}

#[test]
fn a_database_that_refuses_the_end_leaves_the_job() {
    for operation in [clone, import, export, reinstall, move_it, flatten, shrink] as [Operation; 7] {
        let (site, control) = site();
        site.sql("CREATE TRIGGER full BEFORE DELETE ON jobs BEGIN SELECT RAISE(ABORT, 'no space'); END");
        let error = operation(&control).unwrap_err();
        assert_eq!(site.count("jobs"), 1, "{error}");
        site.sql("DROP TRIGGER full");
        control.recover(&Call::new()).unwrap();
        site.assert_sound(&control);
        assert_content(&control);
    }
}
