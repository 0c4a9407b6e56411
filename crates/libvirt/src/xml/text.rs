use crate::Refusal;

/// Whether a text can be put into XML and comes back the same.
///
/// XML 1.0 cannot carry control characters, U+FFFE and U+FFFF. Tab and line ends it carries, but attributes turn them into
/// spaces, and no path, name or command line of ours has them.
pub(super) fn check(text: &str) -> Result<(), Refusal> {
    match text
        .chars()
        .find(|c| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'))
    {
        Some(c) => Err(Refusal::Character(c)),
        None => Ok(()),
    }
}
