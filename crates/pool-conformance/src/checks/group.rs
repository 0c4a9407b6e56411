use strongroom_storage_pool::{ErrorKind, PoolError, SnapshotAction, SnapshotGroup, Volume, VolumeKey};
use strongroom_types::VolumeId;

use crate::bench::Bench;
use crate::check::{Check, Needs};
use crate::checks::snapshot::{act, kind};
use crate::expect::{done, refused, same};
use crate::failure::Checked;

fn take(bench: &Bench, volumes: &[&Volume]) -> Checked<Result<Vec<Volume>, PoolError>> {
    let (snapshot, key) = (bench.snapshot("g")?, bench.key(kind(bench)?, 0));
    let volumes: Vec<(&VolumeId, VolumeKey<'_>)> = volumes.iter().map(|v| (&v.id, key)).collect();
    let request = SnapshotGroup::new(&volumes, &snapshot);
    Ok(bench.driver.snapshot_group(&bench.cx(), &request))
}

pub(crate) const ALL: Check = Check::new(
    "group-snapshot-takes-all-of-them",
    "Every volume of a group has the snapshot, the answer is in the order of the request, and again changes nothing.",
    Needs::SnapshotGroup,
    |bench| {
        let kind = kind(bench)?;
        let (first, second) = (bench.make(kind)?, bench.make(kind)?);
        for what in ["snapshot_group", "snapshot_group again"] {
            let taken = done(what, take(bench, &[&second, &first])?)?;
            let order: Vec<_> = taken.iter().map(|volume| &volume.id).collect();
            same("the order", &vec![&second.id, &first.id], &order)?;
            for volume in &taken {
                same("the snapshots", &vec![bench.snapshot("g")?], &volume.snapshots)?;
            }
        }
        Ok(())
    },
);

pub(crate) const MIXED: Check = Check::new(
    "group-snapshot-is-all-or-none",
    "When one of a group has a snapshot of this name already, it is refused as already existing, and none of the others has it.",
    Needs::SnapshotGroup,
    |bench| {
        let kind = kind(bench)?;
        let (first, second) = (bench.make(kind)?, bench.make(kind)?);
        done("snapshot", act(bench, &second, "g", SnapshotAction::Create)?)?;
        let mixed = take(bench, &[&first, &second])?;
        refused("snapshot_group where one has it", mixed, ErrorKind::AlreadyExists)?;
        same(
            "the snapshots of the other",
            &Vec::new(),
            &bench.there(&first.id)?.snapshots,
        )
    },
);
