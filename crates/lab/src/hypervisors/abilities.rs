//! What libvirt found out about QEMU, kept from lab to lab: to find it out takes two seconds. libvirt itself looks whether it is
//! still true.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cache::Cache;

/// In libvirt's own cache.
const CAPABILITIES: &str = "qemu/capabilities";

/// Among what is kept.
const KEPT: &str = "qemu-capabilities";

/// Puts what is kept into a new host's cache. What cannot be read is found out again.
pub(crate) fn recall(cache: &Path) {
    let to = cache.join(CAPABILITIES);
    if let Some(kept) = kept()
        && fs::create_dir_all(&to).is_ok()
    {
        copy(&kept, &to);
    }
}

/// Keeps what is in a host's cache.
pub(crate) fn keep(cache: &Path) {
    if let Some(kept) = kept() {
        copy(&cache.join(CAPABILITIES), &kept);
    }
}

fn kept() -> Option<PathBuf> {
    let make = |_: &Path| Ok::<(), crate::GuestError>(());
    Cache::of_this_program().ok()?.directory(KEPT, make).ok()
}

/// Copies the files that are not there or have changed. Each has its name only when it is whole, for another lab may look.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let place = to.join(entry.file_name());
        let Ok(bytes) = fs::read(entry.path()) else {
            continue;
        };
        if fs::read(&place).is_ok_and(|there| there == bytes) {
            continue;
        }
        if let Ok(new) = tempfile::NamedTempFile::new_in(to)
            && fs::write(new.path(), bytes).is_ok()
        {
            let _ = new.persist(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_missing_or_have_changed_are_copied() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("a.xml"), "new").unwrap();
        fs::write(from.path().join("b.xml"), "b").unwrap();
        fs::write(to.path().join("a.xml"), "old").unwrap();
        copy(from.path(), to.path());
        assert_eq!(fs::read_to_string(to.path().join("a.xml")).unwrap(), "new");
        assert_eq!(fs::read_to_string(to.path().join("b.xml")).unwrap(), "b");
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 2);
    }
}
