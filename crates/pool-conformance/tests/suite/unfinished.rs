//! Volumes that are found before they are whole, in other ways than that of the table.

use std::sync::Arc;

use strongroom_pool_conformance::run_only;
use strongroom_storage_pool::{CloneKey, CreateVolume, ErrorKind, PoolError, VolumeContent, VolumeKey};

use crate::faulty::lost;
use crate::mutant::{Mutant, Spoil};
use crate::mutants_of_content::blank;

const CREATE: &str = "a-create-that-failed-is-not-found-until-it-is-whole";

/// How a check fails with this fault.
#[track_caller]
fn failure(check: &str, spoil: Spoil) -> String {
    let report = run_only(&Mutant::new(spoil).site(), &[check]).unwrap();
    assert_eq!(report.failures().count(), 1, "{report}");
    report.to_string()
}

/// Whether nothing was done.
fn not_done<T>(made: &Result<T, PoolError>) -> bool {
    made.as_ref().is_err_and(|e| e.kind() == ErrorKind::Io) && !lost(made)
}

#[test]
fn a_blank_volume_that_is_found_plain_before_it_is_encrypted_is_not_whole() {
    let seen = failure(CREATE, |m| {
        m.on_host().create = Some(Arc::new(|d, _, cx, r| {
            let made = d.create(cx, r);
            if not_done(&made) && matches!(r.content, VolumeContent::Blank) {
                let mut plain = *r;
                plain.key = VolumeKey::Plain;
                d.create(cx, &plain)?;
            }
            made
        }));
    });
    assert!(seen.contains("get finds the volume, and"), "{seen}");
}

#[test]
fn a_blank_volume_that_is_found_before_there_is_a_disk_is_not_whole() {
    let seen = failure(CREATE, |m| {
        m.on_host().create = Some(Arc::new(|d, memory, cx, r| {
            let made = d.create(cx, r);
            if not_done(&made) && matches!(r.content, VolumeContent::Blank) {
                // What a driver tells that has recorded the volume and has yet to make it.
                let other = "recorded".parse().unwrap();
                let mut request = *r;
                request.volume = &other;
                d.create(cx, &request)?;
                memory.first(r.volume);
            }
            made
        }));
        m.faults.get = Some(Arc::new(|d, memory, cx, volume| {
            if !memory.seen().remove(volume.as_str()) {
                return d.get(cx, volume);
            }
            let other = "recorded".parse().unwrap();
            let found = d.get(cx, &other)?;
            d.delete(cx, &other)?;
            Ok(found)
        }));
    });
    assert!(seen.contains("get finds the volume, and"), "{seen}");
}

#[test]
fn a_clone_that_is_found_before_it_is_filled_is_not_whole() {
    let seen = failure("a-clone-that-failed-is-finished-by-the-same-again", |m| {
        m.on_host().clone_volume = Some(Arc::new(|d, memory, cx, r| {
            if memory.seen().remove(r.volume.as_str()) {
                d.delete(cx, r.volume)?;
            }
            let made = d.clone_volume(cx, r);
            let source = d.get(cx, r.source).ok().flatten();
            if let (true, CloneKey::Own(key), Some(source)) = (not_done(&made), r.key, source) {
                let content = VolumeContent::Blank;
                let request = CreateVolume::new(r.volume, source.guest, source.format, key, content);
                blank(d, cx, &request)?;
                memory.first(r.volume);
            }
            made
        }));
    });
    assert!(seen.contains("it has another content than its request"), "{seen}");
}
