use std::fmt;

/// How many tests passed, failed and were skipped.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// Adds what a line of `cargo test` says, if it closes the run of one test binary.
    pub(crate) fn read(&mut self, line: &str) {
        let Some(counts) = line.trim().strip_prefix("test result: ") else {
            return;
        };
        let counts = counts.split_once(". ").map_or("", |(_, counts)| counts);
        for count in counts.split("; ") {
            match count
                .split_once(' ')
                .and_then(|(n, what)| Some((n.parse::<u64>().ok()?, what)))
            {
                Some((n, "passed")) => self.passed += n,
                Some((n, "failed")) => self.failed += n,
                Some((n, "ignored")) => self.skipped += n,
                _ => {}
            }
        }
    }

    /// Counts one more thing that either passed or failed.
    pub(crate) fn count(&mut self, passed: bool) {
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Takes the exit code of `cargo test` into account: a test binary that does not build, or dies, closes with no
    /// line, and a run in which nothing ran proves nothing.
    pub(crate) fn settle(&mut self, exited_well: bool) {
        if self.failed == 0 && (!exited_well || self.passed == 0) {
            self.failed = 1;
        }
    }
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.read(line));
        tally
    }

    #[test]
    fn sums_the_closing_lines_of_all_binaries() {
        let sum = tally(&[
            "running 3 tests",
            "test a_test_named_result ... ok",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 10 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished in 1.20s\n",
        ]);
        assert_eq!(
            sum,
            Tally {
                passed: 13,
                failed: 2,
                skipped: 1
            }
        );
        assert_eq!(sum.to_string(), "13 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(
            tally(&["5 passed; 5 failed", "test result: ", "test result: ok", ""]),
            Tally::default()
        );
    }

    #[test]
    fn a_run_that_died_or_ran_nothing_failed() {
        let cases = [
            (3, 0, true, 0),
            (3, 0, false, 1),
            (0, 0, true, 1),
            (0, 0, false, 1),
            (3, 2, false, 2),
        ];
        for (passed, failed, exited_well, expected) in cases {
            let mut tally = Tally {
                passed,
                failed,
                skipped: 0,
            };
            tally.settle(exited_well);
            assert_eq!(
                tally.failed, expected,
                "{passed} passed, {failed} failed, exited well: {exited_well}"
            );
        }
    }

    #[test]
    fn the_plain_line_has_no_skipped_part_when_nothing_was_skipped() {
        assert_eq!(
            Tally {
                passed: 1,
                failed: 0,
                skipped: 0
            }
            .to_string(),
            "1 passed, 0 failed"
        );
    }
}
