//! Keys that are not those of the volume, to work on snapshots and to clones.

use strongroom_storage_pool::{
    CloneKey, CloneVolume, ErrorKind, PoolError, SnapshotAction, SnapshotVolume, Volume, VolumeKey,
};
use strongroom_types::SnapshotId;

use crate::bench::{Bench, Kind};
use crate::check::{Check, Needs};
use crate::checks::clone::with_own_key;
use crate::expect::{done, refused, refused_somehow, same};
use crate::failure::{Checked, Stop, holds};

pub(crate) const SNAPSHOT: Check = Check::new(
    "snapshot-with-another-key-is-refused",
    "Snapshots are taken, restored and removed with the volume's key: another is refused as a wrong key, no key for an encrypted volume and a key for a plain one are refused, and nothing changes.",
    Needs::Snapshots,
    |bench| {
        let offline = &bench.capabilities.snapshot_offline;
        for kind in bench
            .kinds()
            .into_iter()
            .filter(|kind| offline.contains(&kind.format))
        {
            let (made, snapshot) = (bench.make(kind)?, bench.snapshot("s")?);
            let act = |action, key| {
                let request = SnapshotVolume::new(&made.id, &snapshot, action, key);
                bench.driver.snapshot(&bench.cx(), &request)
            };
            refused_to_others(bench, kind, "snapshot", |key| act(SnapshotAction::Create, key))?;
            has(bench, &made, &[])?;
            done("snapshot", act(SnapshotAction::Create, bench.key(kind, 0)))?;
            if bench.capabilities.revert {
                refused_to_others(bench, kind, "restore", |key| act(SnapshotAction::Restore, key))?;
            }
            refused_to_others(bench, kind, "removing a snapshot", |key| {
                act(SnapshotAction::Delete, key)
            })?;
            has(bench, &made, &[&snapshot])?;
        }
        Ok(())
    },
);

fn has(bench: &Bench, made: &Volume, snapshots: &[&SnapshotId]) -> Checked {
    let there = bench.there(&made.id)?.snapshots;
    same(
        "the snapshots",
        &snapshots,
        &there.iter().collect::<Vec<_>>().as_slice(),
    )
}

/// Tries it with a key of another volume, and from the other side of the cipher.
fn refused_to_others<'k>(
    bench: &'k Bench,
    kind: Kind,
    what: &str,
    work: impl Fn(VolumeKey<'k>) -> Result<Volume, PoolError>,
) -> Checked {
    if kind.encrypted {
        let operation = format!("{what} of {kind} volume with another key");
        refused(&operation, work(bench.key(kind, 1)), ErrorKind::WrongKey)?;
    }
    let which = if kind.encrypted {
        "without a key"
    } else {
        "with a key"
    };
    let operation = format!("{what} of {kind} volume {which}");
    refused_somehow(&operation, work(bench.key(kind.other_side(), 0)))
}

fn encrypted(bench: &Bench) -> Checked<Vec<Kind>> {
    match bench.encrypted() {
        kinds if kinds.is_empty() => Err(Stop::NotTested("the pool does not encrypt".to_owned())),
        kinds => Ok(kinds),
    }
}

pub(crate) const CLONE_AGAIN: Check = Check::new(
    "clone-again-with-another-key-is-refused",
    "The same clone again with a key that does not open the clone is refused as a wrong key and changes nothing.",
    Needs::CloneOwnKey,
    |bench| {
        for kind in encrypted(bench)? {
            let (source, id) = (bench.make_with(kind, &bench.image("cloned")?)?, bench.volume()?);
            done("clone_volume", with_own_key(bench, &source.id, &id, kind))?;
            let other = CloneKey::Own(bench.key(kind, 2));
            let request = CloneVolume::new(&source.id, bench.key(kind, 0), &id, other);
            let again = bench.driver.clone_volume(&bench.cx(), &request);
            let operation = format!("clone_volume of {kind} volume again with another key");
            refused(&operation, again, ErrorKind::WrongKey)?;
            holds(
                bench.opens(&id, bench.key(kind, 1))?,
                "the clone opens with the key that it was made with",
                || "the key does not open it".to_owned(),
                "prove the key to the clone that is there, and change nothing of it",
            )?;
        }
        Ok(())
    },
);

pub(crate) const CLONE_SOURCE: Check = Check::new(
    "clone-with-another-key-of-its-source-is-refused",
    "A source is read with its key: with another a clone is refused as a wrong key, and there is no clone.",
    Needs::CloneOwnKey,
    |bench| {
        for kind in encrypted(bench)?.into_iter().take(1) {
            let (source, id) = (bench.make(kind)?, bench.volume()?);
            let own = CloneKey::Own(bench.key(kind, 1));
            let request = CloneVolume::new(&source.id, bench.key(kind, 2), &id, own);
            let cloned = bench.driver.clone_volume(&bench.cx(), &request);
            let operation = format!("clone_volume of {kind} volume with another key of the source");
            refused(&operation, cloned, ErrorKind::WrongKey)?;
            same("the clone", &None, &bench.get(&id)?)?;
        }
        Ok(())
    },
);
