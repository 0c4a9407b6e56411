//! A file without a name on a file system that lives in memory.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fchmod, fstatfs, open, openat};

/// `TMPFS_MAGIC` of `linux/magic.h`, which `statfs` gives for tmpfs.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// A directory in which no passphrase was put, and why not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejected {
    /// The directory.
    pub directory: PathBuf,
    /// Why it will not do.
    pub reason: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.directory, self.reason)
    }
}

/// Where a tmpfs is usually found that this user may write to.
pub(crate) fn candidates() -> Vec<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|directory| !directory.is_empty())
        .map(PathBuf::from)
        .into_iter()
        .chain([
            PathBuf::from(format!("/run/user/{uid}")),
            PathBuf::from("/dev/shm"),
        ])
        .collect()
}

/// Puts `content` into a file that has no name and never gets one, on the tmpfs of this directory. The descriptor can only read,
/// and the file's mode is 0400.
pub(crate) fn nameless(directory: &Path, content: &[u8]) -> Result<File, Rejected> {
    let rejected = |reason| Rejected {
        directory: directory.to_owned(),
        reason,
    };
    let failed = |what: &str, e: io::Error| rejected(format!("{what}: {e}"));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Without a slash at the end, behind which the kernel follows a symlink whatever it is asked.
    let name: PathBuf = directory.components().collect();
    let place =
        open(&name, flags, Mode::empty()).map_err(|e| failed("cannot be opened as a directory", e.into()))?;
    let magic = fstatfs(&place)
        .map_err(|e| failed("cannot be asked for its file system", e.into()))?
        .f_type;
    if u64::try_from(magic) != Ok(TMPFS_MAGIC) {
        return Err(rejected(format!("is no tmpfs (its file system is {magic:#x})")));
    }
    // With O_EXCL a nameless file cannot be given a name later.
    let flags = OFlags::TMPFILE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let mut written: File = openat(&place, ".", flags, Mode::RUSR | Mode::WUSR)
        .map_err(|e| failed("no file can be made in it", e.into()))?
        .into();
    written
        .write_all(content)
        .map_err(|e| failed("the passphrase cannot be written", e))?;
    fchmod(written.as_fd(), Mode::RUSR).map_err(|e| failed("its file cannot be made read-only", e.into()))?;
    let again = |e| failed("its file cannot be opened through /proc", e);
    let reader = File::open(format!("/proc/self/fd/{}", written.as_raw_fd())).map_err(again)?;
    let (was, is) = (
        written.metadata().map_err(again)?,
        reader.metadata().map_err(again)?,
    );
    if (was.dev(), was.ino(), content.len() as u64) != (is.dev(), is.ino(), is.len()) {
        return Err(rejected("/proc shows another file".to_owned()));
    }
    Ok(reader)
}
