use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// A list of `key=value` as QEMU reads it after `--object`, `-o` and `--image-opts`.
///
/// A comma ends a value, so that every comma inside one is written twice. Nothing else has a meaning in a value, and no
/// byte is changed otherwise: a value need not be UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OptionList(Vec<u8>);

impl OptionList {
    /// A list that begins with a word of its own, as the kind of an object does.
    pub(crate) fn of(word: &str) -> Self {
        Self(word.as_bytes().to_vec())
    }

    pub(crate) fn push(&mut self, key: &str, value: impl AsRef<OsStr>) {
        if !self.0.is_empty() {
            self.0.push(b',');
        }
        self.0.extend_from_slice(key.as_bytes());
        self.0.push(b'=');
        for byte in value.as_ref().as_bytes() {
            if *byte == b',' {
                self.0.push(b',');
            }
            self.0.push(*byte);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_argument(self) -> OsString {
        OsString::from_vec(self.0)
    }
}

/// `on` or `off`, as QEMU writes them.
pub(crate) fn switch(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// QEMU's own reading: two commas are one, one comma ends the value.
    fn read_back(list: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut pairs = vec![Vec::new()];
        let mut bytes = list.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            let last = pairs.last_mut().unwrap();
            if byte != b',' {
                last.push(byte);
            } else if bytes.next_if_eq(&b',').is_some() {
                last.push(b',');
            } else {
                pairs.push(Vec::new());
            }
        }
        pairs
            .into_iter()
            .map(|pair| {
                let equals = pair.iter().position(|b| *b == b'=').unwrap();
                (pair[..equals].to_vec(), pair[equals + 1..].to_vec())
            })
            .collect()
    }

    #[test]
    fn a_comma_cannot_begin_another_option() {
        let mut list = OptionList::of("secret");
        list.push("id", "sec0");
        list.push("file", "/a,data=x,,b");
        assert_eq!(list.into_argument(), "secret,id=sec0,file=/a,,data=x,,,,b");
    }

    proptest! {
        #[test]
        fn values_come_back_byte_for_byte(values in proptest::collection::vec(any::<Vec<u8>>(), 1..4)) {
            let mut list = OptionList::default();
            for value in &values {
                list.push("k", OsStr::from_bytes(value));
            }
            let back: Vec<_> = read_back(list.into_argument().as_bytes()).into_iter().map(|(_, v)| v).collect();
            prop_assert_eq!(back, values);
        }
    }
}
