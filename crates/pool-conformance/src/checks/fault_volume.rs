use std::cell::Cell;

use strongroom_storage_pool::{OpContext, PoolError, ResizeVolume, Volume};
use strongroom_types::GuestSize;

use crate::bench::{Bench, Kind};
use crate::check::{Check, Needs};
use crate::checks::fault::{LEFT_BEHIND, each};
use crate::expect::{done, same};
use crate::failure::{Checked, Failure, holds};
use crate::faulty_endpoint::Fault;

pub(crate) const DELETE: Check = Check::new(
    "a-delete-that-failed-is-finished-by-the-same-again",
    "After a delete that failed, the same again removes the volume.",
    Needs::Nothing,
    |bench| {
        let kind = bench.kind()?;
        each(
            bench,
            &[Fault::FailsBefore, Fault::AnswerLost, Fault::DoneTwice],
            |round| {
                let id = bench.make(kind)?.id;
                let first = round.attempt(|cx| bench.driver.delete(cx, &id));
                if first.is_err() {
                    round.again("delete", |cx| bench.driver.delete(cx, &id))?;
                }
                bench.plan.calm();
                same("the volume", &None, &bench.get(&id)?)
            },
        )
    },
);

pub(crate) const ATTACH: Check = Check::new(
    "an-attach-that-failed-is-finished-by-the-same-again",
    "After an attach that failed, the same again attaches the volume, and detach ends it.",
    Needs::Nothing,
    |bench| {
        let made = bench.make(bench.kind()?)?;
        each(bench, LEFT_BEHIND, |round| {
            let attach = |cx: &OpContext<'_>| bench.driver.attach(cx, &made.id, &bench.host);
            let first = round.attempt(attach);
            let again = round.again("attach", attach)?;
            if let Ok(first) = first {
                same("the attachment", &first, &again)?;
            }
            done("detach", bench.driver.detach(&bench.cx(), &made.id, &bench.host))
        })
    },
);

/// Changes the size of one volume again and again, while something goes wrong each time.
fn resize(
    bench: &Bench,
    faults: &[Fault],
    kind: Kind,
    made: &Volume,
    next: impl Fn(GuestSize) -> u64,
    change: impl Fn(&OpContext<'_>, &ResizeVolume<'_>) -> Result<Volume, PoolError>,
) -> Checked {
    let (key, size) = (bench.key(kind, 0), Cell::new(made.guest));
    let kept = bench.bytes(bench.site.size / 1024 * 512)?;
    let before = bench.digest(&made.id, key, kept)?;
    each(bench, faults, |round| {
        let (old, to) = (size.get(), bench.bytes(next(size.get()))?);
        size.set(to);
        let request = ResizeVolume::new(&made.id, to, key);
        drop(round.attempt(|cx| change(cx, &request)));
        bench.plan.calm();
        let between = bench.there(&made.id)?.guest;
        holds(
            between == old || between == to,
            "the volume has the old size or the new one",
            || {
                format!(
                    "it has {} bytes, not {} or {}",
                    between.get(),
                    old.get(),
                    to.get()
                )
            },
            "change the size in one step, the last one",
        )?;
        let after = round.again("the same size", |cx| change(cx, &request))?;
        same("the size", &to, &after.guest)?;
        if bench.digest(&made.id, key, kept)? == before {
            return Ok(());
        }
        let advice = "never write to what the volume had";
        Err(Failure::new("the volume has its content", "it has another", advice).into())
    })
}

pub(crate) const GROW: Check = Check::new(
    "a-growth-that-failed-is-finished-by-the-same-again",
    "After a growth that failed, the volume opens with its key and has the old size or the new one; the same again finishes it.",
    Needs::Grow,
    |bench| {
        let kind = bench.kind()?;
        let made = bench.make_with(kind, &bench.image("kept")?)?;
        let faults = [
            Fault::FailsBefore,
            Fault::AnswerLost,
            Fault::DoneTwice,
            Fault::AnswersLate,
        ];
        let next = |size: GuestSize| size.get().saturating_add(64 << 10);
        resize(bench, &faults, kind, &made, next, |cx, r| {
            bench.driver.grow(cx, r)
        })
    },
);

pub(crate) const SHRINK: Check = Check::new(
    "a-shrinking-that-failed-is-finished-by-the-same-again",
    "After a shrinking that failed, the volume opens with its key and has the old size or the new one; the same again finishes it.",
    Needs::Shrink,
    |bench| {
        let kind = bench.kind()?;
        let made = bench.make_with(kind, &bench.image("kept")?)?;
        let next = |size: GuestSize| size.get().saturating_sub(512);
        resize(bench, LEFT_BEHIND, kind, &made, next, |cx, r| {
            bench.driver.shrink(cx, r)
        })
    },
);
