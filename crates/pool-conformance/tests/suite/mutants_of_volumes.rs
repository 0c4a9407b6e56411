use std::path::Path;
use std::sync::Arc;

use strongroom_storage_pool::{
    Attachment, CreateVolume, DiskLocation, ErrorKind, OpContext, PoolDriver, PoolError, ResizeVolume,
    SnapshotAction, SnapshotVolume, Volume, VolumeContent, VolumeKey,
};
use strongroom_types::{Call, DiskFormat, GuestSize, VolumeId};

use crate::faulty::error;
use crate::lying_guest::LyingGuest;
use crate::mutant::Spoil;
use crate::site::SIZE;

/// Whether this asks for a blank plain raw volume, the last kind that a check looks at.
pub(crate) fn least(r: &CreateVolume<'_>) -> bool {
    let plain = matches!(r.key, VolumeKey::Plain);
    plain && r.format == DiskFormat::Raw && matches!(r.content, VolumeContent::Blank)
}

pub(crate) fn there(d: &dyn PoolDriver, cx: &OpContext<'_>, volume: &VolumeId) -> Option<Volume> {
    // Whatever has become of the caller's call.
    let call = Call::new();
    d.get(&OpContext::new(&call, cx.endpoints), volume).ok().flatten()
}

pub(crate) fn is_plain(key: VolumeKey<'_>) -> bool {
    matches!(key, VolumeKey::Plain)
}

fn is_least(volume: &Volume) -> bool {
    volume.format == DiskFormat::Raw && volume.encryption.is_none()
}

/// A blank volume in place of the one that is there.
fn blank(
    d: &dyn PoolDriver,
    cx: &OpContext<'_>,
    r: &ResizeVolume<'_>,
    format: DiskFormat,
) -> Result<Volume, PoolError> {
    d.delete(cx, r.volume)?;
    d.create(
        cx,
        &CreateVolume::new(r.volume, r.to, format, r.key, VolumeContent::Blank),
    )
}

fn by(bytes: GuestSize, more: u64) -> GuestSize {
    GuestSize::new(bytes.get() + more).unwrap()
}

pub(crate) const TABLE: &[(&str, Spoil)] = &[
    ("create-gives-the-exact-size", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| {
            let mut request = *r;
            if least(r) && r.guest.get() == SIZE + 1536 {
                request.guest = by(r.guest, 512);
            }
            d.create(cx, &request)
        }));
    }),
    ("get-tells-what-is-there", |m| {
        m.faults.get = Some(Arc::new(|d, _, cx, volume| {
            let mut there = there(d, cx, volume);
            if let Some(volume) = there.as_mut().filter(|volume| is_least(volume)) {
                let more = by(GuestSize::new(volume.device.get()).unwrap(), 512);
                volume.device = strongroom_types::DeviceSize::new(more.get()).unwrap();
            }
            Ok(there)
        }));
    }),
    ("create-again-is-the-same-volume", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| match there(d, cx, r.volume) {
            Some(_) if least(r) => Err(error(ErrorKind::AlreadyExists, "it is there")),
            _ => d.create(cx, r),
        }));
    }),
    ("create-with-another-size-is-a-conflict", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| match there(d, cx, r.volume) {
            Some(same) if is_least(&same) && least(r) => Ok(same),
            _ => d.create(cx, r),
        }));
    }),
    ("create-in-another-format-is-a-conflict", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| match there(d, cx, r.volume) {
            Some(other) if other.format != r.format => Ok(other),
            _ => d.create(cx, r),
        }));
    }),
    ("create-on-the-other-side-is-a-conflict", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| match there(d, cx, r.volume) {
            Some(other) if other.encryption.is_none() != matches!(r.key, VolumeKey::Plain) => Ok(other),
            _ => d.create(cx, r),
        }));
    }),
    ("create-again-with-another-key-is-refused", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| match d.create(cx, r) {
            Err(e) if e.kind() == ErrorKind::WrongKey => Ok(there(d, cx, r.volume).unwrap()),
            other => other,
        }));
    }),
    ("create-again-keeps-the-content", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| {
            if matches!(r.content, VolumeContent::Template(_)) {
                d.delete(cx, r.volume)?;
            }
            d.create(cx, r)
        }));
    }),
    ("the-storage-has-ciphertext", |m| {
        m.site_is(|site, _| {
            let sound = site.clone();
            site.with_stored(move |volume, at| {
                if at.format == DiskFormat::Raw && at.encryption.is_some() {
                    return Ok((0..=255).cycle().take(256 << 10).collect());
                }
                sound.look(volume, at)
            })
        });
    }),
    ("the-key-opens-the-volume", |m| {
        m.site_is(|site, pool| site.with_guest(Arc::new(LyingGuest::refuses_blank_raw(pool))));
    }),
    ("another-key-does-not-open-the-volume", |m| {
        m.site_is(|site, pool| site.with_guest(Arc::new(LyingGuest::opens_blank_raw(pool))));
    }),
    ("no-key-is-in-any-text", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| match (d.create(cx, r), r.key) {
            (Err(e), VolumeKey::Encrypted(key)) => Err(PoolError::new(
                e.kind(),
                "create",
                format!("{} does not fit", String::from_utf8_lossy(key.expose_secret())),
            )),
            (made, _) => made,
        }));
    }),
    ("delete-removes-the-volume", |m| {
        m.faults.delete = Some(Arc::new(|d, _, cx, volume| match there(d, cx, volume) {
            Some(volume) if is_least(&volume) => Ok(()),
            _ => d.delete(cx, volume),
        }));
    }),
    ("delete-of-nothing-is-fine", |m| {
        m.faults.delete = Some(Arc::new(|d, _, cx, volume| match there(d, cx, volume) {
            Some(_) => d.delete(cx, volume),
            None => Err(error(ErrorKind::NotFound, "there is no such volume")),
        }));
    }),
    ("delete-takes-the-snapshots-along", |m| {
        m.faults.snapshot = Some(Arc::new(|d, memory, cx, r| {
            memory.first(r.volume);
            d.snapshot(cx, r)
        }));
        m.faults.create = Some(Arc::new(|d, memory, cx, r| {
            let mut made = d.create(cx, r)?;
            if memory.seen().contains(r.volume.as_str()) {
                made.snapshots.push("s".parse().unwrap());
            }
            Ok(made)
        }));
    }),
    ("attach-again-is-the-same-answer", |m| {
        m.faults.attach = Some(Arc::new(|d, memory, cx, volume, host| {
            let mut at = d.attach(cx, volume, host)?;
            at.discard = memory.first(volume);
            Ok(at)
        }));
    }),
    ("attach-says-what-the-volume-is", |m| {
        m.faults.attach = Some(Arc::new(|d, _, cx, volume, host| {
            let mut at = d.attach(cx, volume, host)?;
            at.format = DiskFormat::Qcow2;
            Ok(at)
        }));
    }),
    ("attach-passes-discards-on-where-the-pool-can", |m| {
        m.able(|can| can.discard = false).attach = Some(Arc::new(|d, _, cx, volume, host| {
            let mut at = d.attach(cx, volume, host)?;
            at.discard = true;
            Ok(at)
        }));
    }),
    ("attach-of-nothing-is-refused", |m| {
        m.faults.attach = Some(Arc::new(|d, _, cx, volume, host| {
            let nowhere = DiskLocation::file(Path::new("/nowhere"));
            let at = d.attach(cx, volume, host);
            Ok(at.unwrap_or(Attachment::new(nowhere, DiskFormat::Raw, None)))
        }));
    }),
    ("detach-of-what-is-not-attached-is-fine", |m| {
        m.faults.detach = Some(Arc::new(|d, _, cx, volume, host| match there(d, cx, volume) {
            Some(_) => d.detach(cx, volume, host),
            None => Err(error(ErrorKind::NotFound, "there is no such volume")),
        }));
    }),
    ("grow-gives-the-exact-size", |m| {
        m.faults.grow = Some(Arc::new(|d, _, cx, r| {
            let mut request = *r;
            if there(d, cx, r.volume).is_some_and(|volume| is_least(&volume)) {
                request.to = by(r.to, 512);
            }
            d.grow(cx, &request)
        }));
    }),
    ("grow-to-the-same-size-changes-nothing", |m| {
        m.faults.grow = Some(Arc::new(|d, _, cx, r| match there(d, cx, r.volume) {
            Some(same) if same.guest == r.to => Err(error(ErrorKind::InvalidRequest, "it is as large")),
            _ => d.grow(cx, r),
        }));
    }),
    ("grow-to-a-smaller-size-is-refused", |m| {
        m.faults.grow = Some(Arc::new(|d, _, cx, r| match there(d, cx, r.volume) {
            Some(larger) if is_least(&larger) && larger.guest > r.to => Ok(larger),
            _ => d.grow(cx, r),
        }));
    }),
    ("grow-keeps-header-and-content", |m| {
        m.faults.grow = Some(Arc::new(|d, _, cx, r| match there(d, cx, r.volume) {
            Some(volume) if is_least(&volume) && volume.guest < r.to && is_plain(r.key) => {
                blank(d, cx, r, volume.format)
            }
            _ => d.grow(cx, r),
        }));
    }),
    ("grow-with-another-key-is-refused", |m| {
        m.faults.grow = Some(Arc::new(|d, _, cx, r| match there(d, cx, r.volume) {
            Some(plain) if is_least(&plain) => {
                let mut request = *r;
                request.key = VolumeKey::Plain;
                d.grow(cx, &request)
            }
            _ => d.grow(cx, r),
        }));
    }),
    ("shrink-gives-the-exact-size", |m| {
        m.faults.shrink = Some(Arc::new(|d, _, cx, r| {
            let mut request = *r;
            if there(d, cx, r.volume).is_some_and(|volume| is_least(&volume)) {
                request.to = by(r.to, 512);
            }
            d.shrink(cx, &request)
        }));
    }),
    ("shrink-to-the-same-size-changes-nothing", |m| {
        m.faults.shrink = Some(Arc::new(|d, _, cx, r| match there(d, cx, r.volume) {
            Some(same) if same.guest == r.to => Err(error(ErrorKind::InvalidRequest, "it is as small")),
            _ => d.shrink(cx, r),
        }));
    }),
    ("shrink-to-a-larger-size-is-refused", |m| {
        m.faults.shrink = Some(Arc::new(|d, _, cx, r| match there(d, cx, r.volume) {
            Some(smaller) if smaller.guest < r.to => Ok(smaller),
            _ => d.shrink(cx, r),
        }));
    }),
    ("shrink-keeps-header-and-content", |m| {
        m.faults.shrink = Some(Arc::new(|d, _, cx, r| match there(d, cx, r.volume) {
            Some(volume) if is_least(&volume) => blank(d, cx, r, volume.format),
            _ => d.shrink(cx, r),
        }));
    }),
    ("snapshot-again-changes-nothing", |m| {
        m.faults.snapshot = Some(Arc::new(|d, _, cx, r| {
            let before = there(d, cx, r.volume).unwrap().snapshots;
            let mut after = d.snapshot(cx, r)?;
            if r.action == SnapshotAction::Create && before.contains(r.snapshot) {
                after.snapshots.push(r.snapshot.clone());
            }
            Ok(after)
        }));
    }),
    ("removing-a-snapshot-again-is-fine", |m| {
        m.faults.snapshot = Some(Arc::new(|d, _, cx, r| {
            let before = there(d, cx, r.volume).unwrap().snapshots;
            if r.action == SnapshotAction::Delete && !before.contains(r.snapshot) {
                return Err(error(ErrorKind::NotFound, "there is no such snapshot"));
            }
            d.snapshot(cx, r)
        }));
    }),
    ("restore-brings-back-the-content", |m| {
        m.faults.snapshot = Some(Arc::new(|d, _, cx, r| {
            let before = there(d, cx, r.volume).unwrap().snapshots;
            if r.action == SnapshotAction::Create && before.contains(r.snapshot) {
                // One of now in place of the one that is there.
                d.snapshot(
                    cx,
                    &SnapshotVolume::new(r.volume, r.snapshot, SnapshotAction::Delete, r.key),
                )?;
            }
            d.snapshot(cx, r)
        }));
    }),
    ("restore-brings-back-the-size", |m| {
        m.faults.snapshot = Some(Arc::new(|d, _, cx, r| {
            let before = there(d, cx, r.volume).unwrap();
            let after = d.snapshot(cx, r)?;
            if after.guest >= before.guest {
                return Ok(after);
            }
            d.grow(cx, &ResizeVolume::new(r.volume, before.guest, r.key))
        }));
    }),
    ("restore-stays-on-its-side-of-the-cipher", |m| {
        m.faults.snapshot = Some(Arc::new(|d, _, cx, r| {
            let mut after = d.snapshot(cx, r)?;
            if r.action == SnapshotAction::Restore {
                after.encryption = None;
            }
            Ok(after)
        }));
    }),
    ("restore-of-nothing-is-not-found", |m| {
        m.faults.snapshot = Some(Arc::new(|d, _, cx, r| match d.snapshot(cx, r) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(there(d, cx, r.volume).unwrap()),
            other => other,
        }));
    }),
    ("group-snapshot-takes-all-of-them", |m| {
        m.faults.snapshot_group = Some(Arc::new(|d, _, cx, r| {
            let mut taken = d.snapshot_group(cx, r)?;
            taken.reverse();
            Ok(taken)
        }));
    }),
    ("group-snapshot-is-all-or-none", |m| {
        m.faults.snapshot_group = Some(Arc::new(|d, _, cx, r| {
            let take = |(volume, key): &(&VolumeId, VolumeKey<'_>)| {
                let request = SnapshotVolume::new(volume, r.snapshot, SnapshotAction::Create, *key);
                d.snapshot(cx, &request)
            };
            r.volumes.iter().map(take).collect()
        }));
    }),
];

pub(crate) fn kept(r: &SnapshotVolume<'_>) -> String {
    format!("{} {}", r.volume, r.snapshot)
}
