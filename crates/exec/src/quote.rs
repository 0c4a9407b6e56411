use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;

/// A word as a shell would have to be told it: as it is where that is safe, else in single quotes, else (control
/// characters, invisible ones, bytes that are not UTF-8) in `$'..'`, which bash, zsh and POSIX.1-2024 know.
pub(crate) struct Quoted<'a>(pub(crate) &'a OsStr);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_bytes();
        match self.0.to_str() {
            Some(text) if !bytes.is_empty() && bytes.iter().all(is_plain) => f.write_str(text),
            Some(text) if !text.chars().any(is_hidden) => {
                write!(f, "'{}'", text.replace('\'', r"'\''"))
            }
            _ => escaped(bytes, f),
        }
    }
}

fn is_plain(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-./,:=+@%".contains(byte)
}

/// Whether a character could change how the text around it is shown: control characters, line and paragraph separators,
/// zero-width characters, and those that turn the direction of writing.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(c, '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn escaped(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("$'")?;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => f.write_str(r"\n")?,
                '\t' => f.write_str(r"\t")?,
                '\r' => f.write_str(r"\r")?,
                '\'' => f.write_str(r"\'")?,
                '\\' => f.write_str(r"\\")?,
                _ if is_hidden(c) => hexadecimal(c.encode_utf8(&mut [0; 4]).as_bytes(), f)?,
                _ => f.write_char(c)?,
            }
        }
        hexadecimal(chunk.invalid(), f)?;
    }
    f.write_char('\'')
}

fn hexadecimal(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, r"\x{byte:02x}"))
}
