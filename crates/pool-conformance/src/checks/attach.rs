use strongroom_storage_pool::{ErrorKind, SizeRule};
use strongroom_types::DiskFormat;

use crate::bench::Bench;
use crate::check::{Check, Needs};
use crate::expect::{done, refused, same};
use crate::failure::{Checked, Failure, holds};

pub(crate) const AGAIN: Check = Check::new(
    "attach-again-is-the-same-answer",
    "Attaching a volume again to the same host gives the same answer.",
    Needs::Nothing,
    |bench| {
        let kind = bench.kind()?;
        let made = bench.make(kind)?;
        let attach = || bench.driver.attach(&bench.cx(), &made.id, &bench.host);
        let first = done("attach", attach())?;
        same("the attachment", &first, &done("attach again", attach())?)
    },
);

pub(crate) const WHAT_IT_IS: Check = Check::new(
    "attach-says-what-the-volume-is",
    "An attachment has the format and the LUKS of its volume, no base when it stands alone, and no more of a rounded device than the disk has.",
    Needs::Nothing,
    |bench| {
        for kind in bench.kinds() {
            let made = bench.make(kind)?;
            let at = done("attach", bench.driver.attach(&bench.cx(), &made.id, &bench.host))?;
            same("the format", &made.format, &at.format)?;
            same(
                &format!("the LUKS of {kind} volume"),
                &made.encryption,
                &at.encryption,
            )?;
            same("the base", &None, &at.base)?;
            used(bench, &made, &at.location)?;
            done("detach", bench.driver.detach(&bench.cx(), &made.id, &bench.host))?;
        }
        Ok(())
    },
);

/// Whether a device that the storage rounded up shows the guest no more than was asked for.
fn used(
    bench: &Bench,
    made: &strongroom_storage_pool::Volume,
    location: &strongroom_storage_pool::DiskLocation,
) -> Checked {
    let strongroom_storage_pool::DiskLocation::Block(block) = location else {
        return Ok(());
    };
    let rounds = matches!(bench.capabilities.sizes, SizeRule::DeviceRoundedTo(_));
    if !rounds || made.format != DiskFormat::Raw || made.encryption.is_none() {
        return Ok(());
    }
    let inside = block.used.is_some_and(|used| used <= made.device);
    holds(
        inside,
        "the attachment of a device that is rounded up says how much of it the disk has",
        || format!("{:?} of {:?}", block.used, made.device),
        "set BlockDevice::used in every location that the driver gives",
    )
}

pub(crate) const DISCARD: Check = Check::new(
    "attach-passes-discards-on-where-the-pool-can",
    "What a guest discards is passed on to the storage only where the capabilities say so.",
    Needs::Nothing,
    |bench| {
        let kind = bench.kind()?;
        let made = bench.make(kind)?;
        let at = done("attach", bench.driver.attach(&bench.cx(), &made.id, &bench.host))?;
        holds(
            bench.capabilities.discard || !at.discard,
            "the attachment passes no discards on",
            || "it does, and the capabilities say that the pool cannot".to_owned(),
            "discards show whoever sees the storage where a volume has nothing: say so in Capabilities::discard",
        )
    },
);

pub(crate) const NOTHING: Check = Check::new(
    "attach-of-nothing-is-refused",
    "A volume that is not there is not attached.",
    Needs::Nothing,
    |bench| {
        let id = bench.volume()?;
        let attached = bench.driver.attach(&bench.cx(), &id, &bench.host);
        refused(
            "attach of a volume that was never made",
            attached,
            ErrorKind::NotFound,
        )
        .map(drop)
    },
);

pub(crate) const DETACH: Check = Check::new(
    "detach-of-what-is-not-attached-is-fine",
    "Detaching a volume that is not attached, or not there, is fine.",
    Needs::Nothing,
    |bench| {
        let kind = bench.kind()?;
        let made = bench.make(kind)?;
        let detach = |id| bench.driver.detach(&bench.cx(), id, &bench.host);
        done("detach of a volume that is not attached", detach(&made.id))?;
        done("attach", bench.driver.attach(&bench.cx(), &made.id, &bench.host))?;
        done("detach", detach(&made.id))?;
        done("detach again", detach(&made.id))?;
        done("detach of a volume that was never made", detach(&bench.volume()?))?;
        if bench.get(&made.id)?.is_some() {
            return Ok(());
        }
        let advice = "end the attachment and nothing else";
        Err(Failure::new("the volume stays", "it is gone", advice).into())
    },
);
