use std::time::Duration;

use crate::GuestError;

/// The exit code of a test program whose closure ran to its end in the guest. No other part of a test program ends with
/// it, so that a program that ran no test at all does not look like success.
pub(crate) const PASSED: i32 = 42;

/// How much of an output goes into a message, in bytes.
const SHOWN: usize = 16 << 10;

/// What was heard of a guest.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// What its first process said at the end, on a line of its own that the test does not use.
    pub(crate) verdict: String,
    /// What the test printed.
    pub(crate) output: String,
    /// What the kernel said.
    pub(crate) console: String,
}

impl Heard {
    /// Of a guest that did not end in time.
    pub(crate) fn hung(self, after: Duration) -> GuestError {
        GuestError::Hung {
            after,
            output: tail(&self.output),
            console: tail(&self.console),
        }
    }
}

/// How the test went in a guest that was switched off.
pub(crate) fn judge(test: &str, heard: Heard) -> Result<(), GuestError> {
    let (output, console) = (tail(&heard.output), tail(&heard.console));
    let said = heard.verdict.trim();
    match said.strip_prefix("exit ").map(str::parse) {
        Some(Ok(PASSED)) => Ok(()),
        Some(Ok(0)) => Err(GuestError::NotRun {
            test: test.to_owned(),
            output,
        }),
        Some(Ok(code)) => Err(GuestError::Failed { code, output }),
        Some(Err(_)) | None if said.is_empty() => Err(GuestError::Down { output, console }),
        Some(Err(_)) | None => Err(GuestError::NotReady {
            what: said.to_owned(),
            console,
        }),
    }
}

/// The end of a text, from the beginning of a line where there is one.
fn tail(text: &str) -> String {
    let from = text.len().saturating_sub(SHOWN);
    let Some(from) = (from..text.len()).find(|at| text.is_char_boundary(*at)) else {
        return String::new();
    };
    let end = &text[from..];
    let whole = if from == 0 {
        end
    } else {
        end.split_once('\n').map_or(end, |(_, rest)| rest)
    };
    whole.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(verdict: &str) -> Result<(), GuestError> {
        judge(
            "a::test",
            Heard {
                verdict: verdict.to_owned(),
                output: "exit 42\n".to_owned(),
                console: "exit 42\n".to_owned(),
            },
        )
    }

    #[test]
    fn only_a_closure_that_ran_to_its_end_passed() {
        heard("exit 42\n").unwrap();
        assert!(
            matches!(heard("exit 101\n"), Err(GuestError::Failed { code: 101, output }) if output == "exit 42")
        );
        assert!(matches!(heard("exit 0\n"), Err(GuestError::NotRun { test, .. }) if test == "a::test"));
        assert!(matches!(heard(""), Err(GuestError::Down { .. })));
        assert!(
            matches!(heard("module a.ko\n"), Err(GuestError::NotReady { what, .. }) if what == "module a.ko")
        );
        assert!(matches!(heard("exit"), Err(GuestError::NotReady { .. })));
    }

    #[test]
    fn a_message_has_the_end_of_what_was_said() {
        let long = format!("first\n{}last\n", "é é é\n".repeat(SHOWN));
        let shown = tail(&long);
        assert!(shown.len() <= SHOWN && shown.starts_with("é é é\n") && shown.ends_with("\nlast"));
        assert_eq!(tail("all of it\n"), "all of it");
        assert_eq!(tail(""), "");
    }
}
