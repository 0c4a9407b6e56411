use strongroom_storage_pool::{PoolDriver, SnapshotAction, SnapshotVolume, Volume};

use crate::bench::{Bench, Kind};
use crate::check::{Check, Needs};
use crate::checks::snapshot::{act, kind};
use crate::expect::{done, same};
use crate::failure::{Checked, holds};
use crate::image::Image;

pub(crate) const OWN_NAMES: Check = Check::new(
    "a-snapshot-is-of-its-volume-only",
    "A snapshot is of its volume: one of the same name of another volume has the content of that, and neither is lost or changed with the other.",
    Needs::Snapshots,
    |bench| {
        let kind = kind(bench)?;
        let (ours, theirs, later) = (
            bench.image("ours")?,
            bench.image("theirs")?,
            bench.image("later")?,
        );
        let one = bench.make_with(kind, &ours)?;
        let other = bench.make_with(kind, &theirs)?;
        for volume in [&one, &other] {
            done("snapshot", act(bench, volume, "s", SnapshotAction::Create)?)?;
            bench.write(&volume.id, bench.key(kind, 0), &later)?;
        }
        let snapshot = vec![bench.snapshot("s")?];
        if bench.capabilities.revert {
            done("restore", act(bench, &one, "s", SnapshotAction::Restore)?)?;
            reads(
                bench,
                &one,
                kind,
                &ours,
                "the volume that was restored reads as at its snapshot",
            )?;
            reads(bench, &other, kind, &later, "the other volume reads as before")?;
        }
        done(
            "removing a snapshot",
            act(bench, &one, "s", SnapshotAction::Delete)?,
        )?;
        same("the snapshots", &Vec::new(), &bench.there(&one.id)?.snapshots)?;
        let kept = bench.there(&other.id)?.snapshots;
        same("the snapshots of the other volume", &snapshot, &kept)?;
        if bench.capabilities.revert {
            done(
                "restore of the other",
                act(bench, &other, "s", SnapshotAction::Restore)?,
            )?;
            reads(
                bench,
                &other,
                kind,
                &theirs,
                "the other volume reads as at its own snapshot",
            )?;
        }
        Ok(())
    },
);

fn reads(bench: &Bench, volume: &Volume, kind: Kind, image: &Image, expected: &str) -> Checked {
    holds(
        bench.reads(&volume.id, bench.key(kind, 0), image)?,
        expected,
        || "it has another content".to_owned(),
        "keep each snapshot with its volume: the name alone is no name in the storage",
    )
}

/// A volume with a snapshot, to which something was written since; and what it read at the snapshot.
fn changed_since(bench: &Bench, kind: Kind) -> Checked<(Volume, Image)> {
    let (first, second) = (bench.image("first")?, bench.image("second")?);
    let made = bench.make_with(kind, &first)?;
    done("snapshot", act(bench, &made, "s", SnapshotAction::Create)?)?;
    bench.write(&made.id, bench.key(kind, 0), &second)?;
    Ok((made, first))
}

/// Fails unless this driver knows the snapshot and brings back what is in it.
fn still_there(
    bench: &Bench,
    driver: &dyn PoolDriver,
    kind: Kind,
    (made, first): (&Volume, &Image),
) -> Checked {
    let there = done("get", driver.get(&bench.cx(), &made.id))?;
    let snapshots = there.map(|volume| volume.snapshots);
    same("the snapshots", &Some(vec![bench.snapshot("s")?]), &snapshots)?;
    if !bench.capabilities.revert {
        return Ok(());
    }
    let (snapshot, key) = (bench.snapshot("s")?, bench.key(kind, 0));
    let request = SnapshotVolume::new(&made.id, &snapshot, SnapshotAction::Restore, key);
    done("restore", driver.snapshot(&bench.cx(), &request))?;
    reads(bench, made, kind, first, "the volume reads as at the snapshot")
}

pub(crate) const RESTART: Check = Check::new(
    "snapshots-outlive-the-driver",
    "A driver that is opened again on the same storage knows the snapshots that are there, and restores them.",
    Needs::Snapshots,
    |bench| {
        let kind = kind(bench)?;
        let (made, first) = changed_since(bench, kind)?;
        still_there(bench, bench.reopened()?.as_ref(), kind, (&made, &first))
    },
);

pub(crate) const RECOVER: Check = Check::new(
    "recover-takes-no-snapshot",
    "Removing what work that never ended left behind takes no snapshot.",
    Needs::Snapshots,
    |bench| {
        let kind = kind(bench)?;
        let (made, first) = changed_since(bench, kind)?;
        done("recover", bench.driver.recover(&bench.cx()))?;
        still_there(bench, bench.driver.as_ref(), kind, (&made, &first))
    },
);
