use strongroom_storage_pool::{CreateVolume, OpContext, PoolError, Volume, VolumeContent};
use strongroom_types::VolumeId;

use crate::bench::{Bench, Kind};
use crate::check::{Check, Needs};
use crate::checks::fault::{LEFT_BEHIND, each};
use crate::expect::{done, nothing_new, same};
use crate::failure::{Checked, Stop, holds};
use crate::faulty_endpoint::Fault;

fn create(
    bench: &Bench,
    cx: &OpContext<'_>,
    id: &VolumeId,
    kind: Kind,
    larger: u64,
) -> Result<Volume, PoolError> {
    let size = bench.larger(larger).map_err(|_| {
        let kind = strongroom_storage_pool::ErrorKind::InvalidRequest;
        PoolError::new(kind, "create", "the size of the site is too large")
    })?;
    let request = CreateVolume::new(id, size, kind.format, bench.key(kind, 0), VolumeContent::Blank);
    bench.driver.create(cx, &request)
}

pub(crate) const FINISHED: Check = Check::new(
    "a-create-that-failed-is-finished-by-the-same-again",
    "After a create that failed, get says that there is nothing, or fails, or the answer alone was lost; the same request again finishes it.",
    Needs::Nothing,
    |bench| {
        let kind = bench.kind()?;
        each(bench, &Fault::ALL, |round| {
            let id = bench.volume()?;
            let first = round.attempt(|cx| create(bench, cx, &id, kind, 0));
            let between = bench.driver.get(&bench.cx(), &id).ok().flatten();
            let finished = round.again("create", |cx| create(bench, cx, &id, kind, 0))?;
            if let Some(told) = first.as_ref().ok().or(between.as_ref()) {
                same("the size that was told before", &finished.guest, &told.guest)?;
            }
            same("what get says", &finished.guest, &bench.there(&id)?.guest)?;
            opens(bench, &id, kind)?;
            bench.put_away(&id);
            Ok(())
        })
    },
);

/// Fails unless an encrypted volume opens with its key, where the site can see that.
fn opens(bench: &Bench, id: &VolumeId, kind: Kind) -> Checked {
    match bench.opens(id, bench.key(kind, 0)) {
        Err(Stop::NotTested(_)) => Ok(()),
        Err(stop) => Err(stop),
        Ok(opens) => holds(
            opens || !kind.encrypted,
            "the volume opens with its key",
            || "the key does not open it".to_owned(),
            "what was begun with another key is begun anew",
        ),
    }
}

pub(crate) const GIVEN_UP: Check = Check::new(
    "a-create-that-failed-leaves-nothing-behind",
    "After a create that failed, delete removes what was begun: nothing is left, and the id is free for another volume.",
    Needs::Nothing,
    |bench| {
        let kind = bench.kind()?;
        let before = bench.listing()?.unwrap_or_default();
        each(bench, LEFT_BEHIND, |round| {
            let id = bench.volume()?;
            drop(round.attempt(|cx| create(bench, cx, &id, kind, 0)));
            bench.plan.calm();
            bench.delete(&id)?;
            same("the volume", &None, &bench.get(&id)?)?;
            let other = create(bench, &bench.cx(), &id, kind, 1);
            done("create of another volume with the id", other)?;
            bench.delete(&id)?;
            done("recover", bench.driver.recover(&bench.cx()))?;
            let advice = "stage work under names that recover knows, and remove them when the work fails";
            nothing_new(&before, &bench.listing()?.unwrap_or_default(), advice)
        })
    },
);

pub(crate) const CALL_PASSED_ON: Check = Check::new(
    "a-host-that-hangs-is-left-when-the-caller-says-so",
    "The driver hands the caller's call to the host, so that deadline and cancellation end the work there.",
    Needs::Nothing,
    |bench| {
        let kind = bench.kind()?;
        each(bench, &[Fault::Hangs], |round| {
            let id = bench.volume()?;
            drop(round.attempt(|cx| create(bench, cx, &id, kind, 0)));
            let not_stopped = bench.plan.not_stopped();
            bench.plan.calm();
            bench.put_away(&id);
            holds(
                not_stopped.is_none(),
                "the command ends when the caller gives up",
                || "it did not; it was given another call".to_owned(),
                "run every command of an operation with the call of its OpContext",
            )
        })
    },
);
