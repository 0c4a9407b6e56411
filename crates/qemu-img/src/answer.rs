use serde::de::DeserializeOwned;
use strongroom_exec::Completed;

use crate::diagnosis::diagnose;
use crate::{Operation, QemuImgError};

/// The longest answer that is read, in bytes. An image with 65,536 snapshots, the most that qcow2 has, stays below it.
const LONGEST_ANSWER: usize = 64 << 20;

/// For commands that answer with nothing but their exit code.
pub(crate) fn done(operation: Operation, completed: &Completed) -> Result<(), QemuImgError> {
    if completed.code == 0 {
        Ok(())
    } else {
        Err(diagnose(operation, completed))
    }
}

/// The answer of a command that succeeded.
pub(crate) fn parsed<T: DeserializeOwned>(
    operation: Operation,
    completed: &Completed,
) -> Result<T, QemuImgError> {
    done(operation, completed)?;
    parse(operation, &completed.stdout)
}

/// The JSON that a command printed. Members that are not known are passed over; one that is missing, of another type or
/// out of range is an error. File names in it are for people: QEMU replaces what is not UTF-8.
pub(crate) fn parse<T: DeserializeOwned>(operation: Operation, stdout: &[u8]) -> Result<T, QemuImgError> {
    if stdout.len() > LONGEST_ANSWER {
        let problem = format!("it has {} bytes, more than {LONGEST_ANSWER}", stdout.len());
        return Err(QemuImgError::Output { operation, problem });
    }
    serde_json::from_str(&String::from_utf8_lossy(stdout)).map_err(|error| QemuImgError::Output {
        operation,
        problem: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Answer {
        size: u64,
    }

    #[test]
    fn unknown_members_and_broken_utf8_in_them_are_passed_over() {
        let answer: Answer = parse(Operation::Info, b"{\"name\":\"a\xff\",\"size\":7,\"new\":[{}]}").unwrap();
        assert_eq!(answer.size, 7);
    }

    #[test]
    fn hostile_answers_are_errors() {
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "{}",
            "[]",
            r#"{"size":-1}"#,
            r#"{"size":1e30}"#,
            r#"{"size":"7"}"#,
            r#"{"size":7"#,
            &deep,
        ] {
            let problem = parse::<Answer>(Operation::Info, text.as_bytes()).unwrap_err();
            assert!(
                matches!(problem, QemuImgError::Output { .. }),
                "{text:.20}: {problem:?}"
            );
        }
        let long = vec![b' '; LONGEST_ANSWER + 1];
        assert!(matches!(
            parse::<Answer>(Operation::Info, &long),
            Err(QemuImgError::Output { .. })
        ));
    }
}
