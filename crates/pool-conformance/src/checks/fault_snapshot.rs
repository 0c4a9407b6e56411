use std::cell::Cell;

use strongroom_storage_pool::{SnapshotAction, SnapshotGroup, SnapshotVolume, VolumeKey};
use strongroom_types::VolumeId;

use crate::check::{Check, Needs};
use crate::checks::fault::{LEFT_BEHIND, each};
use crate::checks::snapshot::{act, kind};
use crate::expect::{done, same};
use crate::failure::{Failure, holds};

pub(crate) const SNAPSHOT: Check = Check::new(
    "snapshot-work-that-failed-is-finished-by-the-same-again",
    "After work on a snapshot that failed, the volume opens with its key, and the same request again finishes it.",
    Needs::Snapshots,
    |bench| {
        let kind = kind(bench)?;
        let (first, second) = (bench.image("first")?, bench.image("second")?);
        let (made, key) = (bench.make_with(kind, &first)?, bench.key(kind, 0));
        let mut actions = vec![SnapshotAction::Create];
        if bench.capabilities.revert {
            actions.push(SnapshotAction::Restore);
        }
        actions.push(SnapshotAction::Delete);
        for action in actions {
            each(bench, LEFT_BEHIND, |round| {
                if action == SnapshotAction::Restore {
                    bench.write(&made.id, key, &second)?;
                }
                if action == SnapshotAction::Delete {
                    done("snapshot", act(bench, &made, "s", SnapshotAction::Create)?)?;
                }
                let snapshot = bench.snapshot("s")?;
                let request = SnapshotVolume::new(&made.id, &snapshot, action, key);
                drop(round.attempt(|cx| bench.driver.snapshot(cx, &request)));
                bench.plan.calm();
                holds(
                    bench.opens(&made.id, key)?,
                    "the volume opens with its key",
                    || "the key does not open it".to_owned(),
                    "write a header only when a copy of it is safe",
                )?;
                let after = round.again("the work on the snapshot", |cx| {
                    bench.driver.snapshot(cx, &request)
                })?;
                let there = after.snapshots.contains(&snapshot);
                same(
                    "whether the snapshot is there",
                    &(action != SnapshotAction::Delete),
                    &there,
                )?;
                if action != SnapshotAction::Restore || bench.reads(&made.id, key, &first)? {
                    return Ok(());
                }
                let advice = "a restore that is done again brings back all of it";
                Err(Failure::new("the volume reads as then", "it has another content", advice).into())
            })?;
        }
        Ok(())
    },
);

pub(crate) const GROUP: Check = Check::new(
    "a-group-snapshot-that-failed-is-finished-by-the-same-again",
    "After a snapshot of a group that failed, none of the volumes has it, or the same request again finishes it.",
    Needs::SnapshotGroup,
    |bench| {
        let kind = kind(bench)?;
        let (first, second) = (bench.make(kind)?, bench.make(kind)?);
        let number = Cell::new(0);
        each(bench, LEFT_BEHIND, |round| {
            number.set(number.get() + 1);
            let snapshot = bench.snapshot(&format!("g{}", number.get()))?;
            let key = bench.key(kind, 0);
            let volumes: [(&VolumeId, VolumeKey<'_>); 2] = [(&first.id, key), (&second.id, key)];
            let request = SnapshotGroup::new(&volumes, &snapshot);
            drop(round.attempt(|cx| bench.driver.snapshot_group(cx, &request)));
            for volume in round.again("the same group", |cx| bench.driver.snapshot_group(cx, &request))? {
                same(
                    "whether the snapshot is there",
                    &true,
                    &volume.snapshots.contains(&snapshot),
                )?;
            }
            Ok(())
        })
    },
);
