use std::thread;

use strongroom_storage_pool::VolumeContent;
use strongroom_types::VolumeId;

use crate::bench::Bench;
use crate::check::{Check, Needs};
use crate::expect::{done, same};
use crate::failure::{Checked, Failure};

pub(crate) const NO_COLLISION: Check = Check::new(
    "names-do-not-collide",
    "Two ids are two volumes, however alike they are.",
    Needs::Nothing,
    no_collision,
);

/// Ids that are one when a storage cuts names off or replaces characters.
fn no_collision(bench: &Bench) -> Checked {
    let kind = bench.kind()?;
    let long = format!("check-{}-{}", bench.run_name(), "x".repeat(40));
    let start: String = long.chars().take(63).collect();
    let names = [
        format!("{start}-"),
        format!("{start}_"),
        format!("{start}1"),
        start,
    ];
    let mut made = Vec::new();
    for (number, name) in (0..).zip(&names) {
        let id = bench.named(name)?;
        let create = bench.create(&id, kind, bench.larger(number)?, VolumeContent::Blank);
        made.push(done("create with another id that is like it", create)?);
    }
    for volume in &made {
        same("the volume with this id", volume, &bench.there(&volume.id)?)?;
    }
    let mut rest = made.iter();
    if let Some(first) = rest.next() {
        bench.put_away(&first.id);
    }
    for volume in rest {
        same(
            "a volume after another was deleted",
            volume,
            &bench.there(&volume.id)?,
        )?;
    }
    Ok(())
}

pub(crate) const THREADS: Check = Check::new(
    "volumes-are-made-by-several-threads",
    "Every method may be called from several threads, for different volumes at once.",
    Needs::Nothing,
    threads,
);

fn threads(bench: &Bench) -> Checked {
    let kind = bench.kind()?;
    thread::scope(|scope| {
        let work = || -> Checked<(VolumeId, bool)> {
            let made = bench.make(kind)?;
            same("the volume", &made, &bench.there(&made.id)?)?;
            let gone = bench.put_away(&made.id);
            Ok((made.id, gone))
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
        let advice = "look for what is not made for two threads at once";
        for thread in threads {
            let joined = thread.join();
            let (id, gone) = joined.map_err(|_| Failure::new("volumes are made", "a panic", advice))??;
            // One that a thread alone does not delete either is not the matter here.
            if !gone && bench.put_away(&id) {
                let seen = "a thread alone can delete it, and three at once could not";
                return Err(Failure::new("volumes are deleted", seen, advice).into());
            }
        }
        Ok(())
    })
}
