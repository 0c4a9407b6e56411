use std::time::Duration;

use crate::quote::is_hidden;

/// How long the text of [`Completed::message`] is at most, in characters.
const MESSAGE: usize = 1000;

/// A command that ran to its end by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Completed {
    /// Its exit code.
    pub code: i32,
    /// What it printed on standard output, all of it.
    pub stdout: Vec<u8>,
    /// What it printed on standard error. When that is more than 64 KiB, the first and the last 32 KiB, and between them
    /// a line that says how much is missing.
    pub stderr: Vec<u8>,
    /// How long it ran.
    pub duration: Duration,
}

impl Completed {
    /// For fakes: an exit code and both outputs.
    #[must_use]
    pub fn new(code: i32, stdout: impl Into<Vec<u8>>, stderr: impl Into<Vec<u8>>) -> Self {
        Self {
            code,
            stdout: stdout.into(),
            stderr: stderr.into(),
            duration: Duration::ZERO,
        }
    }

    /// Standard error as text for a message: one line, trimmed, without control characters and others that change how
    /// text is shown (each becomes a space), at most 1,000 characters. Of a longer text the middle is left out.
    #[must_use]
    pub fn message(&self) -> String {
        let shown = String::from_utf8_lossy(&self.stderr).replace(is_hidden, " ");
        let text: Vec<char> = shown.trim().chars().collect();
        if text.len() <= MESSAGE {
            return text.into_iter().collect();
        }
        // Tools say the decisive thing last.
        let (head, gap) = (300, " [..] ");
        let tail = &text[text.len() - (MESSAGE - head - gap.len())..];
        let head = text.iter().take(head).copied();
        head.chain(gap.chars()).chain(tail.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(stderr: impl Into<Vec<u8>>) -> String {
        Completed::new(1, "", stderr).message()
    }

    #[test]
    fn a_message_has_no_character_that_plays_tricks() {
        let hostile = "\n \x1b[31mred\0\r\n\u{9b}2J\u{202e}gnp\u{2028}\u{feff}é\n";
        assert_eq!(message(hostile), "[31mred    2J gnp  é");
        assert_eq!(message(b"not \xff UTF-8".as_slice()), "not \u{fffd} UTF-8");
    }

    #[test]
    fn a_long_message_keeps_its_beginning_and_its_end() {
        let fits = "é".repeat(1000);
        assert_eq!(message(fits.clone()), fits);
        let long = message(format!("first {} last", "é".repeat(1000)));
        assert_eq!(long.chars().count(), 1000);
        assert!(long.starts_with("first é") && long.contains("é [..] é") && long.ends_with("é last"));
    }
}
