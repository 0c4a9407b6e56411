//! The file of a database: where it is, that it is there, and that nobody else may use it.
//!
//! None of this opens the file. SQLite shows other processes that a connection is open by a POSIX lock on it, and the kernel drops
//! all locks of a process on a file when the process closes any descriptor of that file. Another process would then take itself for
//! the last user and remove the log under us. A descriptor of `O_PATH` is none in that sense: it only names the file.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::io::Errno;

use crate::StoreError;

/// The path as SQLite is to have it: absolute, so that no name means anything special (`:memory:`, `file:`), and without symlinks
/// but perhaps a last one, which SQLite and the check refuse.
pub(super) fn locate(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    Ok(fs::canonicalize(directory)?.join(name))
}

/// Makes an empty file of mode 0600, which is an empty database. What has that name already stays as it is.
pub(super) fn create(path: &Path) -> Result<(), StoreError> {
    // No directory entry is followed, and there is no descriptor to close.
    match mknodat(CWD, path, FileType::RegularFile, Mode::RUSR | Mode::WUSR, 0) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOSPC | Errno::DQUOT) => Err(StoreError::Full {
            action: "make its file",
        }),
        Err(e) => Err(StoreError::File {
            path: path.to_owned(),
            source: e.into(),
        }),
    }
}

/// Refuses what is no regular file with one name, belongs to somebody else or may be used by others.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::File {
        path: path.to_owned(),
        source,
    };
    let odd = |found| StoreError::NotAPlainFile {
        path: path.to_owned(),
        found,
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let named: File = open(path, flags, Mode::empty()).map_err(|e| io(e.into()))?.into();
    let metadata = named.metadata().map_err(io)?;
    if metadata.is_symlink() {
        return Err(odd("a symlink"));
    }
    if !metadata.is_file() {
        return Err(odd("no regular file"));
    }
    if metadata.nlink() != 1 {
        return Err(odd("a file with several names"));
    }
    let us = rustix::process::geteuid().as_raw();
    if metadata.uid() != us && metadata.uid() != 0 {
        return Err(StoreError::WrongOwner {
            path: path.to_owned(),
            owner: metadata.uid(),
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(StoreError::Mode {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}
