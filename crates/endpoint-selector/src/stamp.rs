use std::fmt;
use std::str::FromStr;

/// By what a file is known to be as it was, without reading it: what the host's file system says of it.
///
/// A file whose content changed has another stamp, unless somebody set the clock back to make it look the same: to know that, read
/// the content. One that was only touched or copied has another stamp too. Hosts that reach one file over a network agree on its stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct FileStamp {
    /// Its length in bytes.
    pub length: u64,
    /// The number of its inode.
    pub inode: u64,
    /// When its content was last changed (`mtime`), in nanoseconds since 1970.
    pub modified: i128,
    /// When its inode was last changed (`ctime`), in nanoseconds since 1970.
    pub changed: i128,
}

impl FileStamp {
    /// The stamp with all there is to it.
    #[must_use]
    pub fn new(length: u64, inode: u64, modified: i128, changed: i128) -> Self {
        Self {
            length,
            inode,
            modified,
            changed,
        }
    }

    /// How a file that has this stamp now differs from one that had the other, as a fragment that follows its name; `None` when
    /// it is the same.
    #[must_use]
    pub fn since(&self, before: &Self) -> Option<String> {
        if self == before {
            return None;
        }
        Some(if self.length != before.length {
            format!("has {} bytes and had {}", self.length, before.length)
        } else if self.inode != before.inode {
            "is another file of the same name".to_owned()
        } else if self.modified != before.modified {
            "was written to".to_owned()
        } else {
            "was touched".to_owned()
        })
    }
}

impl fmt::Display for FileStamp {
    /// Four numbers: length, inode, modified, changed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            length,
            inode,
            modified,
            changed,
        } = self;
        write!(f, "{length} {inode} {modified} {changed}")
    }
}

/// A text that is no stamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the stamp of a file: four numbers")]
pub struct ParseStampError(String);

impl FromStr for FileStamp {
    type Err = ParseStampError;

    /// What [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, ParseStampError> {
        let mut words = text.split(' ');
        let mut parse = || {
            let stamp = Self {
                length: words.next()?.parse().ok()?,
                inode: words.next()?.parse().ok()?,
                modified: words.next()?.parse().ok()?,
                changed: words.next()?.parse().ok()?,
            };
            words.next().is_none().then_some(stamp)
        };
        parse().ok_or_else(|| ParseStampError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_written_and_read_and_says_what_changed() {
        let stamp = FileStamp::new(1, 2, -3, 4);
        assert_eq!(stamp.to_string(), "1 2 -3 4");
        assert_eq!("1 2 -3 4".parse(), Ok(stamp));
        for text in ["", "1 2 3", "1 2 3 4 5", "-1 2 3 4", "1  2 3 4"] {
            assert_eq!(text.parse::<FileStamp>(), Err(ParseStampError(text.to_owned())));
        }
        assert_eq!(stamp.since(&stamp), None);
        for (before, expected) in [
            (FileStamp::new(9, 2, -3, 4), "has 1 bytes and had 9"),
            (FileStamp::new(1, 9, -3, 4), "is another file of the same name"),
            (FileStamp::new(1, 2, 9, 4), "was written to"),
            (FileStamp::new(1, 2, -3, 9), "was touched"),
        ] {
            assert_eq!(stamp.since(&before).as_deref(), Some(expected));
        }
    }
}
