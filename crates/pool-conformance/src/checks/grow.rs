use strongroom_storage_pool::{ErrorKind, PoolError, ResizeVolume, Volume};
use strongroom_types::GuestSize;

use crate::bench::{Bench, Kind};
use crate::check::{Check, Needs};
use crate::expect::{done, refused, refused_somehow, same};
use crate::failure::holds;

fn grow(bench: &Bench, volume: &Volume, kind: Kind, to: GuestSize) -> Result<Volume, PoolError> {
    let request = ResizeVolume::new(&volume.id, to, bench.key(kind, 0));
    bench.driver.grow(&bench.cx(), &request)
}

pub(crate) const EXACT_SIZE: Check = Check::new(
    "grow-gives-the-exact-size",
    "The guest then sees exactly the larger size that was asked for.",
    Needs::Grow,
    |bench| {
        for kind in bench.kinds() {
            let made = bench.make(kind)?;
            let grown = done(
                &format!("grow of {kind} volume"),
                grow(bench, &made, kind, bench.larger(2)?),
            )?;
            same("the size that grow gives", &bench.larger(2)?, &grown.guest)?;
            same(
                "the size that get gives",
                &bench.larger(2)?,
                &bench.there(&made.id)?.guest,
            )?;
        }
        Ok(())
    },
);

pub(crate) const SAME_SIZE: Check = Check::new(
    "grow-to-the-same-size-changes-nothing",
    "Growing to the size that a volume has changes nothing.",
    Needs::Grow,
    |bench| {
        let kind = bench.kind()?;
        let made = bench.make(kind)?;
        let grown = done("grow to the same size", grow(bench, &made, kind, made.guest))?;
        same("the size", &made.guest, &grown.guest)?;
        same("the device", &made.device, &grown.device)
    },
);

pub(crate) const SMALLER: Check = Check::new(
    "grow-to-a-smaller-size-is-refused",
    "Growing to a smaller size is an invalid request and changes nothing.",
    Needs::Grow,
    |bench| {
        for kind in bench.kinds() {
            let made = bench.make(kind)?;
            let smaller = bench.bytes(bench.site.size)?;
            refused(
                &format!("grow of {kind} volume to a smaller size"),
                grow(bench, &made, kind, smaller),
                ErrorKind::InvalidRequest,
            )?;
            same("the size", &made.guest, &bench.there(&made.id)?.guest)?;
        }
        Ok(())
    },
);

pub(crate) const CONTENT: Check = Check::new(
    "grow-keeps-header-and-content",
    "After growth the volume opens with its key and has the content that it had.",
    Needs::Grow,
    |bench| {
        for kind in bench.kinds() {
            let key = bench.key(kind, 0);
            let made = bench.make_with(kind, &bench.image("kept")?)?;
            let before = bench.digest(&made.id, key, made.guest)?;
            done("grow", grow(bench, &made, kind, bench.larger(2)?))?;
            let after = bench.digest(&made.id, key, made.guest)?;
            holds(
                before == after,
                &format!("{kind} volume has its content after it grew"),
                || "it has another".to_owned(),
                "grow the device first, and never write to what the volume had",
            )?;
        }
        Ok(())
    },
);

pub(crate) const WRONG_KEY: Check = Check::new(
    "grow-with-another-key-is-refused",
    "A volume is grown with its key: another is refused as a wrong key, no key for an encrypted volume and a key for a plain one are refused, and nothing changes.",
    Needs::Grow,
    |bench| {
        for kind in bench.kinds() {
            let made = bench.make(kind)?;
            let larger = bench.larger(1)?;
            if kind.encrypted {
                let request = ResizeVolume::new(&made.id, larger, bench.key(kind, 1));
                let grown = bench.driver.grow(&bench.cx(), &request);
                refused("grow with another key", grown, ErrorKind::WrongKey)?;
                same("the size", &made.guest, &bench.there(&made.id)?.guest)?;
            }
            let what = if kind.encrypted {
                "without a key"
            } else {
                "with a key"
            };
            refused_somehow(
                &format!("grow of {kind} volume {what}"),
                grow(bench, &made, kind.other_side(), larger),
            )?;
            same("the size", &made.guest, &bench.there(&made.id)?.guest)?;
        }
        Ok(())
    },
);
