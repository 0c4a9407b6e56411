//! The state directory: who may use it, and one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use strongroom_types::Call;

/// A state directory that this process has to itself until the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct StateDirectory {
    path: PathBuf,
    _lock: Arc<File>,
}

impl StateDirectory {
    /// Opens the directory, and makes it with mode 0700 when it is not there.
    ///
    /// Where a process died and a tool that it had started still runs, this waits for the tool to end, as long as the call
    /// allows: until then nobody knows what the storage will be.
    pub(crate) fn open(path: &Path, call: &Call) -> Result<Self> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.with_context(|| format!("cannot make the state directory {}", path.display()))?,
        }
        let path = fs::canonicalize(path)
            .with_context(|| format!("cannot open the state directory {}", path.display()))?;
        let metadata = fs::metadata(&path)?;
        if !metadata.is_dir() {
            bail!("{} is not a directory", path.display());
        }
        if metadata.mode() & 0o022 != 0 {
            bail!(
                "others may write to the state directory {0}; make it private: chmod 700 {0}",
                path.display()
            );
        }
        let lock = Arc::new(lock(&path, call)?);
        Ok(Self { path, _lock: lock })
    }

    /// Its path, without symlinks.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The database.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("strongroom.db")
    }

    /// The file of the key-encryption key.
    pub(crate) fn kek(&self) -> PathBuf {
        self.path.join("kek")
    }

    /// Says that the state was made in full, and in which format.
    pub(crate) fn format(&self) -> PathBuf {
        self.path.join("format")
    }

    /// Where header backups lie. Made with mode 0700 when it is not there.
    pub(crate) fn header_backups(&self) -> Result<PathBuf> {
        self.directory("header-backups")
    }

    /// Where it is recorded which volume has which block device. Made with mode 0700 when it is not there.
    pub(crate) fn shelves(&self) -> Result<PathBuf> {
        self.directory("shelves")
    }

    fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                Err(e).with_context(|| format!("cannot make {}", path.display()))
            }
            _ => Ok(path),
        }
    }
}

/// How often a lock that nobody living took is tried again.
const AGAIN: Duration = Duration::from_millis(20);
/// How long such a lock is waited for without a word.
const PATIENCE: Duration = Duration::from_secs(1);

fn lock(directory: &Path, call: &Call) -> Result<File> {
    let path = directory.join("lock");
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(i32::try_from(flags.bits())?)
        .open(&path)
        .with_context(|| format!("cannot write to the state directory {}", directory.display()))?;
    if !file.metadata()?.is_file() {
        bail!("{} is no regular file; remove it", path.display());
    }
    let begun = Instant::now();
    let mut told = false;
    while let Err(e) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if e != Errno::WOULDBLOCK {
            return Err(io::Error::from(e)).with_context(|| format!("cannot lock {}", path.display()));
        }
        let holder = holder(&mut file);
        if is_running(&holder) {
            bail!(
                "the state directory {} is in use by process {holder}; wait for it to end",
                directory.display()
            );
        }
        if begun.elapsed() > PATIENCE && !told {
            told = true;
            tracing::warn!("waiting for a tool that process {holder} was running when it died");
        }
        call.check()
            .with_context(|| format!("a tool that process {holder} left running has not ended"))?;
        std::thread::sleep(AGAIN);
    }
    if path.metadata().map(|m| m.ino()).ok() != file.metadata().map(|m| m.ino()).ok() {
        bail!("the state directory {} was removed just now", directory.display());
    }
    // Every tool that is started has the lock as well. One that outlives this process keeps the next process out.
    fcntl_setfd(&file, FdFlags::empty())?;
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    write!(file, "{}", std::process::id())?;
    Ok(file)
}

/// The number of the process that took the lock; `?` when it has not written it yet.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file
        .seek(SeekFrom::Start(0))
        .and_then(|_| Read::by_ref(file).take(20).read_to_string(&mut text));
    match text.trim() {
        number if read.is_ok() && !number.is_empty() => number.to_owned(),
        _ => "?".to_owned(),
    }
}

fn is_running(process: &str) -> bool {
    process.parse::<u32>().is_ok() && Path::new("/proc").join(process).exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn one_at_a_time_and_the_second_is_told_who() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        let first = StateDirectory::open(&path, &Call::new()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let second = StateDirectory::open(&path, &Call::new()).unwrap_err();
        assert_eq!(
            second.to_string(),
            format!(
                "the state directory {} is in use by process {}; wait for it to end",
                path.display(),
                std::process::id()
            )
        );
        drop(first);
        StateDirectory::open(&path, &Call::new()).unwrap();
    }

    #[test]
    fn what_a_dead_process_left_running_is_waited_for() {
        // No process has a number beyond 2^22.
        const NOBODY: &str = "99999999";
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        let held = StateDirectory::open(&path, &Call::new()).unwrap();
        // As a tool has it: the same lock by another descriptor.
        let tool = held._lock.try_clone().unwrap();
        drop(held);
        fs::write(path.join("lock"), NOBODY).unwrap();
        let hurried = Call::new().with_timeout(Duration::from_millis(50));
        let refused = format!("{:#}", StateDirectory::open(&path, &hurried).unwrap_err());
        assert!(
            refused.contains(NOBODY) && refused.contains("deadline"),
            "{refused}"
        );
        std::thread::scope(|scope| {
            let second = scope.spawn(|| StateDirectory::open(&path, &Call::new()));
            drop(tool);
            second.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_lock_that_is_no_plain_file_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        drop(StateDirectory::open(&path, &Call::new()).unwrap());
        let elsewhere = parent.path().join("elsewhere");
        fs::write(&elsewhere, "untouched").unwrap();
        fs::remove_file(path.join("lock")).unwrap();
        std::os::unix::fs::symlink(&elsewhere, path.join("lock")).unwrap();
        StateDirectory::open(&path, &Call::new()).unwrap_err();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        let refused = StateDirectory::open(&path, &Call::new()).unwrap_err().to_string();
        assert!(refused.contains("chmod 700"), "{refused}");
    }
}
