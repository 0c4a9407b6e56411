use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use strongroom_storage_pool::{ErrorKind, PoolError};
use strongroom_types::{Call, Interrupted};

/// How often a lock that somebody else has is asked for. There is no call that waits for one until a deadline.
const PAUSE: Duration = Duration::from_millis(5);

/// The sole right to work on a volume, until it is dropped.
pub struct Claim(#[expect(dead_code, reason = "held for its end")] Option<Box<dyn Any + Send + Sync>>);

impl Claim {
    /// A claim that ends when `held` is dropped.
    #[must_use]
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(held)))
    }

    /// No claim at all: nothing keeps anybody else from working on the volume.
    #[must_use]
    pub fn of_nothing() -> Self {
        Self(None)
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").finish_non_exhaustive()
    }
}

/// Opens a regular file, made if it is not there, and no other thing that may have the name: a symlink leads elsewhere, and a pipe never
/// answers.
pub(crate) fn open_lock(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    regular(options.custom_flags(flags).open(path)?)
}

/// The file, if it is a regular one.
pub(crate) fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("it is not a regular file"))
}

/// Waits for the lock of a file until the call is over, and at most this long. A lock file that was replaced meanwhile locks nothing, so
/// that the new one is asked for.
pub(crate) fn locked(
    operation: &'static str,
    call: &Call,
    path: &Path,
    patience: Duration,
    io: impl Fn(io::Error) -> PoolError,
) -> Result<File, PoolError> {
    let begun = Instant::now();
    loop {
        let file = open_lock(path).map_err(&io)?;
        match file.try_lock() {
            Ok(()) if is_named(&file, path) => return Ok(file),
            Ok(()) => continue,
            Err(std::fs::TryLockError::Error(e)) => return Err(io(e)),
            Err(std::fs::TryLockError::WouldBlock) => {}
        }
        call.check().map_err(|e| {
            let kind = match e {
                Interrupted::Cancelled => ErrorKind::Cancelled,
                Interrupted::Deadline => ErrorKind::Deadline,
            };
            PoolError::new(kind, operation, format!("waiting for {}", path.display()))
        })?;
        if begun.elapsed() > patience {
            let message = format!(
                "somebody else has held {} for {} s; see what it is doing",
                path.display(),
                patience.as_secs()
            );
            return Err(PoolError::new(ErrorKind::Busy, operation, message));
        }
        std::thread::sleep(PAUSE);
    }
}

fn is_named(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(named)) = (file.metadata(), path.symlink_metadata()) else {
        return false;
    };
    (held.dev(), held.ino()) == (named.dev(), named.ino())
}

/// A lock of which nothing is left: the file goes before the lock does.
#[derive(Debug)]
pub(crate) struct Fleeting {
    pub(crate) file: File,
    pub(crate) path: std::path::PathBuf,
}

impl Drop for Fleeting {
    fn drop(&mut self) {
        if is_named(&self.file, &self.path) {
            drop(std::fs::remove_file(&self.path));
        }
    }
}
