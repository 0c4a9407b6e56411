use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use crate::check::Outcome;
use crate::report::Report;

/// Why a report could not be written as XML.
#[derive(Debug, thiserror::Error)]
#[error("the report cannot be written as XML")]
pub struct JunitError(#[source] quick_junit::SerializeError);

impl Report {
    /// The report as JUnit XML, in which a CI shows it: one suite with this name, a case for each check. A check that was not tested is
    /// skipped and says why; what went wrong with cleaning up is in the output of the suite.
    ///
    /// # Errors
    /// [`JunitError`] when the library that writes it fails.
    pub fn to_junit(&self, suite: &str) -> Result<String, JunitError> {
        let mut cases = TestSuite::new(suite);
        cases.set_time(self.took());
        for result in &self.results {
            let mut case = TestCase::new(result.check.name, status(&result.outcome, result.check.sentence));
            case.set_classname("pool-conformance").set_time(result.took);
            cases.add_test_case(case);
        }
        if let Some(failure) = &self.cleaning_up {
            cases.set_system_err(format!("cleaning up failed\n{failure}"));
        }
        let mut report = quick_junit::Report::new("pool-conformance");
        report.set_time(self.took());
        report.add_test_suite(cases);
        report.to_string().map_err(JunitError)
    }
}

fn status(outcome: &Outcome, sentence: &str) -> TestCaseStatus {
    match outcome {
        Outcome::Passed => TestCaseStatus::success(),
        Outcome::NotTested(why) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(why.as_str());
            status
        }
        Outcome::Failed(failure) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(sentence).set_type("contract");
            status.set_description(failure.to_string());
            status
        }
    }
}
