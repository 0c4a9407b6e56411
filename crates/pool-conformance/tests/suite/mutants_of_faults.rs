use std::fmt::Display;
use std::sync::Arc;

use strongroom_storage_pool::{ErrorKind, OpContext, PoolError, VolumeContent};
use strongroom_types::Call;

use crate::faulty::{Memory, error, lost};
use crate::mutant::Spoil;
use crate::mutants_of_content::blank;

/// Does not do again what failed once because an answer was lost.
fn stubborn<T>(
    memory: &Memory,
    what: impl Display,
    work: impl FnOnce() -> Result<T, PoolError>,
) -> Result<T, PoolError> {
    let what = what.to_string();
    if memory.seen().contains(&what) {
        return Err(error(ErrorKind::Busy, "somebody is at it already"));
    }
    let done = work();
    if lost(&done) {
        memory.first(what);
    }
    done
}

/// Whether a host failed, whatever it did before.
fn by_host<T>(done: &Result<T, PoolError>) -> bool {
    done.as_ref().is_err_and(|e| e.kind() == ErrorKind::Io)
}

pub(crate) const TABLE: &[(&str, Spoil)] = &[
    ("a-create-that-failed-is-finished-by-the-same-again", |m| {
        m.on_host().create = Some(Arc::new(|d, memory, cx, r| match r.content {
            VolumeContent::Blank => stubborn(memory, r.volume, || d.create(cx, r)),
            _ => d.create(cx, r),
        }));
        m.faults.delete = Some(Arc::new(|d, memory, cx, volume| {
            memory.seen().remove(volume.as_str());
            d.delete(cx, volume)
        }));
    }),
    ("a-create-that-failed-is-not-found-until-it-is-whole", |m| {
        m.on_host().create = Some(Arc::new(|d, memory, cx, r| {
            if memory.seen().remove(r.volume.as_str()) {
                d.delete(cx, r.volume)?;
            }
            let made = d.create(cx, r);
            // As one that gives the volume its name and fills it afterwards.
            let not_filled = by_host(&made) && !lost(&made);
            if not_filled && matches!(r.content, VolumeContent::Template(_)) {
                blank(d, cx, r)?;
                memory.first(r.volume);
            }
            made
        }));
    }),
    ("a-create-that-failed-leaves-nothing-behind", |m| {
        m.on_host().create = Some(Arc::new(|d, memory, cx, r| {
            let made = d.create(cx, r);
            if lost(&made) {
                memory.first(r.volume);
            } else {
                memory.seen().remove(r.volume.as_str());
            }
            made
        }));
        m.faults.delete = Some(Arc::new(|d, memory, cx, volume| {
            if memory.seen().contains(volume.as_str()) {
                return Ok(());
            }
            d.delete(cx, volume)
        }));
    }),
    ("a-host-that-hangs-is-left-when-the-caller-says-so", |m| {
        m.on_host().create = Some(Arc::new(|d, _, cx, r| {
            if cx.call.check().is_err() {
                return d.create(cx, r);
            }
            let call = Call::new();
            d.create(&OpContext::new(&call, cx.endpoints), r)
        }));
    }),
    ("a-delete-that-failed-is-finished-by-the-same-again", |m| {
        m.on_host().delete = Some(Arc::new(|d, memory, cx, volume| {
            stubborn(memory, volume, || d.delete(cx, volume))
        }));
    }),
    ("an-attach-that-failed-is-finished-by-the-same-again", |m| {
        m.on_host().attach = Some(Arc::new(|d, memory, cx, volume, host| {
            if memory.seen().contains(volume.as_str()) {
                return Err(error(ErrorKind::Busy, "somebody is at it already"));
            }
            let at = d.attach(cx, volume, host);
            if by_host(&at) {
                memory.first(volume);
            }
            at
        }));
    }),
    ("a-growth-that-failed-is-finished-by-the-same-again", |m| {
        m.on_host().grow = Some(Arc::new(|d, memory, cx, r| {
            stubborn(memory, r.volume, || d.grow(cx, r))
        }));
    }),
    ("a-shrinking-that-failed-is-finished-by-the-same-again", |m| {
        m.on_host().shrink = Some(Arc::new(|d, memory, cx, r| {
            stubborn(memory, r.volume, || d.shrink(cx, r))
        }));
    }),
    ("snapshot-work-that-failed-is-finished-by-the-same-again", |m| {
        m.on_host().snapshot = Some(Arc::new(|d, memory, cx, r| {
            stubborn(memory, r.volume, || d.snapshot(cx, r))
        }));
    }),
    (
        "a-group-snapshot-that-failed-is-finished-by-the-same-again",
        |m| {
            m.on_host().snapshot_group = Some(Arc::new(|d, memory, cx, r| {
                stubborn(memory, r.snapshot, || d.snapshot_group(cx, r))
            }));
        },
    ),
    (
        "a-create-with-content-that-failed-is-finished-by-the-same-again",
        |m| {
            m.on_host().create = Some(Arc::new(|d, memory, cx, r| match r.content {
                VolumeContent::Template(_) => stubborn(memory, r.volume, || d.create(cx, r)),
                _ => d.create(cx, r),
            }));
        },
    ),
    ("a-clone-that-failed-is-finished-by-the-same-again", |m| {
        m.on_host().clone_volume = Some(Arc::new(|d, memory, cx, r| {
            stubborn(memory, r.volume, || d.clone_volume(cx, r))
        }));
    }),
    ("a-flattening-that-failed-is-finished-by-the-same-again", |m| {
        m.on_host().flatten = Some(Arc::new(|d, memory, cx, r| {
            stubborn(memory, r.volume, || d.flatten(cx, r))
        }));
    }),
];
