//! What a file system lets one do, found out by doing it to a file of our own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, OFlags, fcntl_lock, flock};
use rustix::io::Errno;
use strongroom_endpoint_selector::Locking;

use crate::staging::Staging;

/// What a file could be used for in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trial {
    /// Whether one can be made there at all, space permitting.
    pub(crate) writable: bool,
    pub(crate) locking: Locking,
    /// In milliseconds.
    pub(crate) clock_skew: Option<i64>,
}

impl Trial {
    /// Makes a file without a name, which is gone when this process is. Where the file system has none, it is in a staging directory
    /// of its own.
    pub(crate) fn in_directory(directory: &Path) -> io::Result<Self> {
        let before = SystemTime::now();
        let flags = OFlags::TMPFILE.bits().cast_signed();
        let nameless = OpenOptions::new()
            .read(true)
            .write(true)
            .mode(0o600)
            .custom_flags(flags)
            .open(directory);
        match nameless {
            // What a kernel or a file system says that knows nothing of it: open(2).
            Err(e) if is_unknown(&e) => Self::with_a_name(directory),
            made => Self::of(before, made.and_then(written)),
        }
    }

    fn with_a_name(directory: &Path) -> io::Result<Self> {
        let mut trial = Self::refused();
        let staging = match Staging::beside(&directory.join("trial")) {
            Err(e) if is_full(&e) => {
                trial.writable = true;
                return Ok(trial);
            }
            Err(e) if is_refusal(&e) => return Ok(trial),
            staging => staging?,
        };
        let before = SystemTime::now();
        let made = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(staging.path())
            .and_then(written);
        Self::of(before, made)
    }

    fn refused() -> Self {
        Self {
            writable: false,
            locking: Locking::Unknown,
            clock_skew: None,
        }
    }

    /// What a file shows that was made after this time.
    fn of(before: SystemTime, made: io::Result<File>) -> io::Result<Self> {
        let mut trial = Self::refused();
        let file = match made {
            Err(e) if is_refusal(&e) => return Ok(trial),
            Err(e) if is_full(&e) => {
                trial.writable = true;
                return Ok(trial);
            }
            file => file?,
        };
        let after = SystemTime::now();
        trial.writable = true;
        trial.clock_skew = Some(skew(before, file.metadata()?.modified()?, after));
        trial.locking = locking(&file)?;
        Ok(trial)
    }
}

fn written(mut file: File) -> io::Result<File> {
    file.write_all(b"trial")?;
    file.sync_all()?;
    Ok(file)
}

fn is_unknown(error: &io::Error) -> bool {
    let unknown = [
        Errno::OPNOTSUPP,
        Errno::ISDIR,
        Errno::INVAL,
        Errno::NOENT,
        Errno::NOSYS,
    ];
    unknown
        .iter()
        .any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// How far a date is from the time in which it was given. The kernel dates files by a clock that is some milliseconds old.
fn skew(before: SystemTime, dated: SystemTime, after: SystemTime) -> i64 {
    let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    if let Ok(ahead) = dated.duration_since(after) {
        milliseconds(ahead)
    } else if let Ok(behind) = before.duration_since(dated) {
        -milliseconds(behind)
    } else {
        0
    }
}

/// Takes both kinds of locks that are used here: those of the whole file, which QEMU's conflict with, and those of `flock`.
fn locking(file: &File) -> io::Result<Locking> {
    let taken = fcntl_lock(file, FlockOperation::NonBlockingLockExclusive)
        .and_then(|()| fcntl_lock(file, FlockOperation::Unlock))
        .and_then(|()| flock(file, FlockOperation::NonBlockingLockExclusive))
        .and_then(|()| flock(file, FlockOperation::Unlock));
    match taken {
        Ok(()) => Ok(Locking::Works),
        Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(Locking::Missing),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_ahead_or_behind_or_neither() {
        let at = |milliseconds| SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds);
        assert_eq!(skew(at(1000), at(1000), at(1000)), 0);
        assert_eq!(skew(at(1000), at(1005), at(1010)), 0);
        assert_eq!(skew(at(1000), at(996), at(1010)), -4);
        assert_eq!(skew(at(1000), at(61_010), at(1010)), 60_000);
    }

    #[test]
    fn a_file_of_our_own_is_made_locked_and_gone() {
        let place = tempfile::tempdir().unwrap();
        for trial in [Trial::in_directory, Trial::with_a_name] {
            let trial = trial(place.path()).unwrap();
            assert!(trial.writable);
            assert_eq!(trial.locking, Locking::Works);
            assert!(trial.clock_skew.is_some_and(|ms| ms.abs() < 1000), "{trial:?}");
            assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn whoever_is_killed_at_any_time_leaves_no_name_behind() {
        // A directory that was changed has another time of change: no name was ever there.
        let place = tempfile::tempdir_in("/dev/shm").unwrap();
        let before = place.path().metadata().unwrap();
        Trial::in_directory(place.path()).unwrap();
        let after = place.path().metadata().unwrap();
        assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    }
}
