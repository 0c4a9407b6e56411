use std::path::Path;

use strongroom_types::Call;

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

/// How much of a device is looked at before it is called blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Look {
    /// Everything, from end to end. Holes of a regular file are not read, so that a new file costs next to nothing; of a block
    /// device every byte is, which takes as long as its storage takes to deliver them.
    #[default]
    Whole,
    /// Of a block device the first 17 MiB and the last MiB; of a regular file the first 64 MiB of what is not a hole, and the
    /// last MiB. **Data that lies elsewhere is not seen, and a format destroys access to it.** For who knows from the
    /// storage itself that the device is new.
    Samples,
}

/// How a look is taken, and until when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Looking<'c> {
    pub(crate) call: &'c Call,
    pub(crate) look: Look,
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
/// table, and when all that the [`Look`] goes over is zero. It reports progress, and stops between two reads of a MiB when the
/// call says so.
///
/// # Errors
/// [`CryptsetupError::DeviceMissing`], [`CryptsetupError::NotADisk`], [`CryptsetupError::Path`],
/// [`CryptsetupError::Interrupted`], and [`CryptsetupError::Io`] when it cannot be read: what cannot be read is never
/// blank.
pub fn inspect(call: &Call, path: impl AsRef<Path>, look: Look) -> Result<Inspection, CryptsetupError> {
    let disk = Disk::open(&absolute(path.as_ref())?, Sharing::Anybody)?;
    look_at(&disk, 0, Looking { call, look })
}

/// As [`inspect`]; `reach` is how far what is written to the disk would go, which must be zero whatever it
/// is.
pub(crate) fn look_at(disk: &Disk, reach: u64, how: Looking<'_>) -> Result<Inspection, CryptsetupError> {
    if let Some((content, offset)) = identify(disk)? {
        return Ok(Inspection::Holds { content, offset });
    }
    Ok(match first_data(disk, 0, reach, how)? {
        Some(offset) => Inspection::Holds {
            content: Content::Unknown,
            offset,
        },
        None => Inspection::Blank,
    })
}

/// The first byte at or after `from` that is not zero, in what is looked at.
pub(crate) fn first_data(
    disk: &Disk,
    from: u64,
    reach: u64,
    how: Looking<'_>,
) -> Result<Option<u64>, CryptsetupError> {
    if how.look == Look::Whole {
        return first_in_data(disk, from, how.call);
    }
    let limit = if disk.is_block() { BEGINNING } else { DATA_OF_FILE };
    let mut left = limit.max(reach.saturating_add(1 << 20));
    let mut at = from;
    while left > 0 {
        let Some((begin, end)) = disk.data_from(at)? else {
            break;
        };
        let end = end.min(begin.saturating_add(left));
        if let Some(offset) = first_nonzero(disk, begin, end, how.call)? {
            return Ok(Some(offset));
        }
        left -= end - begin;
        at = end;
    }
    first_in_data(disk, from.max(disk.size().saturating_sub(END)), how.call)
}

/// The first byte at or after `from` that is not zero, in all that is no hole.
fn first_in_data(disk: &Disk, from: u64, call: &Call) -> Result<Option<u64>, CryptsetupError> {
    let mut at = from;
    while let Some((begin, end)) = disk.data_from(at)? {
        if let Some(offset) = first_nonzero(disk, begin, end, call)? {
            return Ok(Some(offset));
        }
        at = end;
    }
    Ok(None)
}

fn first_nonzero(disk: &Disk, begin: u64, end: u64, call: &Call) -> Result<Option<u64>, CryptsetupError> {
    static ZEROS: [u8; PIECE] = [0; PIECE];
    let mut buffer = vec![0; PIECE];
    let mut at = begin;
    while at < end {
        call.check().map_err(|source| CryptsetupError::Interrupted {
            action: "the whole device was looked at",
            source,
        })?;
        call.report(part(at, disk.size()));
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

/// How much of a disk lies before this place.
#[expect(clippy::cast_precision_loss, reason = "it is shown to people")]
fn part(at: u64, size: u64) -> f64 {
    at as f64 / size.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::FileExt;
    use std::sync::{Arc, Mutex};
    use strongroom_types::{Cancellation, Interrupted};

    fn whole(path: impl AsRef<Path>) -> Result<Inspection, CryptsetupError> {
        inspect(&Call::new(), path, Look::Whole)
    }

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
            assert_eq!(whole(file.path()).unwrap(), Inspection::Blank);
            file.as_file().write_all_at(b"x", offset).unwrap();
            let holds = Inspection::Holds {
                content: Content::Unknown,
                offset,
            };
            assert_eq!(whole(file.path()).unwrap(), holds);
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
        assert_eq!(whole(file.path()).unwrap(), holds);
    }

    #[test]
    fn zeros_that_take_room_are_blank_too() {
        let mut file = file(0);
        file.write_all(&vec![0; 3 << 20]).unwrap();
        assert_eq!(whole(file.path()).unwrap(), Inspection::Blank);
        file.write_all(&[0; 100]).unwrap();
        file.write_all(&[7]).unwrap();
        let holds = Inspection::Holds {
            content: Content::Unknown,
            offset: (3 << 20) + 100,
        };
        assert_eq!(whole(file.path()).unwrap(), holds);
    }

    #[test]
    fn only_the_whole_look_sees_the_middle_of_what_is_large() {
        let mut file = file(0);
        file.write_all(&vec![0; 67 << 20]).unwrap();
        let at = (65 << 20) + 3;
        file.as_file().write_all_at(b"x", at).unwrap();
        let holds = Inspection::Holds {
            content: Content::Unknown,
            offset: at,
        };
        assert_eq!(whole(file.path()).unwrap(), holds);
        let samples = inspect(&Call::new(), file.path(), Look::Samples);
        assert_eq!(samples.unwrap(), Inspection::Blank);
    }

    #[test]
    fn a_look_says_how_far_it_is_and_ends_when_told() {
        let mut file = file(0);
        file.write_all(&vec![0; 8 << 20]).unwrap();
        let (flag, seen) = (Cancellation::new(), Arc::new(Mutex::new(Vec::new())));
        let (to_set, to_fill) = (flag.clone(), Arc::clone(&seen));
        let call = Call::new()
            .with_cancellation(flag)
            .with_progress(Arc::new(move |part| {
                to_fill.lock().unwrap().push(part);
                if part >= 0.5 {
                    to_set.cancel();
                }
            }));
        let stopped = inspect(&call, file.path(), Look::Whole);
        assert!(matches!(
            stopped,
            Err(CryptsetupError::Interrupted {
                source: Interrupted::Cancelled,
                ..
            })
        ));
        assert_eq!(*seen.lock().unwrap(), [0.0, 0.125, 0.25, 0.375, 0.5]);
    }

    #[test]
    fn nothing_at_all_is_blank() {
        assert_eq!(whole(file(0).path()).unwrap(), Inspection::Blank);
        assert_eq!(whole(file(1).path()).unwrap(), Inspection::Blank);
    }

    #[test]
    fn what_is_no_disk_is_refused_by_kind() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(
            whole(directory.path()),
            Err(CryptsetupError::NotADisk {
                kind: "directory",
                ..
            })
        ));
        assert!(matches!(
            whole("/dev/null"),
            Err(CryptsetupError::NotADisk {
                kind: "character device",
                ..
            })
        ));
        let missing = directory.path().join("missing");
        assert!(matches!(whole(&missing), Err(CryptsetupError::DeviceMissing { path }) if path == missing));
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
            whole(&pipe),
            Err(CryptsetupError::NotADisk {
                kind: "named pipe",
                ..
            })
        ));
    }
}
