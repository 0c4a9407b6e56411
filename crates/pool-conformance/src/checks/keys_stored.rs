use std::path::PathBuf;

use strongroom_secret::Passphrase;
use strongroom_storage_pool::{
    CloneKey, CloneVolume, CreateVolume, ResizeVolume, SnapshotAction, SnapshotVolume, VolumeContent,
    VolumeKey,
};
use strongroom_types::Cancellation;

use crate::bench::{Bench, Kind};
use crate::check::{Check, Needs};
use crate::checks::keys::{forms, key};
use crate::expect::done;
use crate::failure::{Checked, Failure, Stop};
use crate::faulty_endpoint::Fault;
use crate::search::found_in;

pub(crate) const NOT_STORED: Check = Check::new(
    "no-key-is-in-the-storage",
    "No key lies in what the pool stored: not after volumes were made, changed and deleted with it, nor after failures.",
    Needs::Encryption,
    |bench| {
        sees(bench)?;
        for kind in bench.encrypted() {
            let id = bench.volume()?;
            used(bench, kind, &id)?;
            searched(bench, &format!("after {kind} volume was made and changed"))?;
            bench.put_away(&id);
            searched(bench, &format!("after {kind} volume was deleted"))?;
        }
        Ok(())
    },
);

fn paths(bench: &Bench) -> Checked<Vec<PathBuf>> {
    let Some(storage) = &bench.site.storage else {
        let why = "the site does not say in which files and devices the pool stores";
        return Err(Stop::NotTested(why.to_owned()));
    };
    storage().map_err(|e| Stop::NotTested(format!("the storage cannot be found: {e}")))
}

fn unread(e: &std::io::Error) -> Stop {
    Stop::NotTested(format!("what the pool stored cannot be read: {e}"))
}

/// A look that does not find what a plain volume holds would find no key either.
fn sees(bench: &Bench) -> Checked {
    paths(bench)?;
    let Some(plain) = bench.kinds().into_iter().find(|kind| !kind.encrypted) else {
        return Ok(());
    };
    let image = bench.image("sought")?;
    let made = bench.make_with(plain, &image)?;
    let seen = found_in(&paths(bench)?, &[image.mark().to_vec()]).map_err(|e| unread(&e))?;
    bench.put_away(&made.id);
    match seen {
        Some(_) => Ok(()),
        None => {
            let why =
                format!("the content of {plain} volume is not seen in the files and devices of the site");
            Err(Stop::NotTested(why))
        }
    }
}

/// Does with a key whatever the pool can do, and lets something fail.
fn used(bench: &Bench, kind: Kind, id: &strongroom_types::VolumeId) -> Checked {
    let (own, other): (Passphrase, Passphrase) = (key(1)?, key(2)?);
    let (cx, can, size) = (bench.cx(), &bench.capabilities, bench.size()?);
    let create = |key| {
        let content = VolumeContent::Blank;
        bench.driver.create(
            &cx,
            &CreateVolume::new(id, size, kind.format, VolumeKey::Encrypted(key), content),
        )
    };
    bench.plan.strike(0, Fault::AnswerLost, &Cancellation::new());
    drop(create(&own));
    bench.plan.calm();
    done("create", create(&own))?;
    drop(create(&other));
    let mine = VolumeKey::Encrypted(&own);
    if can.snapshot_offline.contains(&kind.format) {
        let snapshot = bench.snapshot("s")?;
        let request = SnapshotVolume::new(id, &snapshot, SnapshotAction::Create, mine);
        done("snapshot", bench.driver.snapshot(&cx, &request))?;
    }
    if can.grow {
        let request = ResizeVolume::new(id, bench.larger(1)?, mine);
        done("grow", bench.driver.grow(&cx, &request))?;
    }
    if Needs::CloneOwnKey.met_by(can) {
        let clone = bench.volume()?;
        let request = CloneVolume::new(id, mine, &clone, CloneKey::Own(VolumeKey::Encrypted(&other)));
        done("clone_volume", bench.driver.clone_volume(&cx, &request))?;
    }
    Ok(())
}

fn searched(bench: &Bench, when: &str) -> Checked {
    let forms: Vec<Vec<u8>> = forms().into_iter().map(String::into_bytes).collect();
    match found_in(&paths(bench)?, &forms).map_err(|e| unread(&e))? {
        None => Ok(()),
        Some(path) => {
            let expected = format!("no key lies in the storage {when}");
            let seen = format!("one lies in {}", path.display());
            let advice =
                "give a key to the host or the storage for the length of a call, and write it nowhere";
            Err(Failure::new(expected, seen, advice).into())
        }
    }
}
