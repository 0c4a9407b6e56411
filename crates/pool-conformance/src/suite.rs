use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use crate::bench::Bench;
use crate::check::{Check, CheckResult, Outcome};
use crate::checks::CHECKS;
use crate::failure::{Checked, Failure, Stop};
use crate::report::Report;
use crate::site::Site;

/// A name that no check has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no check {0:?}; --list names them all")]
pub struct UnknownCheck(pub String);

/// Every check, in the order in which they run.
#[must_use]
pub fn checks() -> &'static [Check] {
    CHECKS
}

/// Runs every check.
///
/// A check that panics or does not end within the site's patience has failed, and the others go on. One that does not end is left to
/// itself: its thread stays until the program ends.
#[must_use]
pub fn run(site: &Site) -> Report {
    Report::new(CHECKS.iter().map(|check| run_one(site, check)).collect())
}

/// Runs the checks with these names, in the order of [`checks`].
///
/// # Errors
/// [`UnknownCheck`] for the first name that no check has; then nothing was run.
pub fn run_only<S: AsRef<str>>(site: &Site, names: &[S]) -> Result<Report, UnknownCheck> {
    for name in names {
        if !CHECKS.iter().any(|check| check.name == name.as_ref()) {
            return Err(UnknownCheck(name.as_ref().to_owned()));
        }
    }
    let wanted = |check: &&Check| names.iter().any(|name| name.as_ref() == check.name);
    let results = CHECKS.iter().filter(wanted).map(|check| run_one(site, check));
    Ok(Report::new(results.collect()))
}

fn run_one(site: &Site, check: &'static Check) -> CheckResult {
    let begun = Instant::now();
    let (tell, told) = mpsc::channel();
    let its_site = site.clone();
    let started = thread::Builder::new().name(check.name.to_owned()).spawn(move || {
        // The suite gave up when nobody listens any more.
        drop(tell.send(examine(&its_site, check)));
    });
    let outcome = match started {
        Err(e) => Outcome::NotTested(format!("no thread could be started: {e}")),
        Ok(_) => match told.recv_timeout(site.patience) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => Outcome::Failed(Failure::new(
                format!("the driver answers within {:?}", site.patience),
                "it did not, and may still be at it",
                "give every wait of the driver an end, and hand the caller's call to the host with every command",
            )),
            Err(RecvTimeoutError::Disconnected) => panicked("the thread of the check ended"),
        },
    };
    CheckResult {
        check: *check,
        outcome,
        took: begun.elapsed(),
    }
}

fn panicked(what: &str) -> Outcome {
    let advice = "return an error instead; a panic in a driver takes its caller down";
    Outcome::Failed(Failure::new("the driver does not panic", what, advice))
}

fn examine(site: &Site, check: &Check) -> Outcome {
    let guarded = catch_unwind(AssertUnwindSafe(|| examined(site, check)));
    match guarded {
        Ok(Ok(())) => Outcome::Passed,
        Ok(Err(Stop::Failed(failure))) => Outcome::Failed(*failure),
        Ok(Err(Stop::NotTested(why))) => Outcome::NotTested(why),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
            panicked(&format!("a panic: {}", text.unwrap_or("without a text")))
        }
    }
}

fn examined(site: &Site, check: &Check) -> Checked {
    let bench = Bench::new(site)?;
    if !check.needs.met_by(&bench.capabilities) {
        return Err(Stop::NotTested(format!(
            "the pool does not have: {}",
            check.needs
        )));
    }
    crate::expect::done("prepare", bench.driver.prepare(&bench.cx()))?;
    let checked = catch_unwind(AssertUnwindSafe(|| (check.run)(&bench)));
    let cleaned = catch_unwind(AssertUnwindSafe(|| bench.clean_up()));
    match checked {
        Err(payload) => std::panic::resume_unwind(payload),
        Ok(Err(stop)) => Err(stop),
        Ok(Ok(())) => cleaned.or_else(|payload| std::panic::resume_unwind(payload)),
    }
}
