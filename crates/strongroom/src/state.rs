//! The state directory: who may use it, and one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

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
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            let _ = Read::by_ref(&mut file).take(20).read_to_string(&mut holder);
            bail!(
                "the state directory {} is in use by process {}; wait for it to end",
                directory.display(),
                if holder.trim().is_empty() {
                    "?"
                } else {
                    holder.trim()
                }
            );
        }
        Err(e) => return Err(io::Error::from(e)).with_context(|| format!("cannot lock {}", path.display())),
    }
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    write!(file, "{}", std::process::id())?;
    Ok(file)
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
    fn a_directory_that_others_may_write_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        let refused = StateDirectory::open(&path).unwrap_err().to_string();
        assert!(refused.contains("chmod 700"), "{refused}");
    }
}
