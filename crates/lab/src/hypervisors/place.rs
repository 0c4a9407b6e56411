use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use super::LabError;

const PREFIX: &str = "strongroom-lab-";

/// Held by the process whose lab it is, as long as that runs.
const LOCK: &str = "lock";

/// The directory of a lab, among those for temporary files. Removed when dropped; one whose owner was killed is removed by the
/// next lab that comes up.
///
/// Its path is short, for the sockets in it may have 107 bytes (unix(7)).
#[derive(Debug)]
pub(crate) struct Place {
    directory: TempDir,
    _lock: File,
}

impl Place {
    pub(crate) fn new() -> Result<Self, LabError> {
        let among = std::env::temp_dir();
        remove_abandoned(&among);
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&among)
            .map_err(LabError::io("make a directory in", &among))?;
        let path = directory.path().join(LOCK);
        let lock = File::create(&path).map_err(LabError::io("make", &path))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|e| LabError::io("lock", &path)(e.into()))?;
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A directory in it, with those above.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf, LabError> {
        let path = self.path().join(name);
        fs::create_dir_all(&path).map_err(LabError::io("make", &path))?;
        Ok(path)
    }

    /// A file in it.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), LabError> {
        let path = self.path().join(name);
        fs::write(&path, text).map_err(LabError::io("write", &path))
    }
}

/// Removes the directories whose locks nobody holds. One without a lock is just being made.
fn remove_abandoned(among: &Path) {
    for entry in fs::read_dir(among).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let held = File::open(entry.path().join(LOCK));
        if held.is_ok_and(|lock| flock(lock, FlockOperation::NonBlockingLockExclusive).is_ok()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_directory_of_a_lab_that_nobody_holds_is_removed() {
        let abandoned = {
            let place = Place::new().unwrap();
            place.directory("h1/run").unwrap();
            place.directory.keep()
        };
        let held = Place::new().unwrap();
        assert!(!abandoned.exists(), "{}", abandoned.display());
        let other = Place::new().unwrap();
        assert!(held.path().exists() && other.path().exists());
        let path = held.path().to_owned();
        drop(held);
        assert!(!path.exists());
    }
}
