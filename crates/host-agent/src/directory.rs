use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use rustix::fs::{statfs, statvfs};
use strongroom_endpoint_selector::{
    DirectoryFacts, DiskLocation, EndpointError, ErrorKind, HostAnswer, Locking,
};
use strongroom_types::ByteSize;

use crate::mount::{Mount, Mounts};
use crate::trial::Trial;
use crate::{exclusive, failure, marker, reading, staging};

/// Magic numbers of `statfs` by the name that `mount` shows; from `linux/magic.h` and the file systems' own sources.
const KINDS: [(u64, &str); 10] = [
    (0xef53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683e, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x6969, "nfs"),
    (0x794c_7630, "overlay"),
    (0x0119_70fc, "gfs2"),
    (0x7461_636f, "ocfs2"),
    (0x00c3_6400, "ceph"),
    (0x6573_5546, "fuse"),
];

/// The most names that are listed.
const MOST_NAMES: usize = 1_000_000;

/// Looks at a directory that is to hold disks.
pub(crate) fn open(path: &Path) -> Result<HostAnswer, EndpointError> {
    facts("OpenDirectory", path).map(HostAnswer::Directory)
}

/// Fails when there is no directory at this path, or a symlink to one.
pub(crate) fn look(operation: &'static str, path: &Path) -> Result<Metadata, EndpointError> {
    reading::absolute(operation, path)?;
    let invalid = |found: &str| {
        let message = format!("{} {found}", path.display());
        Err(EndpointError::new(ErrorKind::InvalidRequest, operation, message))
    };
    match fs::symlink_metadata(path).map_err(|e| failure::io(operation, path, e))? {
        metadata if metadata.is_symlink() => invalid("is a symlink; name the directory itself"),
        metadata if !metadata.is_dir() => invalid("is not a directory"),
        metadata => Ok(metadata),
    }
}

/// What a directory is, tried out.
pub(crate) fn facts(operation: &'static str, path: &Path) -> Result<DirectoryFacts, EndpointError> {
    let io = |e: io::Error| failure::io(operation, path, e);
    let metadata = look(operation, path)?;
    let real = fs::canonicalize(path).map_err(io)?;
    let mark = marker::read(operation, &real)?;
    let mounts = Mounts::now().map_err(|e| failure::io(operation, "/proc/self/mountinfo".as_ref(), e))?;
    let mount = mounts.of(&real);
    let trial = Trial::in_directory(&real).map_err(io)?;
    let space = statvfs(&real).map_err(|e| io(e.into()))?;
    let magic = u64::try_from(statfs(&real).map_err(|e| io(e.into()))?.f_type).unwrap_or(0);
    let kind = KINDS
        .iter()
        .find(|(number, _)| *number == magic)
        .map_or_else(|| format!("{magic:#x}"), |(_, name)| (*name).to_owned());
    let mut facts = DirectoryFacts::new(
        real.clone(),
        metadata.dev(),
        kind,
        ByteSize::bytes(space.f_blocks.saturating_mul(space.f_frsize)),
        ByteSize::bytes(space.f_bavail.saturating_mul(space.f_frsize)),
        trial.writable,
    );
    if let Some(mark) = mark {
        (facts.pool, facts.owner) = (Some(mark.pool), mark.owner);
    }
    facts.mount = mount.map(|mount| mount.facts.clone());
    facts.clock_skew = trial.clock_skew;
    facts.locking = match trial.locking {
        Locking::Works if mount.is_some_and(Mount::locks_are_local) => Locking::Missing,
        tried => tried,
    };
    Ok(facts)
}

/// Makes a directory that only its owner may enter.
pub(crate) fn make(path: &Path) -> Result<HostAnswer, EndpointError> {
    const MAKE: &str = "MakeDirectory";
    reading::absolute(MAKE, path)?;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_parent(path).map_err(|e| failure::io(MAKE, path, e))?,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(failure::io(MAKE, path, e)),
    }
    look(MAKE, path).map(|_| HostAnswer::Done)
}

/// The names of the regular files.
pub(crate) fn list(path: &Path) -> Result<HostAnswer, EndpointError> {
    const LIST: &str = "ListDirectory";
    look(LIST, path)?;
    names(path, MOST_NAMES)
        .map_err(|e| failure::io(LIST, path, e))?
        .map(HostAnswer::Names)
        .ok_or_else(|| {
            let message = format!("{} has more than {MOST_NAMES} names", path.display());
            EndpointError::new(ErrorKind::Unsupported, LIST, message)
        })
}

/// The names of at most so many; `None` when there are more of any kind.
fn names(path: &Path, most: usize) -> io::Result<Option<Vec<String>>> {
    let mut names = Vec::new();
    for (number, entry) in fs::read_dir(path)?.enumerate() {
        if number >= most {
            return Ok(None);
        }
        let entry = entry?;
        if entry.file_type()?.is_file() {
            // What is not UTF-8 is nobody's here, and never equals a name that is.
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(Some(names))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes what unfinished work left.
pub(crate) fn sweep(path: &Path) -> Result<HostAnswer, EndpointError> {
    const SWEEP: &str = "SweepStaging";
    reading::absolute(SWEEP, path)?;
    staging::sweep(path)
        .map(HostAnswer::Swept)
        .map_err(|e| failure::io(SWEEP, path, e))
}

/// Removes a disk file that nobody has open.
pub(crate) fn delete(path: &Path) -> Result<HostAnswer, EndpointError> {
    const DELETE: &str = "DeleteDisk";
    reading::absolute(DELETE, path)?;
    let io = |e: io::Error| failure::io(DELETE, path, e);
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(HostAnswer::Done),
        Err(e) => return Err(io(e)),
        Ok(metadata) if !metadata.is_file() => {
            let message = format!("{} is not a regular file and stays", path.display());
            return Err(EndpointError::new(ErrorKind::WrongDisk, DELETE, message));
        }
        Ok(_) => {}
    }
    // Held until the name is gone.
    let _locked = match exclusive::open(DELETE, &DiskLocation::File(path.to_owned())) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(HostAnswer::Done),
        locked => locked?,
    };
    fs::remove_file(path).map_err(io)?;
    sync_parent(path).map_err(io)?;
    Ok(HostAnswer::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_with_too_many_names_has_no_list() {
        let place = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::write(place.path().join(name), "").unwrap();
        }
        fs::create_dir(place.path().join("c")).unwrap();
        assert_eq!(names(place.path(), 2).unwrap(), None);
        let mut listed = names(place.path(), 3).unwrap().unwrap();
        listed.sort();
        assert_eq!(listed, ["a", "b"]);
    }
}
