//! The snapshots that are recorded and those that are in the disk.

use strongroom_control_plane::{ControlPlane, ControlPlaneError, VolumeRecord};
use strongroom_endpoint_selector::{Disk, DiskLocation, Endpoint, Protection, SnapshotAction, SnapshotDisk};
use strongroom_types::{Call, EncryptionFormat, SnapshotId};

use crate::site::{Site, create, id};

/// Works on a snapshot in the disk, past the control plane.
fn behind_its_back(site: &Site, control: &ControlPlane, snapshot: &str, action: SnapshotAction) {
    let record: VolumeRecord = control.volume(&id("vol")).unwrap();
    let location = DiskLocation::File(site.host.inner.paths().remove(0));
    let snapshot: SnapshotId = id(snapshot);
    control
        .with_key(&record.id, |key| {
            let disk = Disk::new(
                &location,
                record.format,
                Protection::Luks {
                    format: EncryptionFormat::Luks1,
                    key,
                },
            );
            let command = SnapshotDisk::new(disk, &snapshot, action);
            site.host.run(&Call::new(), &command.into()).unwrap();
        })
        .unwrap();
}

fn site() -> (Site, std::sync::Arc<ControlPlane>) {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    (site, control)
}

#[test]
fn a_recorded_snapshot_that_the_disk_lacks_is_a_mismatch() {
    let (site, control) = site();
    for snapshot in ["a", "b"] {
        control
            .create_snapshot(&Call::new(), &id("vol"), &id(snapshot))
            .unwrap();
    }
    behind_its_back(&site, &control, "b", SnapshotAction::Delete);
    let refused = control.verify_volume(&Call::new(), &id("vol")).unwrap_err();
    assert!(
        matches!(refused, ControlPlaneError::Mismatch { .. }),
        "{refused:?}"
    );
    assert_eq!(
        refused.to_string(),
        "volume vol is not what its record says: it lacks the recorded snapshots b"
    );
}

#[test]
fn a_snapshot_that_is_not_recorded_is_named_in_what_was_checked() {
    let (site, control) = site();
    control
        .create_snapshot(&Call::new(), &id("vol"), &id("a"))
        .unwrap();
    behind_its_back(&site, &control, "stray", SnapshotAction::Create);
    let checked = control.verify_volume(&Call::new(), &id("vol")).unwrap().checked;
    assert_eq!(
        checked[checked.len() - 2..],
        [
            "every recorded snapshot is there: a",
            "the disk has snapshots that no record knows: stray"
        ]
    );
}

#[test]
fn a_snapshot_that_the_disk_has_and_no_record_is_not_taken_for_success() {
    let (site, control) = site();
    behind_its_back(&site, &control, "left", SnapshotAction::Create);
    let refused = control
        .create_snapshot(&Call::new(), &id("vol"), &id("left"))
        .unwrap_err();
    assert!(
        matches!(refused, ControlPlaneError::ForeignSnapshot { .. }),
        "{refused:?}"
    );
    let text = refused.to_string();
    assert!(text.contains("vol") && text.contains("snapshot left"), "{text}");
    // It stays, nothing is recorded, and another name may be used.
    assert_eq!(control.snapshots(&id("vol")).unwrap(), []);
    assert_eq!(site.count("jobs"), 0);
    control
        .create_snapshot(&Call::new(), &id("vol"), &id("other"))
        .unwrap();
    let facts = control.verify_volume(&Call::new(), &id("vol")).unwrap().facts;
    assert_eq!(facts.snapshots, [id("left"), id("other")]);
}

#[test]
fn the_snapshot_of_a_process_that_died_is_undone_and_may_be_taken_again() {
    let (site, control) = site();
    site.fuse.kill_after("SnapshotDisk");
    let take = |control: &ControlPlane| control.create_snapshot(&Call::new(), &id("vol"), &id("a"));
    assert!(site.fuse.run(&control, move |control| take(control)).is_none());
    std::mem::forget(control);
    let (control, _) = site.recover();
    take(&control).unwrap();
    site.assert_sound(&control);
}
