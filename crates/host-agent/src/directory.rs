use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat, statfs, statvfs};
use strongroom_endpoint_selector::{DirectoryFacts, DiskLocation, EndpointError, ErrorKind, HostAnswer};
use strongroom_types::ByteSize;

use crate::{exclusive, failure, reading, staging};

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

const OPEN: &str = "OpenDirectory";

/// Looks at a directory that is to hold disks.
pub(crate) fn open(path: &Path) -> Result<HostAnswer, EndpointError> {
    reading::absolute(OPEN, path)?;
    let io = |e: io::Error| failure::io(OPEN, path, e);
    let metadata = fs::symlink_metadata(path).map_err(io)?;
    if metadata.is_symlink() {
        let message = format!("{} is a symlink; name the directory itself", path.display());
        return Err(EndpointError::new(ErrorKind::InvalidRequest, OPEN, message));
    }
    if !metadata.is_dir() {
        let message = format!("{} is not a directory", path.display());
        return Err(EndpointError::new(ErrorKind::InvalidRequest, OPEN, message));
    }
    let real = fs::canonicalize(path).map_err(io)?;
    let space = statvfs(&real).map_err(|e| io(e.into()))?;
    let magic = u64::try_from(statfs(&real).map_err(|e| io(e.into()))?.f_type).unwrap_or(0);
    let kind = KINDS
        .iter()
        .find(|(number, _)| *number == magic)
        .map_or_else(|| format!("{magic:#x}"), |(_, name)| (*name).to_owned());
    let writable = accessat(CWD, &real, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok();
    Ok(HostAnswer::Directory(DirectoryFacts::new(
        real,
        metadata.dev(),
        kind,
        ByteSize::bytes(space.f_blocks.saturating_mul(space.f_frsize)),
        ByteSize::bytes(space.f_bavail.saturating_mul(space.f_frsize)),
        writable,
    )))
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
    if let Some(parent) = path.parent() {
        fs::File::open(parent).and_then(|d| d.sync_all()).map_err(io)?;
    }
    Ok(HostAnswer::Done)
}
