//! The state directory: who may use it, and one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// A state directory that this process has to itself until it is dropped.
#[derive(Debug)]
pub(crate) struct StateDirectory {
    path: PathBuf,
    _lock: File,
}

impl StateDirectory {
    /// Opens the directory, and makes it with mode 0700 when it is not there.
    pub(crate) fn open(path: &Path) -> Result<Self> {
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
        let lock = lock(&path)?;
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

    /// Where header backups lie. Made with mode 0700 when it is not there.
    pub(crate) fn header_backups(&self) -> Result<PathBuf> {
        let path = self.path.join("header-backups");
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                Err(e).with_context(|| format!("cannot make {}", path.display()))
            }
            _ => Ok(path),
        }
    }
}

/// How long a lock may outlive the process that took it. A child that it was just starting holds the lock as well, until the
/// child becomes another program.
const LINGER: Duration = Duration::from_secs(2);

fn lock(directory: &Path) -> Result<File> {
    let path = directory.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot write to the state directory {}", directory.display()))?;
    let begun = Instant::now();
    while let Err(e) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if e != Errno::WOULDBLOCK {
            return Err(io::Error::from(e)).with_context(|| format!("cannot lock {}", path.display()));
        }
        let holder = holder(&mut file);
        if is_running(&holder) || begun.elapsed() > LINGER {
            bail!(
                "the state directory {} is in use by process {holder}; wait for it to end",
                directory.display()
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    }
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
        let first = StateDirectory::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let second = StateDirectory::open(&path).unwrap_err();
        assert_eq!(
            second.to_string(),
            format!(
                "the state directory {} is in use by process {}; wait for it to end",
                path.display(),
                std::process::id()
            )
        );
        drop(first);
        StateDirectory::open(&path).unwrap();
    }

    #[test]
    fn a_lock_that_outlives_its_process_for_a_moment_is_waited_for() {
        // No process has a number beyond 2^22.
        const NOBODY: &str = "99999999";
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        let held = StateDirectory::open(&path).unwrap();
        // As a child has it that was just being started: the same lock by another descriptor.
        let child = held._lock.try_clone().unwrap();
        drop(held);
        fs::write(path.join("lock"), NOBODY).unwrap();
        let refused = StateDirectory::open(&path).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("in use by process {NOBODY}")),
            "{refused}"
        );
        std::thread::scope(|scope| {
            let second = scope.spawn(|| StateDirectory::open(&path));
            drop(child);
            second.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        let refused = StateDirectory::open(&path).unwrap_err().to_string();
        assert!(refused.contains("chmod 700"), "{refused}");
    }
}
