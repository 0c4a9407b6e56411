use std::path::Path;

use strongroom_endpoint_selector::{Disk, Protection};
use strongroom_storage_pool::{
    CloneKey, CloneKind, CloneVolume, DiskLocation, ErrorKind, LimitVolume, PoolError, QosLimits,
    ResizeVolume, SnapshotAction, SnapshotGroup, SnapshotVolume, SourceImage, Template, VolumeContent,
    VolumeKey,
};
use strongroom_types::DiskFormat;

use crate::bench::{Bench, Kind};
use crate::check::{Check, Needs};
use crate::expect::{done, refused, same};
use crate::failure::{Checked, Failure, Stop, holds};

pub(crate) const UNCHANGING: Check = Check::new(
    "capabilities-do-not-change",
    "What the pool can do does not change while the driver lives.",
    Needs::Nothing,
    |bench| {
        let (pool, before) = (bench.driver.pool().clone(), bench.driver.capabilities());
        let kind = bench.kind()?;
        let made = bench.make(kind)?;
        bench.put_away(&made.id);
        same("the name of the pool", &pool, bench.driver.pool())?;
        same("the capabilities", &before, &bench.driver.capabilities())
    },
);

pub(crate) const PREPARE_AGAIN: Check = Check::new(
    "prepare-again-is-fine",
    "Making the storage ready again is fine.",
    Needs::Nothing,
    |bench| done("prepare again", bench.driver.prepare(&bench.cx())),
);

pub(crate) const ANOTHER_POOL: Check = Check::new(
    "storage-of-another-pool-is-refused",
    "Preparing storage that is another pool's is refused as already existing.",
    Needs::Nothing,
    |bench| {
        let Some(open) = &bench.site.other_pool else {
            let why = "the site has no driver of another pool on the same storage";
            return Err(Stop::NotTested(why.to_owned()));
        };
        let other = open().map_err(|e| Stop::NotTested(format!("the other driver does not open: {e}")))?;
        let prepared = other.prepare(&bench.cx());
        refused("prepare for another pool", prepared, ErrorKind::AlreadyExists).map(drop)
    },
);

pub(crate) const USAGE: Check = Check::new(
    "usage-adds-up",
    "The pool says how full it is: no more is free than there is.",
    Needs::Nothing,
    |bench| {
        let usage = done("usage", bench.driver.usage(&bench.cx()))?;
        holds(
            usage.free <= usage.total,
            "at most as much is free as there is",
            || format!("{} of {} are free", usage.free, usage.total),
            "count both in bytes, from the same place",
        )
    },
);

pub(crate) const RESTART: Check = Check::new(
    "volumes-outlive-the-driver",
    "A driver that is opened again on the same storage knows the volumes that are there.",
    Needs::Nothing,
    |bench| {
        let kind = bench.kind()?;
        let made = bench.make(kind)?;
        let again = bench.reopened()?;
        let seen = done("get by the driver opened again", again.get(&bench.cx(), &made.id))?;
        same("the volume", &Some(made), &seen)
    },
);

pub(crate) const UNSUPPORTED: Check = Check::new(
    "what-the-pool-cannot-do-is-unsupported",
    "What the capabilities do not have is refused as unsupported and changes nothing.",
    Needs::Nothing,
    unsupported,
);

fn unsupported(bench: &Bench) -> Checked {
    let refusals = refusals_of_create(bench)?;
    let kind = bench.kind()?;
    let made = bench.make(kind)?;
    let later = refusals_of_change(bench, kind, &made.id)?;
    if refusals.is_empty() && later.is_empty() {
        return Err(Stop::NotTested(
            "there is nothing that the pool cannot do".to_owned(),
        ));
    }
    for (what, result) in refusals.into_iter().chain(later) {
        refused(what, result, ErrorKind::Unsupported)?;
    }
    same("the volume", &made, &bench.there(&made.id)?)
}

type Refusals = Vec<(&'static str, Result<(), PoolError>)>;

fn refusals_of_create(bench: &Bench) -> Checked<Refusals> {
    let can = &bench.capabilities;
    let image = bench.image("unsupported")?;
    let template = bench.template()?;
    let from = Template::named(&template, SourceImage::new(&image.path, DiskFormat::Raw));
    let nowhere = DiskLocation::file(Path::new("/nowhere"));
    let copy = VolumeContent::Copy(Disk::new(&nowhere, DiskFormat::Raw, Protection::Plain));
    let plain = |format| Kind {
        format,
        encrypted: false,
    };
    let mut refusals: Refusals = Vec::new();
    let mut refuse = |what, kind: Kind, content| -> Checked {
        let id = bench.volume()?;
        let made = bench.create(&id, kind, bench.size()?, content).map(drop);
        if made.is_err() && bench.get(&id)?.is_some() {
            let advice = "decide what is unsupported before anything is done";
            return Err(Failure::new("what was refused is not there", what, advice).into());
        }
        refusals.push((what, made));
        Ok(())
    };
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        if !can.formats.contains(&format) {
            refuse(
                "create in a format that the pool does not have",
                plain(format),
                VolumeContent::Blank,
            )?;
        }
    }
    let kind = plain(bench.kind()?.format);
    if !can.templates {
        refuse("create from a template", kind, VolumeContent::Template(from))?;
    }
    if !can.overlays.contains(&kind.format) {
        refuse("create of an overlay", kind, VolumeContent::Overlay(from))?;
    }
    if !can.copies {
        refuse("create of a copy", kind, copy)?;
    }
    Ok(refusals)
}

fn refusals_of_change(bench: &Bench, kind: Kind, id: &strongroom_types::VolumeId) -> Checked<Refusals> {
    let (can, driver, cx) = (&bench.capabilities, &bench.driver, bench.cx());
    let (key, snapshot, copy) = (bench.key(kind, 0), bench.snapshot("s")?, bench.volume()?);
    let mut refusals: Refusals = Vec::new();
    if !can.grow {
        let request = ResizeVolume::new(id, bench.larger(1)?, key);
        refusals.push(("grow", driver.grow(&cx, &request).map(drop)));
    }
    if !can.shrink {
        let request = ResizeVolume::new(id, bench.bytes(bench.site.size)?, key);
        refusals.push(("shrink", driver.shrink(&cx, &request).map(drop)));
    }
    let mut take = |what, action| {
        let request = SnapshotVolume::new(id, &snapshot, action, key);
        refusals.push((what, driver.snapshot(&cx, &request).map(drop)));
    };
    let offline = can.snapshot_offline.contains(&kind.format);
    if !offline && !can.snapshot_online.contains(&kind.format) {
        take("snapshot", SnapshotAction::Create);
    }
    if offline && !can.revert {
        take("restore of a snapshot", SnapshotAction::Restore);
    }
    if !can.snapshot_group {
        let volumes: [(&_, VolumeKey<'_>); 1] = [(id, key)];
        let request = SnapshotGroup::new(&volumes, &snapshot);
        refusals.push(("snapshot_group", driver.snapshot_group(&cx, &request).map(drop)));
    }
    for (way, clone) in [
        (CloneKind::OwnKey, CloneKey::Own(bench.key(kind, 1))),
        (CloneKind::SharedKey, CloneKey::Shared),
    ] {
        if !can.clone.contains(&way) {
            let request = CloneVolume::new(id, key, &copy, clone);
            refusals.push(("clone_volume", driver.clone_volume(&cx, &request).map(drop)));
        }
    }
    if !can.qos {
        let request = LimitVolume::new(id, QosLimits::default());
        refusals.push(("limit", driver.limit(&cx, &request)));
    }
    Ok(refusals)
}
