use std::collections::VecDeque;

/// How much is kept of the beginning of standard error, and as much of its end: 32 KiB.
pub(crate) const END: usize = 32 << 10;

/// The beginning and the end of a stream, in bounded memory.
#[derive(Default)]
pub(crate) struct Ends {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: u64,
}

impl Ends {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(END - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(END);
        self.tail.drain(..excess);
        self.left_out += excess as u64;
    }

    /// Both in one; where something is missing between them, a line says how much.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let mut all = self.head;
        if self.left_out > 0 {
            let gap = format!("\n[{} bytes left out]\n", self.left_out);
            all.extend_from_slice(gap.as_bytes());
        }
        all.extend(self.tail);
        all
    }
}

/// A stream up to a limit.
pub(crate) struct Whole {
    bytes: Vec<u8>,
    limit: usize,
}

/// The stream is longer than its limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMuch;

impl Whole {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), TooMuch> {
        if bytes.len() > self.limit - self.bytes.len() {
            return Err(TooMuch);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(chunks: &[&[u8]]) -> Vec<u8> {
        let mut ends = Ends::default();
        for chunk in chunks {
            ends.feed(chunk);
            assert!(ends.head.len() <= END && ends.tail.len() <= END);
        }
        ends.into_bytes()
    }

    #[test]
    fn what_fits_is_kept_as_it_is() {
        assert_eq!(ends(&[b"one\n", b"two\n"]), b"one\ntwo\n");
        let full = [vec![b'a'; END], vec![b'b'; END]].concat();
        assert_eq!(ends(&[&full]), full);
    }

    #[test]
    fn of_much_the_beginning_and_the_end_are_kept() {
        let kept = ends(&[b"first", &vec![b'.'; 2 * END], b"last"]);
        assert!(kept.starts_with(b"first...") && kept.ends_with(b"...last"));
        let text = String::from_utf8(kept).unwrap();
        assert!(text.contains("\n[9 bytes left out]\n"));
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        let mut whole = Whole::new(4);
        assert_eq!(whole.feed(b"ab"), Ok(()));
        assert_eq!(whole.feed(b"cd"), Ok(()));
        assert_eq!(whole.feed(b""), Ok(()));
        assert_eq!(whole.feed(b"e"), Err(TooMuch));
        assert_eq!(whole.into_bytes(), b"abcd");
    }
}
