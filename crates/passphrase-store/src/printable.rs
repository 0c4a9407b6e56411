use std::fmt::{self, Write};

/// Text that somebody else wrote, for a message of one line: a newline, an escape or a change of writing direction in it is shown
/// as Rust would write it, so that it cannot begin a line of its own in a log.
pub(crate) struct Printable<'a>(pub(crate) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\'' | '"' => f.write_char(c),
            _ => write!(f, "{}", c.escape_debug()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prints_is_itself_and_the_rest_is_escaped() {
        let shown = |text| Printable(text).to_string();
        assert_eq!(shown("b, with ' and \" and ü"), "b, with ' and \" and ü");
        assert_eq!(
            shown("a\nb\r\t\u{1b}[31m\u{7f}\u{85}\u{2028}\u{202e}\0"),
            "a\\nb\\r\\t\\u{1b}[31m\\u{7f}\\u{85}\\u{2028}\\u{202e}\\0"
        );
        assert_ne!(shown("a\\nb"), shown("a\nb"));
    }
}
