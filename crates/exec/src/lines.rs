/// How much of one line goes to whoever watches the lines: 64 KiB. What a longer line has beyond it is only in
/// [`Completed::stdout`](crate::Completed::stdout).
pub const LINE_LIMIT: usize = 64 << 10;

/// Cuts a stream into lines that end with a line feed or a carriage return.
#[derive(Default)]
pub(crate) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// The next bytes of the stream. Each line that they end goes to `each`, without its end, until that fails.
    pub(crate) fn feed<E>(&mut self, bytes: &[u8], each: impl Fn(&[u8]) -> Result<(), E>) -> Result<(), E> {
        for piece in bytes.split_inclusive(|byte| is_end(*byte)) {
            let (text, ends) = match piece.split_last() {
                Some((last, text)) if is_end(*last) => (text, true),
                _ => (piece, false),
            };
            let room = LINE_LIMIT - self.begun.len();
            self.begun.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                each(&self.begun)?;
                self.begun.clear();
            }
        }
        Ok(())
    }

    /// The stream is over: what has no end is a line too.
    pub(crate) fn finish<E>(self, each: impl Fn(&[u8]) -> Result<(), E>) -> Result<(), E> {
        if self.begun.is_empty() {
            return Ok(());
        }
        each(&self.begun)
    }
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::convert::Infallible;

    use super::*;

    fn cut(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let seen = RefCell::new(Vec::new());
        let each = |line: &[u8]| {
            seen.borrow_mut().push(line.to_vec());
            Ok::<(), Infallible>(())
        };
        let mut lines = Lines::default();
        for chunk in chunks {
            let Ok(()) = lines.feed(chunk, each);
        }
        let Ok(()) = lines.finish(each);
        seen.into_inner()
    }

    #[test]
    fn lines_do_not_depend_on_how_the_stream_was_read() {
        let expected: [&[u8]; 4] = [b"  (1/100%)", b"(2/100%)", b"", b"end"];
        assert_eq!(cut(&[b"  (1/100%)\r(2/100%)\r\nend"]), expected);
        assert_eq!(
            cut(&[b"  (1/1", b"00%)", b"\r(2/100%)", b"\r", b"\n", b"e", b"nd"]),
            expected
        );
        assert_eq!(cut(&[b"whole\n"]), [b"whole"]);
        assert_eq!(cut(&[]), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_line_has_a_greatest_length_and_the_next_one_is_whole() {
        let flood = vec![b'x'; LINE_LIMIT - 1];
        assert_eq!(
            cut(&[&flood, b"yz", &flood, b"\nnext\n"]),
            [[&flood[..], b"y"].concat(), b"next".to_vec()]
        );
    }
}
