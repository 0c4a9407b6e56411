use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use crate::bench::Bench;
use crate::check::{Check, CheckResult, Outcome};
use crate::checks::CHECKS;
use crate::cleaning::Cleaning;
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
/// itself: its thread stays until the program ends. What goes wrong with cleaning up after a check is no failure of that check: the
/// report says it once.
#[must_use]
pub fn run(site: &Site) -> Report {
    run_these(site, CHECKS.iter())
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
    Ok(run_these(site, CHECKS.iter().filter(wanted)))
}

fn run_these(site: &Site, checks: impl Iterator<Item = &'static Check>) -> Report {
    let mut cleaning = Cleaning::default();
    let results = checks.map(|check| run_one(site, check, &mut cleaning)).collect();
    Report::new(results, cleaning.told())
}

/// What the thread of a check says, one after the other.
enum Said {
    Outcome(Outcome),
    /// What went wrong with cleaning up, if anything.
    Cleaned(Option<String>),
}

fn run_one(site: &Site, check: &'static Check, cleaning: &mut Cleaning) -> CheckResult {
    let begun = Instant::now();
    let (tell, told) = mpsc::channel();
    let (its_site, clean) = (site.clone(), cleaning.goes_on());
    let started = thread::Builder::new().name(check.name.to_owned()).spawn(move || {
        // The suite gave up when nobody listens any more.
        let say = |said| drop(tell.send(said));
        let bench = match caught(|| Bench::new(&its_site)) {
            Ok(bench) => bench,
            Err(outcome) => return say(Said::Outcome(outcome)),
        };
        let examined = caught(|| examined(&bench, check));
        say(Said::Outcome(examined.err().unwrap_or(Outcome::Passed)));
        if clean {
            say(Said::Cleaned(bench.clean_up()));
        }
    });
    let outcome = match started {
        Err(e) => Outcome::NotTested(format!("no thread could be started: {e}")),
        Ok(_) => match told.recv_timeout(site.patience) {
            Ok(Said::Outcome(outcome)) => {
                match told.recv_timeout(site.patience) {
                    Ok(Said::Cleaned(Some(problem))) => cleaning.failed(check.name, &problem),
                    Err(RecvTimeoutError::Timeout) => cleaning.hangs(check.name),
                    _ => {}
                }
                outcome
            }
            Err(RecvTimeoutError::Timeout) => Outcome::Failed(Failure::new(
                format!("the driver answers within {:?}", site.patience),
                "it did not, and may still be at it",
                "give every wait of the driver an end, and hand the caller's call to the host with every command",
            )),
            _ => panicked("the thread of the check ended"),
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

/// What the work gives, or what becomes of its check.
fn caught<T>(work: impl FnOnce() -> Checked<T>) -> Result<T, Outcome> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(given)) => Ok(given),
        Ok(Err(Stop::Failed(failure))) => Err(Outcome::Failed(*failure)),
        Ok(Err(Stop::NotTested(why))) => Err(Outcome::NotTested(why)),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
            Err(panicked(&format!(
                "a panic: {}",
                text.unwrap_or("without a text")
            )))
        }
    }
}

fn examined(bench: &Bench, check: &Check) -> Checked {
    if !check.needs.met_by(&bench.capabilities) {
        return Err(Stop::NotTested(format!(
            "the pool does not have: {}",
            check.needs
        )));
    }
    crate::expect::done("prepare", bench.driver.prepare(&bench.cx()))?;
    (check.run)(bench)
}
