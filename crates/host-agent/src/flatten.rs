use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use strongroom_endpoint_selector::{
    ContentSource, Disk, DiskLocation, EndpointError, ErrorKind, FlattenDisk, HostAnswer,
};
use strongroom_types::{Call, DiskFormat};

use crate::copy::portion;
use crate::source::Source;
use crate::staging::Staging;
use crate::tools::Tools;
use crate::{copy, digest, exclusive, failure, flatten_device, inspect, keyslots, reading};

pub(crate) const FLATTEN: &str = "FlattenDisk";

/// Makes a disk stand alone: what it reads, its base's part included, is copied into a new disk under a staging name, which then
/// takes its place.
///
/// `qemu-img rebase` would do it in place, but writes the header without the base before the last tables, so that a kill in between
/// loses content. Here the name belongs to the old disk until one rename gives it to the new one, whose content was compared.
pub(crate) fn flatten(tools: &Tools, call: &Call, c: &FlattenDisk<'_>) -> Result<HostAnswer, EndpointError> {
    let disk = &c.disk;
    reading::absolute(FLATTEN, disk.location.path())?;
    let (_, base) = reading::disk(FLATTEN, disk.location, disk.format, disk.protection.format())?;
    if base.is_none() {
        return inspect::prove(tools, call, FLATTEN, &disk.on(None)).map(HostAnswer::Disk);
    }
    let DiskLocation::File(path) = disk.location else {
        has_no_snapshots(disk)?;
        return flatten_device::flatten(tools, call, disk).map(HostAnswer::Disk);
    };
    let old = Source::admit(tools, call, FLATTEN, ContentSource::Disk(*disk))?;
    has_no_snapshots(disk)?;
    let staging = Staging::beside(path).map_err(|e| failure::io(FLATTEN, path, e))?;
    let made = DiskLocation::File(staging.path());
    let new = Disk::new(&made, disk.format, disk.protection);
    tools.create_qcow2(FLATTEN, call, made.path(), old.size, disk.protection)?;
    copy::copy(tools, &portion(call, &(0..1), 3), FLATTEN, &old, &new, true)?;
    same_content(tools, call, &old, &new)?;
    inspect::go_on(call, FLATTEN)?;
    let kept = staging.second_path();
    let replaced = replace(path, made.path(), &kept, &old)?;
    let facts = inspect::prove(tools, call, FLATTEN, &disk.on(None))?;
    if disk.protection.key().is_some() {
        erase(path, replaced.map(|()| kept));
    }
    Ok(HostAnswer::Disk(facts))
}

/// What lies in snapshots reads from the base too, and only the present content is copied.
fn has_no_snapshots(disk: &Disk<'_>) -> Result<(), EndpointError> {
    match reading::snapshots(FLATTEN, disk.location)? {
        0 => Ok(()),
        count => {
            let message = format!(
                "{} has {count} snapshots inside, which lie on its base as well; remove them first",
                disk.location
            );
            Err(EndpointError::new(ErrorKind::Unsupported, FLATTEN, message))
        }
    }
}

/// Proves that the new disk has the content of the old one.
fn same_content(tools: &Tools, call: &Call, old: &Source<'_>, new: &Disk<'_>) -> Result<(), EndpointError> {
    let before = digest::of(
        tools,
        &portion(call, &(1..2), 3),
        FLATTEN,
        old,
        old.size,
        old.size,
    )?;
    old.unchanged(FLATTEN)?;
    let new = Source::admit(tools, call, FLATTEN, ContentSource::Disk(*new))?;
    let after = digest::of(
        tools,
        &portion(call, &(2..3), 3),
        FLATTEN,
        &new,
        new.size,
        new.size,
    )?;
    if (before, old.size) == (after, new.size) {
        return Ok(());
    }
    let message = format!(
        "the copy of {} came out with another content; it stays as it is",
        old.path().display()
    );
    Err(EndpointError::new(ErrorKind::Tool, FLATTEN, message))
}

/// Gives the name of the old disk to the new one, in one step. Answers whether the old one could be kept for a moment, as `kept`.
fn replace(path: &Path, made: &Path, kept: &Path, old: &Source<'_>) -> Result<io::Result<()>, EndpointError> {
    let io = |e: io::Error| failure::io(FLATTEN, path, e);
    let new = File::open(made).map_err(io)?;
    // Locked, so that nobody writes to the old disk between the last look and the rename.
    let lock = exclusive::open(FLATTEN, &DiskLocation::File(path.to_owned()))?;
    old.unchanged(FLATTEN)?;
    let metadata = lock.metadata().map_err(io)?;
    new.set_permissions(Permissions::from_mode(metadata.mode() & 0o7777))
        .map_err(io)?;
    fchown(&new, Some(metadata.uid()), Some(metadata.gid())).map_err(io)?;
    new.sync_all().map_err(io)?;
    // A file system without hard links lets the old file go at once.
    let linked = fs::hard_link(path, kept);
    fs::rename(made, path).map_err(io)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    File::open(directory).and_then(|d| d.sync_all()).map_err(io)?;
    Ok(linked)
}

/// Destroys the keyslots of the disk that was replaced: its header must not live on in free blocks.
fn erase(path: &Path, replaced: io::Result<PathBuf>) {
    let erased = replaced
        .map_err(|e| failure::io(FLATTEN, path, e))
        .and_then(|old| keyslots::erase(FLATTEN, &DiskLocation::File(old), DiskFormat::Qcow2));
    if let Err(error) = erased {
        tracing::warn!(disk = ?path, %error, "the header of the disk before it was flattened may be left in free blocks");
    }
}
