use std::sync::Arc;

use strongroom_storage_pool::{
    CloneKey, CreateVolume, ErrorKind, OpContext, PoolDriver, PoolError, SnapshotAction, SnapshotVolume,
    Volume, VolumeContent, VolumeKey,
};
use strongroom_types::{Call, VolumeId};

use crate::faulty::Memory;
use crate::mutant::Spoil;
use crate::mutants_of_volumes::{kept, there};

fn is_wrong_key<T>(done: &Result<T, PoolError>) -> bool {
    done.as_ref().is_err_and(|e| e.kind() == ErrorKind::WrongKey)
}

/// The snapshots without those that this driver did not take itself.
fn remembered(memory: &Memory, mut volume: Volume) -> Volume {
    let (seen, id) = (memory.seen(), volume.id.clone());
    volume
        .snapshots
        .retain(|snapshot| seen.contains(&format!("{id} {snapshot}")));
    volume
}

/// Removes this snapshot of every volume of which one was taken.
fn remove_all(d: &dyn PoolDriver, memory: &Memory, cx: &OpContext<'_>, r: &SnapshotVolume<'_>) {
    for taken in memory.seen().iter() {
        let (volume, snapshot) = taken.split_once(' ').unwrap();
        let volume: VolumeId = volume.parse().unwrap();
        if snapshot == r.snapshot.as_str() && there(d, cx, &volume).is_some() {
            let request = SnapshotVolume::new(&volume, r.snapshot, SnapshotAction::Delete, r.key);
            d.snapshot(cx, &request).unwrap();
        }
    }
}

pub(crate) const TABLE: &[(&str, Spoil)] = &[
    ("a-snapshot-is-of-its-volume-only", |m| {
        m.faults.snapshot = Some(Arc::new(|d, memory, cx, r| {
            let after = d.snapshot(cx, r)?;
            match r.action {
                SnapshotAction::Create => drop(memory.first(kept(r))),
                SnapshotAction::Delete => remove_all(d, memory, cx, r),
                SnapshotAction::Restore => {}
            }
            Ok(after)
        }));
    }),
    ("snapshots-outlive-the-driver", |m| {
        m.faults.snapshot = Some(Arc::new(|d, memory, cx, r| {
            memory.first(kept(r));
            d.snapshot(cx, r)
        }));
        m.faults.get = Some(Arc::new(|d, memory, cx, volume| {
            Ok(there(d, cx, volume).map(|volume| remembered(memory, volume)))
        }));
    }),
    ("recover-takes-no-snapshot", |m| {
        m.faults.recover = Some(Arc::new(|d, memory, cx| {
            memory.first("recovered");
            d.recover(cx)
        }));
        m.faults.get = Some(Arc::new(|d, memory, cx, volume| {
            let mut found = d.get(cx, volume)?;
            if let Some(found) = found.as_mut().filter(|_| memory.seen().contains("recovered")) {
                found.snapshots.clear();
            }
            Ok(found)
        }));
    }),
    ("snapshot-with-another-key-is-refused", |m| {
        m.faults.snapshot = Some(Arc::new(|d, _, cx, r| match d.snapshot(cx, r) {
            done if is_wrong_key(&done) => Ok(there(d, cx, r.volume).unwrap()),
            done => done,
        }));
    }),
    ("clone-again-with-another-key-is-refused", |m| {
        m.faults.clone_volume = Some(Arc::new(|d, _, cx, r| match there(d, cx, r.volume) {
            Some(clone) if is_wrong_key(&d.clone_volume(cx, r)) => Ok(clone),
            _ => d.clone_volume(cx, r),
        }));
    }),
    ("clone-with-another-key-of-its-source-is-refused", |m| {
        m.faults.clone_volume = Some(Arc::new(|d, _, cx, r| {
            let done = d.clone_volume(cx, r);
            let (Some(source), CloneKey::Own(key)) = (there(d, cx, r.source), r.key) else {
                return done;
            };
            if !is_wrong_key(&done) || there(d, cx, r.volume).is_some() {
                return done;
            }
            let blank = VolumeContent::Blank;
            d.create(
                cx,
                &CreateVolume::new(r.volume, source.guest, source.format, key, blank),
            )
        }));
    }),
    ("delete-leaves-nothing-in-the-storage", |m| {
        m.site_is(|site, pool| {
            let pool = Arc::clone(pool);
            site.with_listing(move || Ok(pool.volumes().iter().map(ToString::to_string).collect()))
        });
        m.faults.snapshot = Some(Arc::new(|d, memory, cx, r| {
            memory.first(r.volume);
            d.snapshot(cx, r)
        }));
        m.faults.delete = Some(Arc::new(|d, memory, cx, volume| {
            if let Some(found) = there(d, cx, volume).filter(|_| memory.seen().contains(volume.as_str())) {
                let left = format!("left-by-{volume}").parse().unwrap();
                let (plain, blank) = (VolumeKey::Plain, VolumeContent::Blank);
                d.create(
                    cx,
                    &CreateVolume::new(&left, found.guest, found.format, plain, blank),
                )?;
            }
            d.delete(cx, volume)
        }));
    }),
    ("a-call-that-is-over-does-nothing", |m| {
        m.faults.delete = Some(Arc::new(|d, _, cx, volume| {
            let call = Call::new();
            d.delete(&OpContext::new(&call, cx.endpoints), volume)
        }));
    }),
    ("no-key-is-in-the-storage", |m| {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let (stores, kept) = (Arc::clone(&directory), directory);
        m.site_is(move |site, pool| {
            let (pool, kept, sound) = (Arc::clone(pool), Arc::clone(&kept), site.clone());
            site.with_storage(move || {
                // What the volumes hold, as in a directory.
                for volume in pool.volumes() {
                    let at = strongroom_storage_pool::Attachment::new(
                        strongroom_storage_pool::DiskLocation::file(std::path::Path::new("/memory")),
                        strongroom_types::DiskFormat::Raw,
                        None,
                    );
                    std::fs::write(kept.path().join(volume.as_str()), sound.look(&volume, &at)?)?;
                }
                Ok(vec![kept.path().to_owned()])
            })
        });
        m.faults.create = Some(Arc::new(move |d, _, cx, r| {
            if let VolumeKey::Encrypted(key) = r.key {
                std::fs::write(stores.path().join("log"), key.expose_secret()).unwrap();
            }
            d.create(cx, r)
        }));
    }),
];
