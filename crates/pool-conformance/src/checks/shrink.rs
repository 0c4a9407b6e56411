use strongroom_storage_pool::{ErrorKind, PoolError, ResizeVolume, Volume};
use strongroom_types::GuestSize;

use crate::bench::{Bench, Kind};
use crate::check::{Check, Needs};
use crate::expect::{done, refused, same};
use crate::failure::{Checked, holds};

fn shrink(bench: &Bench, volume: &Volume, kind: Kind, to: GuestSize) -> Result<Volume, PoolError> {
    let request = ResizeVolume::new(&volume.id, to, bench.key(kind, 0));
    bench.driver.shrink(&bench.cx(), &request)
}

/// Half of what there was, and not a round number.
fn half(bench: &Bench) -> Checked<GuestSize> {
    bench.bytes(bench.site.size / 1024 * 512 + 512)
}

pub(crate) const EXACT_SIZE: Check = Check::new(
    "shrink-gives-the-exact-size",
    "The guest then sees exactly the smaller size that was asked for.",
    Needs::Shrink,
    |bench| {
        for kind in bench.kinds() {
            let made = bench.make(kind)?;
            let shrunk = done(
                &format!("shrink of {kind} volume"),
                shrink(bench, &made, kind, half(bench)?),
            )?;
            same("the size that shrink gives", &half(bench)?, &shrunk.guest)?;
            same(
                "the size that get gives",
                &half(bench)?,
                &bench.there(&made.id)?.guest,
            )?;
        }
        Ok(())
    },
);

pub(crate) const SAME_SIZE: Check = Check::new(
    "shrink-to-the-same-size-changes-nothing",
    "Shrinking to the size that a volume has changes nothing.",
    Needs::Shrink,
    |bench| {
        let kind = bench.kind()?;
        let made = bench.make(kind)?;
        let shrunk = done("shrink to the same size", shrink(bench, &made, kind, made.guest))?;
        same("the size", &made.guest, &shrunk.guest)
    },
);

pub(crate) const LARGER: Check = Check::new(
    "shrink-to-a-larger-size-is-refused",
    "Shrinking to a larger size is an invalid request and changes nothing.",
    Needs::Shrink,
    |bench| {
        let kind = bench.kind()?;
        let made = bench.make(kind)?;
        let larger = shrink(bench, &made, kind, bench.larger(1)?);
        refused("shrink to a larger size", larger, ErrorKind::InvalidRequest)?;
        same("the size", &made.guest, &bench.there(&made.id)?.guest)
    },
);

pub(crate) const CONTENT: Check = Check::new(
    "shrink-keeps-header-and-content",
    "After shrinking the volume opens with its key and has the beginning of the content that it had.",
    Needs::Shrink,
    |bench| {
        for kind in bench.kinds() {
            let key = bench.key(kind, 0);
            let made = bench.make_with(kind, &bench.image("kept")?)?;
            let before = bench.digest(&made.id, key, half(bench)?)?;
            done("shrink", shrink(bench, &made, kind, half(bench)?))?;
            let after = bench.digest(&made.id, key, half(bench)?)?;
            holds(
                before == after,
                &format!("{kind} volume has the beginning of its content after it shrank"),
                || "it has another".to_owned(),
                "cut off what is behind the new end, the header counted, and nothing else",
            )?;
        }
        Ok(())
    },
);
