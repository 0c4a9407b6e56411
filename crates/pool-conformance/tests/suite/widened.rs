//! For each further part of a check a driver that fails it there and no other check.

use std::sync::Arc;

use strongroom_pool_conformance::run;
use strongroom_storage_pool::{CloneKey, CreateVolume, ErrorKind, SnapshotAction, VolumeContent};

use crate::mutant::{Mutant, Spoil};
use crate::mutants_of_volumes::{is_plain, there};

#[track_caller]
fn fails_at(check: &str, seen: &str, spoil: Spoil) {
    let report = run(&Mutant::new(spoil).site());
    let failed: Vec<_> = report.failures().map(|result| result.check.name).collect();
    assert_eq!(failed, [check], "{report}");
    assert!(report.to_string().contains(seen), "{report}");
}

#[test]
fn growth_with_the_key_of_another_volume_is_seen() {
    let seen = "expected: grow with another key is refused";
    fails_at("grow-with-another-key-is-refused", seen, |m| {
        m.faults.grow = Some(Arc::new(|d, _, cx, r| match d.grow(cx, r) {
            Err(e) if e.kind() == ErrorKind::WrongKey => Ok(there(d, cx, r.volume).unwrap()),
            grown => grown,
        }));
    });
}

#[test]
fn growth_of_an_encrypted_volume_as_if_it_were_plain_is_seen() {
    let seen = "expected: grow of an encrypted qcow2 volume without a key is refused";
    fails_at("grow-with-another-key-is-refused", seen, |m| {
        m.faults.grow = Some(Arc::new(|d, _, cx, r| match d.grow(cx, r) {
            Err(_) if is_plain(r.key) && there(d, cx, r.volume).is_some_and(|v| v.encryption.is_some()) => {
                Ok(there(d, cx, r.volume).unwrap())
            }
            grown => grown,
        }));
    });
}

#[test]
fn an_encrypted_clone_of_a_plain_volume_is_seen() {
    let seen = "expected: clone_volume of a plain qcow2 volume as an encrypted qcow2 is refused";
    fails_at("clone-onto-the-other-side-is-refused", seen, |m| {
        m.faults.clone_volume = Some(Arc::new(|d, _, cx, r| match (there(d, cx, r.source), r.key) {
            (Some(source), CloneKey::Own(key)) if !is_plain(key) && source.encryption.is_none() => {
                let blank = VolumeContent::Blank;
                d.create(
                    cx,
                    &CreateVolume::new(r.volume, source.guest, source.format, key, blank),
                )
            }
            _ => d.clone_volume(cx, r),
        }));
    });
}

#[test]
fn a_snapshot_of_an_encrypted_volume_taken_as_if_it_were_plain_is_seen() {
    let seen = "expected: snapshot of an encrypted qcow2 volume without a key is refused";
    fails_at("snapshot-with-another-key-is-refused", seen, |m| {
        m.faults.snapshot = Some(Arc::new(|d, _, cx, r| match d.snapshot(cx, r) {
            Err(_) if is_plain(r.key) && r.action == SnapshotAction::Create => {
                Ok(there(d, cx, r.volume).unwrap())
            }
            done => done,
        }));
    });
}

#[test]
fn a_snapshot_removed_without_the_key_of_its_volume_is_seen() {
    let seen = "expected: removing a snapshot of an encrypted qcow2 volume with another key is refused";
    fails_at("snapshot-with-another-key-is-refused", seen, |m| {
        m.faults.snapshot = Some(Arc::new(|d, _, cx, r| match d.snapshot(cx, r) {
            Err(e) if e.kind() == ErrorKind::WrongKey && r.action == SnapshotAction::Delete => {
                Ok(there(d, cx, r.volume).unwrap())
            }
            done => done,
        }));
    });
}
