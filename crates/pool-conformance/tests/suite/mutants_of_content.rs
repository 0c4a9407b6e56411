use std::sync::Arc;

use strongroom_storage_pool::{
    CloneKey, CreateVolume, Declassification, ErrorKind, OpContext, PoolDriver, PoolError, Volume,
    VolumeContent, VolumeKey,
};
use strongroom_types::DiskFormat;

use crate::faulty::error;
use crate::lying_guest::LyingGuest;
use crate::mutant::Spoil;
use crate::mutants_of_volumes::{is_plain, there};

/// The same request for a blank volume.
pub(crate) fn blank(
    d: &dyn PoolDriver,
    cx: &OpContext<'_>,
    r: &CreateVolume<'_>,
) -> Result<Volume, PoolError> {
    let mut request = *r;
    request.content = VolumeContent::Blank;
    d.create(cx, &request)
}

fn taken() -> PoolError {
    error(ErrorKind::AlreadyExists, "it is there")
}

/// A blank volume in place of this one.
fn emptied(
    d: &dyn PoolDriver,
    cx: &OpContext<'_>,
    volume: &Volume,
    key: VolumeKey<'_>,
) -> Result<Volume, PoolError> {
    d.delete(cx, &volume.id)?;
    let content = VolumeContent::Blank;
    d.create(
        cx,
        &CreateVolume::new(&volume.id, volume.guest, volume.format, key, content),
    )
}

pub(crate) const TABLE: &[(&str, Spoil)] = &[
    ("clone-opens-with-its-own-key-only", |m| {
        m.site_is(|site, pool| site.with_guest(Arc::new(LyingGuest::opens_written_raw(pool))));
    }),
    ("clone-is-what-its-source-is", |m| {
        m.faults.clone_volume = Some(Arc::new(|d, _, cx, r| {
            let made = d.clone_volume(cx, r)?;
            match r.key {
                CloneKey::Own(VolumeKey::Plain) => emptied(d, cx, &made, VolumeKey::Plain),
                _ => Ok(made),
            }
        }));
    }),
    ("clone-again-is-the-same-volume", |m| {
        m.faults.clone_volume = Some(Arc::new(|d, _, cx, r| match there(d, cx, r.volume) {
            Some(_) => Err(d.clone_volume(cx, r).err().unwrap_or_else(taken)),
            None => d.clone_volume(cx, r),
        }));
    }),
    ("clone-of-nothing-is-not-found", |m| {
        m.faults.clone_volume = Some(Arc::new(|d, _, cx, r| match there(d, cx, r.source) {
            None => Err(error(ErrorKind::InvalidRequest, "there is no source")),
            Some(_) => d.clone_volume(cx, r),
        }));
    }),
    ("clone-onto-the-other-side-is-refused", |m| {
        m.faults.clone_volume = Some(Arc::new(|d, _, cx, r| match (there(d, cx, r.source), r.key) {
            (Some(source), CloneKey::Own(key))
                if is_plain(key) && source.encryption.is_some() && source.format == DiskFormat::Raw =>
            {
                let content = VolumeContent::Blank;
                let request = CreateVolume::new(r.volume, source.guest, source.format, key, content);
                d.create(cx, &request)
            }
            _ => d.clone_volume(cx, r),
        }));
    }),
    ("clone-does-not-change-its-source", |m| {
        m.faults.clone_volume = Some(Arc::new(|d, memory, cx, r| {
            memory.first(format!("{} {}", r.source, r.volume));
            d.clone_volume(cx, r)
        }));
        m.faults.delete = Some(Arc::new(|d, memory, cx, volume| {
            for pair in memory.seen().iter() {
                let (source, clone) = pair.split_once(' ').unwrap();
                if source == volume.as_str() {
                    d.delete(cx, &clone.parse().unwrap())?;
                }
            }
            d.delete(cx, volume)
        }));
    }),
    ("clone-with-a-shared-key-opens-with-it", |m| {
        m.faults.clone_volume = Some(Arc::new(|d, _, cx, r| {
            let made = d.clone_volume(cx, r)?;
            match r.key {
                CloneKey::Shared => emptied(d, cx, &made, r.source_key),
                CloneKey::Own(_) => Ok(made),
            }
        }));
    }),
    ("a-volume-has-the-content-of-its-template", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| match (r.content, r.key, r.format) {
            (VolumeContent::Template(_), VolumeKey::Plain, DiskFormat::Raw) => blank(d, cx, r),
            _ => d.create(cx, r),
        }));
    }),
    ("a-template-that-does-not-fit-is-refused", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| match (d.create(cx, r), r.content) {
            (Err(e), VolumeContent::Template(_)) if e.kind() == ErrorKind::InvalidRequest => blank(d, cx, r),
            (made, _) => made,
        }));
    }),
    ("a-copy-has-the-content-through-its-own-cipher", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| match (r.content, r.key) {
            (VolumeContent::Copy(_), VolumeKey::Encrypted(_)) => blank(d, cx, r),
            _ => d.create(cx, r),
        }));
    }),
    ("encrypted-content-does-not-become-plain-in-silence", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| match (r.content, r.key) {
            (VolumeContent::Copy(from), VolumeKey::Plain) => {
                let mut request = *r;
                request.content = VolumeContent::Declassified(from, Declassification { reason: "why not" });
                d.create(cx, &request)
            }
            _ => d.create(cx, r),
        }));
    }),
    ("declassifying-is-said-and-meant", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| match (r.content, r.key) {
            (VolumeContent::Declassified(..), VolumeKey::Plain) => blank(d, cx, r),
            _ => d.create(cx, r),
        }));
    }),
    ("an-overlay-says-on-what-it-lies", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| {
            let mut made = d.create(cx, r)?;
            made.overlay_of = None;
            Ok(made)
        }));
    }),
    ("an-overlay-of-a-template-without-a-name-is-refused", |m| {
        m.faults.create = Some(Arc::new(|d, _, cx, r| match r.content {
            VolumeContent::Overlay(template) if template.id.is_none() => {
                let mut request = *r;
                request.content = VolumeContent::Template(template);
                d.create(cx, &request)
            }
            _ => d.create(cx, r),
        }));
    }),
    ("what-is-written-to-an-overlay-is-encrypted", |m| {
        m.site_is(|site, _| {
            let sound = site.clone();
            site.with_stored(move |volume, at| {
                if at.base.is_some() {
                    return Ok((0..=255).cycle().take(256 << 10).collect());
                }
                sound.look(volume, at)
            })
        });
    }),
    ("a-template-in-use-is-kept", |m| {
        m.faults.forget_template = Some(Arc::new(|d, _, cx, template| {
            match d.forget_template(cx, template) {
                Err(e) if e.kind() == ErrorKind::Busy => Ok(()),
                other => other,
            }
        }));
    }),
    ("forgetting-an-unknown-template-is-fine", |m| {
        m.faults.create = Some(Arc::new(|d, memory, cx, r| {
            if let VolumeContent::Template(template) | VolumeContent::Overlay(template) = r.content {
                memory.first(template.id.map(ToString::to_string).unwrap_or_default());
            }
            d.create(cx, r)
        }));
        m.faults.forget_template = Some(Arc::new(|d, memory, cx, template| {
            if memory.seen().contains(template.as_str()) {
                return d.forget_template(cx, template);
            }
            Err(error(ErrorKind::NotFound, "there is no such template"))
        }));
    }),
    ("a-flattened-volume-stands-alone", |m| {
        m.faults.flatten = Some(Arc::new(|d, _, cx, r| {
            match there(d, cx, r.volume).unwrap().overlay_of {
                None => Err(error(ErrorKind::InvalidRequest, "it stands alone")),
                Some(_) => d.flatten(cx, r),
            }
        }));
    }),
];
