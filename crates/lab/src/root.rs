use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::GuestError;
use crate::archive::Archive;

/// The first process, in the guest.
const INIT: &str = include_str!("init.sh");

/// Directories that are there though nothing may lie in them.
const DIRECTORIES: &[&str] = &[
    "/dev",
    "/etc",
    "/lab",
    "/mnt",
    "/proc",
    "/run",
    "/sys",
    "/tmp",
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib64",
    "/var/lib",
    "/var/log",
];

/// Debian's names for what lies below `/usr`, and others that programs expect.
const LINKS: &[(&str, &str)] = &[
    ("/bin", "usr/bin"),
    ("/sbin", "usr/sbin"),
    ("/lib", "usr/lib"),
    ("/lib64", "usr/lib64"),
    ("/var/run", "../run"),
    ("/var/lock", "../run/lock"),
    ("/etc/mtab", "../proc/self/mounts"),
];

/// The few files without which the C library and the tools do not know root, this machine or their modules.
const FILES: &[(&str, &str)] = &[
    (
        "/etc/passwd",
        "root:x:0:0:root:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("/etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("/etc/protocols", "tcp 6 TCP\nudp 17 UDP\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n"),
    (
        "/etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\nprotocols: files\n",
    ),
];

/// What lies in the root of a guest, by its absolute path there.
#[derive(Debug, Default)]
pub(crate) struct Root(BTreeMap<String, Content>);

#[derive(Debug)]
enum Content {
    Text(u32, String),
    Link(String),
    /// A file of this machine, with what tells whether it changed: length, time of change in nanoseconds.
    Host(PathBuf, u64, i128),
}

impl Root {
    /// The root that every guest has.
    pub(crate) fn new() -> Self {
        let mut root = Self::default();
        for (path, to) in LINKS {
            root.0.insert((*path).to_owned(), Content::Link((*to).to_owned()));
        }
        for (path, text) in FILES {
            root.text(path, 0o644, text);
        }
        root.text("/init", 0o755, INIT);
        root
    }

    pub(crate) fn text(&mut self, path: &str, mode: u32, text: &str) {
        self.0
            .insert(path.to_owned(), Content::Text(mode, text.to_owned()));
    }

    /// Adds a link unless something is there.
    pub(crate) fn link(&mut self, path: String, to: &str) {
        self.0.entry(path).or_insert_with(|| Content::Link(to.to_owned()));
    }

    /// A file of this machine at the same path.
    pub(crate) fn file(&mut self, path: &Path) -> Result<(), GuestError> {
        let failed = |source| GuestError::io("read", path, source);
        // Where a directory of its path is a link, as /lib is, the file lies where the link points.
        let parent = fs::canonicalize(path.parent().unwrap_or(path)).map_err(failed)?;
        let place = parent.join(path.file_name().unwrap_or_default());
        self.file_at(path, &place.to_string_lossy())
    }

    /// A file of this machine at another path.
    pub(crate) fn file_at(&mut self, path: &Path, place: &str) -> Result<(), GuestError> {
        let found = fs::metadata(path).map_err(|source| GuestError::io("read", path, source))?;
        let changed = i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec());
        let content = Content::Host(path.to_owned(), found.len(), changed);
        self.0.insert(place.to_owned(), content);
        Ok(())
    }

    /// Two roots with the same key are the same.
    pub(crate) fn key(&self) -> String {
        let mut hash = Sha256::new();
        for (path, content) in &self.0 {
            hash.update(match content {
                Content::Text(mode, text) => format!("{path:?} {mode:o} {text:?}\n"),
                Content::Link(to) => format!("{path:?} -> {to:?}\n"),
                Content::Host(source, bytes, changed) => format!("{path:?} {source:?} {bytes} {changed}\n"),
            });
        }
        hex::encode(&hash.finalize()[..12])
    }

    /// Writes it as an archive that the kernel unpacks.
    pub(crate) fn write(&self, file: File) -> Result<(), GuestError> {
        let written = |result: io::Result<()>| {
            result.map_err(|source| GuestError::io("write", Path::new("the root of a guest"), source))
        };
        let mut archive = Archive::new(BufWriter::with_capacity(1 << 20, file));
        for directory in self.directories() {
            written(archive.directory(&directory))?;
        }
        // The kernel opens it for the first process before anything is mounted.
        written(archive.character_device("/dev/console", 5, 1))?;
        for (path, content) in &self.0 {
            match content {
                Content::Text(mode, text) => written(archive.file(path, *mode, text.as_bytes()))?,
                Content::Link(to) => written(archive.symlink(path, to))?,
                Content::Host(source, ..) => {
                    let failed = |error| GuestError::io("read", source, error);
                    let mode = fs::metadata(source).map_err(failed)?.permissions().mode();
                    let bytes = fs::read(source).map_err(failed)?;
                    written(archive.file(path, mode | 0o444, &bytes))?;
                }
            }
        }
        written(archive.finish().map(drop))
    }

    /// All directories, each after the one above.
    fn directories(&self) -> BTreeSet<String> {
        let paths = self.0.keys().map(String::as_str).map(Path::new);
        paths
            .filter_map(Path::parent)
            .chain(DIRECTORIES.iter().map(Path::new))
            .flat_map(Path::ancestors)
            .filter(|path| *path != Path::new("/"))
            .map(|path| path.to_string_lossy().into_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_has_another_key_when_a_file_of_it_changed() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("tool");
        let key = || {
            let mut root = Root::new();
            root.file(&file).unwrap();
            root.key()
        };
        fs::write(&file, "one").unwrap();
        let first = key();
        assert_eq!(first, key());
        fs::write(&file, "other").unwrap();
        assert_ne!(first, key());
        assert_ne!(first, Root::new().key());
    }

    #[test]
    fn a_file_lies_behind_the_links_of_its_path_and_a_link_gives_way_to_it() {
        let place = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(place.path()).unwrap().join("usr");
        fs::create_dir(&real).unwrap();
        fs::write(real.join("tool"), "a tool").unwrap();
        std::os::unix::fs::symlink("usr", place.path().join("bin")).unwrap();
        let mut root = Root::new();
        root.file(&place.path().join("bin/tool")).unwrap();
        let at = real.join("tool").to_string_lossy().into_owned();
        root.link(at.clone(), "busybox");
        assert!(matches!(root.0.get(&at), Some(Content::Host(..))), "{root:?}");
        assert!(root.directories().contains(&*real.to_string_lossy()));
    }
}
