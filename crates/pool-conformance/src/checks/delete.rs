use strongroom_storage_pool::{SnapshotAction, SnapshotVolume, VolumeContent};

use crate::bench::Bench;
use crate::check::{Check, Needs};
use crate::checks::clone::with_own_key;
use crate::expect::{done, nothing_new, same};
use crate::failure::{Checked, Stop};

pub(crate) const GONE: Check = Check::new(
    "delete-removes-the-volume",
    "A volume that was deleted is not there, and its id is free for another.",
    Needs::Nothing,
    |bench| {
        for kind in bench.kinds() {
            let made = bench.make(kind)?;
            bench.delete(&made.id)?;
            same(
                &format!("{kind} volume that was deleted"),
                &None,
                &bench.get(&made.id)?,
            )?;
            let other = bench.create(&made.id, kind, bench.larger(1)?, VolumeContent::Blank);
            let other = done("create of another volume with the id of a deleted one", other)?;
            same("its size", &bench.larger(1)?, &other.guest)?;
        }
        Ok(())
    },
);

pub(crate) const NOTHING: Check = Check::new(
    "delete-of-nothing-is-fine",
    "Deleting a volume that is not there is fine.",
    Needs::Nothing,
    |bench| {
        let id = bench.volume()?;
        done(
            "delete of a volume that was never made",
            bench.driver.delete(&bench.cx(), &id),
        )
    },
);

pub(crate) const SNAPSHOTS: Check = Check::new(
    "delete-takes-the-snapshots-along",
    "A volume is removed with its snapshots.",
    Needs::Snapshots,
    |bench: &Bench| -> Checked {
        let kind = bench.kind_of(&bench.capabilities.snapshot_offline)?;
        let made = bench.make(kind)?;
        let snapshot = bench.snapshot("s")?;
        let request = SnapshotVolume::new(&made.id, &snapshot, SnapshotAction::Create, bench.key(kind, 0));
        done("snapshot", bench.driver.snapshot(&bench.cx(), &request))?;
        bench.delete(&made.id)?;
        same("the volume", &None, &bench.get(&made.id)?)?;
        let again = bench.create(&made.id, kind, made.guest, VolumeContent::Blank);
        let again = done("create with the id of a deleted volume", again)?;
        same("its snapshots", &Vec::new(), &again.snapshots)
    },
);

pub(crate) const NOTHING_LEFT: Check = Check::new(
    "delete-leaves-nothing-in-the-storage",
    "When a volume was deleted with its snapshots and its clones, nothing is in the storage that was not there before.",
    Needs::Nothing,
    |bench| {
        let Some(before) = bench.listing()? else {
            return Err(Stop::NotTested(
                "the site does not list what is in the storage".to_owned(),
            ));
        };
        let offline = &bench.capabilities.snapshot_offline;
        let kind = match bench.kind_of(offline) {
            Ok(kind) => kind,
            Err(_) => bench.kind()?,
        };
        let made = bench.make(kind)?;
        if offline.contains(&kind.format) {
            let (snapshot, key) = (bench.snapshot("s")?, bench.key(kind, 0));
            let request = SnapshotVolume::new(&made.id, &snapshot, SnapshotAction::Create, key);
            done("snapshot", bench.driver.snapshot(&bench.cx(), &request))?;
        }
        if Needs::CloneOwnKey.met_by(&bench.capabilities) {
            let clone = bench.volume()?;
            done("clone_volume", with_own_key(bench, &made.id, &clone, kind))?;
            bench.delete(&clone)?;
        }
        bench.delete(&made.id)?;
        let advice = "remove what a snapshot or a clone took beside the volume before delete returns";
        nothing_new(&before, &bench.listing()?.unwrap_or_default(), advice)
    },
);
