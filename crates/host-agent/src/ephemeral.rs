//! A place in memory for a file that only lives while a disk is made.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock, statfs};
use rustix::process::geteuid;
use tempfile::TempDir;

/// `TMPFS_MAGIC` of `linux/magic.h`.
const TMPFS: u64 = 0x0102_1994;

const PREFIX: &str = "strongroom-header-";

/// Making a header takes seconds. What is older and not locked was left by a process that was killed; what is younger may belong
/// to one that has not come to lock it.
const ABANDONED: Duration = Duration::from_secs(600);

/// A directory of our own in memory, gone when dropped.
#[derive(Debug)]
pub(crate) struct Ephemeral {
    // Released before the directory goes.
    _lock: File,
    directory: TempDir,
}

impl Ephemeral {
    /// A directory on a file system in memory; `None` when there is none that we may write.
    ///
    /// A LUKS header that was deleted from a disk may still lie in its free blocks, where no later erasure finds it.
    pub(crate) fn new() -> Option<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        runtime
            .into_iter()
            .chain(["/dev/shm".into(), "/run".into()])
            .filter(|path| is_tmpfs(path))
            .find_map(|path| Self::below(&path))
    }

    fn below(path: &Path) -> Option<Self> {
        sweep(path);
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(path)
            .ok()?;
        let lock = File::open(directory.path()).ok()?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Self {
            _lock: lock,
            directory,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

fn is_tmpfs(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(TMPFS))
}

/// Removes our own directories in which nobody works any more. One that cannot be removed is left for the next time.
fn sweep(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if !entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            continue;
        }
        let Ok(metadata) = entry.metadata() else { continue };
        let old = metadata
            .modified()
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age >= ABANDONED));
        if !old || !metadata.is_dir() || metadata.uid() != geteuid().as_raw() {
            continue;
        }
        let abandoned = File::open(entry.path())
            .is_ok_and(|dir| flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok());
        if abandoned {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_enters_a_directory_with_a_header() {
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let working = Ephemeral::below(memory.path()).unwrap();
        let mode = fs::metadata(working.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_work_is_not() {
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let left = memory.path().join(format!("{PREFIX}left"));
        fs::create_dir(&left).unwrap();
        fs::write(left.join("header"), b"key material").unwrap();
        let working = Ephemeral::below(memory.path()).unwrap();
        assert!(left.exists(), "it is too young");
        let hours_ago = std::time::SystemTime::now() - 20 * ABANDONED;
        File::open(&left).unwrap().set_modified(hours_ago).unwrap();
        File::open(working.path())
            .unwrap()
            .set_modified(hours_ago)
            .unwrap();
        drop(Ephemeral::below(memory.path()).unwrap());
        assert!(!left.exists() && working.path().exists());
        let path = working.path().to_owned();
        drop(working);
        assert!(!path.exists());
    }
}
