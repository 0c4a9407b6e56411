use std::path::Path;

use crate::CryptsetupError;
use crate::content::{Content, identify};
use crate::disk::{Disk, Sharing};
use crate::target::absolute;

/// Whether there is anything on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inspection {
    /// Nothing known, and nothing but zeros wherever was looked.
    Blank,
    /// Something.
    Holds {
        /// What it is.
        content: Content,
        /// Where it was seen, in bytes from the beginning.
        offset: u64,
    },
}

/// The beginning of a block device that must be zero: a LUKS2 header of the usual size and the first MiB
/// behind it.
const BEGINNING: u64 = 17 << 20;
/// The end of a device that must be zero: copies of partition tables, and what RAID writes.
const END: u64 = 1 << 20;
/// How much is read of what a regular file has data for.
const DATA_OF_FILE: u64 = 64 << 20;
const PIECE: usize = 1 << 20;

/// Looks whether anything is on a block device or in a regular file.
///
/// It is blank when it bears no known signature of a header, image, file system, volume manager or partition
/// table, and when all of this is zero: of a block device the first 17 MiB and the last MiB; of a regular
/// file the first 64 MiB of what is not a hole, and the last MiB. So at most 65 MiB are read, and of a sparse
/// file next to nothing.
///
/// Blank says nothing about the middle of a large device: data whose beginning and end were wiped is not
/// seen.
///
/// # Errors
/// [`CryptsetupError::DeviceMissing`], [`CryptsetupError::NotADisk`], [`CryptsetupError::Path`], and
/// [`CryptsetupError::Io`] when it cannot be read: what cannot be read is never blank.
pub fn inspect(path: impl AsRef<Path>) -> Result<Inspection, CryptsetupError> {
    look(&Disk::open(&absolute(path.as_ref())?, Sharing::Anybody)?, 0)
}

/// As [`inspect`]; `reach` is how far what is written to the disk would go, which must be zero whatever it
/// is.
pub(crate) fn look(disk: &Disk, reach: u64) -> Result<Inspection, CryptsetupError> {
    if let Some((content, offset)) = identify(disk)? {
        return Ok(Inspection::Holds { content, offset });
    }
    Ok(match first_data(disk, 0, reach)? {
        Some(offset) => Inspection::Holds {
            content: Content::Unknown,
            offset,
        },
        None => Inspection::Blank,
    })
}

/// The first byte at or after `from` that is not zero, in what [`inspect`] looks at.
pub(crate) fn first_data(disk: &Disk, from: u64, reach: u64) -> Result<Option<u64>, CryptsetupError> {
    let limit = if disk.is_block() { BEGINNING } else { DATA_OF_FILE };
    let mut left = limit.max(reach.saturating_add(1 << 20));
    let mut at = from;
    while left > 0 {
        let Some((begin, end)) = disk.data_from(at)? else {
            break;
        };
        let end = end.min(begin.saturating_add(left));
        if let Some(offset) = first_nonzero(disk, begin, end)? {
            return Ok(Some(offset));
        }
        left -= end - begin;
        at = end;
    }
    at = from.max(disk.size().saturating_sub(END));
    while let Some((begin, end)) = disk.data_from(at)? {
        if let Some(offset) = first_nonzero(disk, begin, end)? {
            return Ok(Some(offset));
        }
        at = end;
    }
    Ok(None)
}

fn first_nonzero(disk: &Disk, begin: u64, end: u64) -> Result<Option<u64>, CryptsetupError> {
    static ZEROS: [u8; PIECE] = [0; PIECE];
    let mut buffer = vec![0; PIECE];
    let mut at = begin;
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        let n = disk.read_at(at, buffer.get_mut(..want).unwrap_or_default())?;
        let read = buffer.get(..n).unwrap_or_default();
        if ZEROS.get(..n) != Some(read) {
            return Ok(read.iter().position(|byte| *byte != 0).map(|i| at + i as u64));
        }
        if n < want {
            break;
        }
        at += n as u64;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    fn file(size: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        file
    }

    #[test]
    fn one_byte_anywhere_in_what_is_looked_at_is_seen() {
        for offset in [
            0,
            4095,
            5 << 20,
            (17 << 20) - 1,
            (63 << 20) + 7,
            (200 << 20) - (1 << 20),
            (200 << 20) - 1,
        ] {
            let file = file(200 << 20);
            assert_eq!(inspect(file.path()).unwrap(), Inspection::Blank);
            file.as_file().write_all_at(b"x", offset).unwrap();
            let holds = Inspection::Holds {
                content: Content::Unknown,
                offset,
            };
            assert_eq!(inspect(file.path()).unwrap(), holds);
        }
    }

    #[test]
    fn data_behind_a_hole_is_seen_wherever_it_is() {
        let file = file(50 << 30);
        file.as_file().write_all_at(b"x", 30 << 30).unwrap();
        let holds = Inspection::Holds {
            content: Content::Unknown,
            offset: 30 << 30,
        };
        assert_eq!(inspect(file.path()).unwrap(), holds);
    }

    #[test]
    fn zeros_that_take_room_are_blank_too() {
        let mut file = file(0);
        file.write_all(&vec![0; 3 << 20]).unwrap();
        assert_eq!(inspect(file.path()).unwrap(), Inspection::Blank);
        file.write_all(&[0; 100]).unwrap();
        file.write_all(&[7]).unwrap();
        let holds = Inspection::Holds {
            content: Content::Unknown,
            offset: (3 << 20) + 100,
        };
        assert_eq!(inspect(file.path()).unwrap(), holds);
    }

    #[test]
    fn nothing_at_all_is_blank() {
        assert_eq!(inspect(file(0).path()).unwrap(), Inspection::Blank);
        assert_eq!(inspect(file(1).path()).unwrap(), Inspection::Blank);
    }

    #[test]
    fn what_is_no_disk_is_refused_by_kind() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(
            inspect(directory.path()),
            Err(CryptsetupError::NotADisk {
                kind: "directory",
                ..
            })
        ));
        assert!(matches!(
            inspect("/dev/null"),
            Err(CryptsetupError::NotADisk {
                kind: "character device",
                ..
            })
        ));
        let missing = directory.path().join("missing");
        assert!(matches!(inspect(&missing), Err(CryptsetupError::DeviceMissing { path }) if path == missing));
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        assert!(matches!(
            inspect(&pipe),
            Err(CryptsetupError::NotADisk {
                kind: "named pipe",
                ..
            })
        ));
    }
}
