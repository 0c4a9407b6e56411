use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, RenameFlags, flock, linkat, renameat_with};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use strongroom_types::VolumeId;

/// How the names of staging directories begin. Nothing else in a pool begins so.
const PREFIX: &str = ".strongroom-staging-";

/// A place beside the final name in which a disk is made. It is locked while somebody works in it, and gone when dropped.
///
/// It is a directory, because tools make, replace and delete their target file as they like, and because its lock tells a
/// sweep whether somebody still works there.
#[derive(Debug)]
pub(crate) struct Staging {
    directory: PathBuf,
    _lock: File,
    target: PathBuf,
}

impl Staging {
    /// Makes a staging directory for a file that is to have the name `target` in the end.
    pub(crate) fn beside(target: &Path) -> io::Result<Self> {
        let directory = parent(target)?.join(format!("{PREFIX}{}", VolumeId::random()));
        Self::make(directory, target)
    }

    /// The same under a name that follows from the file's, so that whoever comes after a kill finds it: see [`abandon`].
    pub(crate) fn known(target: &Path) -> io::Result<Self> {
        abandon(target)?;
        Self::make(known(target)?, target)
    }

    fn make(directory: PathBuf, target: &Path) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).create(&directory)?;
        let lock = open_directory(&directory).inspect_err(|_| drop(fs::remove_dir(&directory)))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            // Some network file systems do not lock directories; a sweep then relies on nobody working.
            Ok(()) | Err(Errno::BADF | Errno::OPNOTSUPP | Errno::NOLCK) => {}
            Err(e) => {
                drop(fs::remove_dir(&directory));
                return Err(e.into());
            }
        }
        Ok(Self {
            directory,
            _lock: lock,
            target: target.to_owned(),
        })
    }

    /// The path at which the disk is to be made.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory
            .join(self.target.file_name().unwrap_or(OsStr::new("disk")))
    }

    /// Another path in it, whatever the name of the disk is.
    pub(crate) fn second_path(&self) -> PathBuf {
        let taken = self.target.file_name() == Some(OsStr::new("second"));
        self.directory.join(if taken { "other" } else { "second" })
    }

    /// Gives the finished disk its name, unless the name is taken: then it fails and what has the name stays as it is. When
    /// this returns, the content and the name are on disk.
    pub(crate) fn publish(self) -> io::Result<()> {
        let made = self.path();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(no_follow())
            .open(&made)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.sync_all()?;
        move_without_replacing(&made, &self.target)?;
        let parent = self.target.parent().unwrap_or(Path::new("/"));
        open_directory(parent)?.sync_all()
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// Removes the staging directory under the known name, unless somebody works in it: then it is [`io::ErrorKind::ResourceBusy`].
pub(crate) fn abandon(target: &Path) -> io::Result<()> {
    let directory = known(target)?;
    let lock = match open_directory(&directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        lock => lock?,
    };
    if flock(&lock, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        return Err(io::ErrorKind::ResourceBusy.into());
    }
    fs::remove_dir_all(&directory)
}

fn known(target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().unwrap_or_default();
    let digest = Sha256::digest(name.as_encoded_bytes());
    let word: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Ok(parent(target)?.join(format!("{PREFIX}of-{word}")))
}

fn parent(target: &Path) -> io::Result<&Path> {
    target
        .parent()
        .ok_or_else(|| io::Error::other("a disk needs a directory to be in"))
}

/// Removes the staging directories in which nobody works and returns them.
pub(crate) fn sweep(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut swept = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let ours = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes());
        if !ours || !entry.file_type()?.is_dir() {
            continue;
        }
        let path = entry.path();
        let lock = match open_directory(&path) {
            Ok(lock) => lock,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
            continue;
        }
        fs::remove_dir_all(&path)?;
        swept.push(path);
    }
    Ok(swept)
}

fn no_follow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

fn open_directory(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::DIRECTORY;
    OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(path)
}

/// Moves a file, but never onto another one.
fn move_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems without this flag have hard links, which never replace either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            linkat(CWD, from, CWD, to, AtFlags::empty())?;
            fs::remove_file(from)
        }
        other => other.map_err(io::Error::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_published_file_has_its_name_and_mode_and_nothing_else_is_left() {
        let pool = tempfile::tempdir().unwrap();
        let target = pool.path().join("vol.qcow2");
        let staging = Staging::beside(&target).unwrap();
        fs::write(staging.path(), b"content").unwrap();
        assert!(!target.exists());
        staging.publish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"content");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(pool.path()), ["vol.qcow2"]);
    }

    #[test]
    fn a_name_that_is_taken_is_never_replaced() {
        let pool = tempfile::tempdir().unwrap();
        let target = pool.path().join("vol.qcow2");
        let staging = Staging::beside(&target).unwrap();
        fs::write(staging.path(), b"new").unwrap();
        fs::write(&target, b"old").unwrap();
        assert_eq!(
            staging.publish().unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(names(pool.path()), ["vol.qcow2"]);
    }

    #[test]
    fn a_sweep_takes_what_is_abandoned_and_leaves_what_is_in_work() {
        let pool = tempfile::tempdir().unwrap();
        let abandoned = pool.path().join(format!("{PREFIX}abandoned"));
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join("disk"), b"half").unwrap();
        fs::write(pool.path().join("vol.qcow2"), b"volume").unwrap();
        fs::write(
            pool.path().join(format!("{PREFIX}a-file")),
            b"not a staging directory",
        )
        .unwrap();
        let working = Staging::beside(&pool.path().join("other.qcow2")).unwrap();
        assert_eq!(sweep(pool.path()).unwrap(), [abandoned]);
        assert!(working.directory.exists());
        drop(working);
        assert_eq!(
            names(pool.path()),
            [format!("{PREFIX}a-file"), "vol.qcow2".into()]
        );
    }

    #[test]
    fn what_a_kill_left_under_a_known_name_is_found_by_the_name_of_the_file() {
        let pool = tempfile::tempdir().unwrap();
        let (target, other) = (pool.path().join("vol.qcow2"), pool.path().join("vol-2.qcow2"));
        let working = Staging::known(&target).unwrap();
        assert_eq!(
            Staging::known(&target).unwrap_err().kind(),
            io::ErrorKind::ResourceBusy
        );
        abandon(&other).unwrap();
        let left = working.directory.clone();
        drop(working);
        fs::create_dir(&left).unwrap();
        fs::write(left.join("vol.qcow2"), b"half").unwrap();
        abandon(&target).unwrap();
        assert!(!left.exists());
    }
}
