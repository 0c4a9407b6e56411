//! Where a directory lies on its file system, whatever it is mounted as: a bind mount shows one directory at two paths that have no
//! parent in common.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A place on a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OnFileSystem {
    /// Its device number, as the kernel writes it.
    device: String,
    path: PathBuf,
}

impl OnFileSystem {
    /// The place of an absolute path without symlinks; `None` when the kernel does not say it.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        Self::by(&fs::read("/proc/self/mountinfo").ok()?, path)
    }

    /// By the table of the mounts: proc_pid_mountinfo(5). Of mounts at the same point the last one is seen.
    fn by(table: &[u8], path: &Path) -> Option<Self> {
        let mut deepest: Option<(PathBuf, Self)> = None;
        for line in table.split(|byte| *byte == b'\n') {
            let mut fields = line.split(|byte| *byte == b' ').skip(2);
            let (Some(device), Some(root), Some(point)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let (root, point) = (unescaped(root), unescaped(point));
            let Ok(rest) = path.strip_prefix(&point) else {
                continue;
            };
            if deepest
                .as_ref()
                .is_some_and(|(other, _)| !point.starts_with(other))
            {
                continue;
            }
            let device = String::from_utf8_lossy(device).into_owned();
            let path = root.join(rest);
            deepest = Some((point, Self { device, path }));
        }
        deepest.map(|(_, place)| place)
    }

    /// Whether the other one is the same or lies in it.
    pub(crate) fn is_around(&self, other: &Self) -> bool {
        self.device == other.device && other.path.starts_with(&self.path)
    }
}

/// Blanks, tabs, newlines and backslashes are written as three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::with_capacity(field.len()), field);
    while let Some((first, behind)) = rest.split_first() {
        let octal = behind.get(..3).filter(|_| *first == b'\\');
        let code = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    const TABLE: &[u8] = b"\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 8:2 / /srv/my\\040pool rw shared:1 - ext4 /dev/sdb rw
31 22 8:2 /inner /mnt/again rw - ext4 /dev/sdb rw
32 22 0:40 / /mnt/hidden rw - tmpfs none rw
33 22 8:1 /srv/other /mnt/hidden rw - ext4 /dev/sda1 rw
";

    fn place(path: &str) -> OnFileSystem {
        OnFileSystem::by(TABLE, Path::new(path)).unwrap()
    }

    #[test]
    fn a_bind_mount_lies_where_its_directory_lies() {
        let pool = place("/srv/my pool");
        for (path, expected) in [
            ("/srv/my pool", true),
            ("/srv/my pool/inner/a", true),
            ("/mnt/again", true),
            ("/mnt/again/a", true),
            ("/mnt", false),
            ("/srv/my pool2", false),
            ("/inner", false),
        ] {
            assert_eq!(pool.is_around(&place(path)), expected, "{path}");
        }
        assert!(!place("/mnt/again").is_around(&pool));
        assert!(
            place("/srv/other").is_around(&place("/mnt/hidden/x")),
            "the last mount is seen"
        );
        assert_eq!(OnFileSystem::by(b"", Path::new("/srv")), None);
    }

    #[test]
    fn names_with_blanks_and_backslashes_are_read() {
        assert_eq!(unescaped(b"/a\\040b\\134c"), Path::new("/a b\\c"));
        for plain in ["/a\\9", "/a\\", "/\\xyz"] {
            assert_eq!(
                unescaped(plain.as_bytes()).as_os_str().as_bytes(),
                plain.as_bytes()
            );
        }
    }
}
