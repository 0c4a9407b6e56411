use std::fmt;
use std::time::Duration;

use crate::check::{CheckResult, Outcome};
use crate::failure::Failure;

/// What became of every check.
///
/// It prints for people: a line for each check, what was not tested and why, each failure with its sentence and what to do, what went
/// wrong with cleaning up, and a summary.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The checks in the order in which they ran.
    pub results: Vec<CheckResult>,
    /// What went wrong with removing what the checks had made. It counts as no check's failure.
    pub cleaning_up: Option<Failure>,
}

impl Report {
    pub(crate) fn new(results: Vec<CheckResult>, cleaning_up: Option<Failure>) -> Self {
        Self { results, cleaning_up }
    }

    /// Whether no check failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &CheckResult> {
        self.results
            .iter()
            .filter(|result| matches!(result.outcome, Outcome::Failed(_)))
    }

    /// The checks that were not tested.
    pub fn not_tested(&self) -> impl Iterator<Item = &CheckResult> {
        self.results
            .iter()
            .filter(|result| matches!(result.outcome, Outcome::NotTested(_)))
    }

    /// How long all of them took.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.results.iter().map(|result| result.took).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.results.iter().map(|r| r.check.name.len()).max().unwrap_or(0);
        for result in &self.results {
            let (word, why) = match &result.outcome {
                Outcome::Passed => ("passed", String::new()),
                Outcome::Failed(_) => ("FAILED", String::new()),
                Outcome::NotTested(why) => ("not tested", format!("  {}", one_line(why))),
            };
            let (name, took) = (result.check.name, seconds(result.took));
            writeln!(f, "{name:width$}  {took:>8}  {word}{why}")?;
        }
        for result in self.failures() {
            if let Outcome::Failed(failure) = &result.outcome {
                writeln!(f, "\n{}\n  {}", result.check.name, result.check.sentence)?;
                lines(f, failure)?;
            }
        }
        if let Some(failure) = &self.cleaning_up {
            writeln!(f, "\ncleaning up failed, which is no check's failure")?;
            lines(f, failure)?;
        }
        let (failed, left) = (self.failures().count(), self.not_tested().count());
        let passed = self.results.len().saturating_sub(failed).saturating_sub(left);
        let took = seconds(self.took());
        write!(
            f,
            "\n{passed} passed, {failed} failed, {left} not tested, in {took}"
        )
    }
}

fn lines(f: &mut fmt::Formatter<'_>, failure: &Failure) -> fmt::Result {
    for line in failure.to_string().lines() {
        writeln!(f, "  {}", one_line(line))?;
    }
    Ok(())
}

fn seconds(took: Duration) -> String {
    format!("{:.3} s", took.as_secs_f64())
}

/// The text without what would move a terminal's cursor.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
