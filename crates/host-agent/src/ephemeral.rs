//! A place in memory for a file that only lives while a disk is made.

use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use tempfile::TempDir;

/// `TMPFS_MAGIC` of `linux/magic.h`.
const TMPFS: u64 = 0x0102_1994;

/// A directory of our own on a file system in memory; `None` when there is none that we may write.
///
/// A LUKS header that was deleted from a disk may still lie in its free blocks, where no later erasure finds it.
pub(crate) fn directory() -> Option<TempDir> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    runtime
        .into_iter()
        .chain(["/dev/shm".into(), "/run".into()])
        .filter(|path| is_tmpfs(path))
        .find_map(|path| {
            tempfile::Builder::new()
                .prefix("strongroom-")
                .tempdir_in(path)
                .ok()
        })
}

fn is_tmpfs(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(TMPFS))
}
