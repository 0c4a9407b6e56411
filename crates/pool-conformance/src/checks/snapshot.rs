use strongroom_storage_pool::{ErrorKind, PoolError, ResizeVolume, SnapshotAction, SnapshotVolume, Volume};

use crate::bench::{Bench, Kind};
use crate::check::{Check, Needs};
use crate::checks::encryption::sealed;
use crate::expect::{done, refused, same};
use crate::failure::{Checked, Stop, holds};

pub(crate) fn kind(bench: &Bench) -> Checked<Kind> {
    bench.kind_of(&bench.capabilities.snapshot_offline)
}

/// Does something with the snapshot of this name.
pub(crate) fn act(
    bench: &Bench,
    volume: &Volume,
    name: &str,
    action: SnapshotAction,
) -> Checked<Result<Volume, PoolError>> {
    let (snapshot, key) = (bench.snapshot(name)?, bench.key(kind(bench)?, 0));
    let request = SnapshotVolume::new(&volume.id, &snapshot, action, key);
    Ok(bench.driver.snapshot(&bench.cx(), &request))
}

pub(crate) const AGAIN: Check = Check::new(
    "snapshot-again-changes-nothing",
    "Taking a snapshot that is there changes nothing.",
    Needs::Snapshots,
    |bench| {
        let made = bench.make(kind(bench)?)?;
        let take = || act(bench, &made, "s", SnapshotAction::Create);
        let first = done("snapshot", take()?)?;
        same("the snapshots", &vec![bench.snapshot("s")?], &first.snapshots)?;
        let again = done("the same snapshot again", take()?)?;
        same("the snapshots", &first.snapshots, &again.snapshots)?;
        same(
            "the snapshots that get says",
            &first.snapshots,
            &bench.there(&made.id)?.snapshots,
        )
    },
);

pub(crate) const REMOVED: Check = Check::new(
    "removing-a-snapshot-again-is-fine",
    "Removing a snapshot that is not there changes nothing.",
    Needs::Snapshots,
    |bench| {
        let made = bench.make(kind(bench)?)?;
        done("snapshot", act(bench, &made, "s", SnapshotAction::Create)?)?;
        for what in ["removing a snapshot", "removing it again"] {
            let after = done(what, act(bench, &made, "s", SnapshotAction::Delete)?)?;
            same("the snapshots", &Vec::new(), &after.snapshots)?;
        }
        Ok(())
    },
);

pub(crate) const CONTENT: Check = Check::new(
    "restore-brings-back-the-content",
    "After a restore the volume has the content of the time of the snapshot, and the snapshot stays.",
    Needs::Revert,
    |bench| {
        let kind = kind(bench)?;
        let (first, second) = (bench.image("first")?, bench.image("second")?);
        let made = bench.make_with(kind, &first)?;
        done("snapshot", act(bench, &made, "s", SnapshotAction::Create)?)?;
        bench.write(&made.id, bench.key(kind, 0), &second)?;
        // Taking it again must not make it one of now.
        done(
            "the same snapshot again",
            act(bench, &made, "s", SnapshotAction::Create)?,
        )?;
        let restored = done("restore", act(bench, &made, "s", SnapshotAction::Restore)?)?;
        same("the snapshots", &vec![bench.snapshot("s")?], &restored.snapshots)?;
        holds(
            bench.reads(&made.id, bench.key(kind, 0), &first)?,
            "the volume reads as when the snapshot was taken",
            || "it has another content".to_owned(),
            "bring back every sector, and those that the volume did not have then as well",
        )
    },
);

pub(crate) const SIZE: Check = Check::new(
    "restore-brings-back-the-size",
    "After a restore the volume has the size of the time of the snapshot.",
    Needs::Revert,
    |bench| {
        if !bench.capabilities.grow {
            return Err(Stop::NotTested("the pool does not grow volumes".to_owned()));
        }
        let kind = kind(bench)?;
        let made = bench.make(kind)?;
        done("snapshot", act(bench, &made, "s", SnapshotAction::Create)?)?;
        let request = ResizeVolume::new(&made.id, bench.larger(2)?, bench.key(kind, 0));
        done("grow", bench.driver.grow(&bench.cx(), &request))?;
        let restored = done("restore", act(bench, &made, "s", SnapshotAction::Restore)?)?;
        same("the size that restore gives", &made.guest, &restored.guest)?;
        same(
            "the size that get gives",
            &made.guest,
            &bench.there(&made.id)?.guest,
        )
    },
);

pub(crate) const CIPHER: Check = Check::new(
    "restore-stays-on-its-side-of-the-cipher",
    "After a restore the volume is on the same side of the cipher, ciphertext lies in the storage, and its key opens it.",
    Needs::Revert,
    |bench| {
        let kind = kind(bench)?;
        if !kind.encrypted {
            return Err(Stop::NotTested(
                "the pool does not encrypt volumes of which it takes snapshots".to_owned(),
            ));
        }
        let image = bench.image("secret")?;
        let made = bench.make_with(kind, &image)?;
        done("snapshot", act(bench, &made, "s", SnapshotAction::Create)?)?;
        let restored = done("restore", act(bench, &made, "s", SnapshotAction::Restore)?)?;
        same("the LUKS", &made.encryption, &restored.encryption)?;
        sealed(kind, &restored, &image, &bench.stored(&made.id)?)?;
        holds(
            bench.opens(&made.id, bench.key(kind, 0))?,
            "the volume opens with its key",
            || "the key does not open it".to_owned(),
            "write ciphertext onto ciphertext and plain content through the cipher, never one onto the other",
        )
    },
);

pub(crate) const NOTHING: Check = Check::new(
    "restore-of-nothing-is-not-found",
    "A snapshot that is not there is not found by a restore, which then changes nothing.",
    Needs::Revert,
    |bench| {
        let made = bench.make(kind(bench)?)?;
        let restored = act(bench, &made, "none", SnapshotAction::Restore)?;
        refused(
            "restore of a snapshot that was never taken",
            restored,
            ErrorKind::NotFound,
        )?;
        same("the size", &made.guest, &bench.there(&made.id)?.guest)
    },
);
