//! What on this host uses a block device.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, major, minor};

use crate::exclusive;
use crate::mount::{Mounts, unescape};
use crate::sysfs::{Sysfs, number};

/// What uses the device that is open here, in words; `None` when nothing does that the kernel knows of.
pub(crate) fn of(file: &File, path: &Path) -> io::Result<Option<String>> {
    let metadata = file.metadata()?;
    let sysfs = Sysfs::of(metadata.rdev())?;
    let mounts = Mounts::now()?;
    let swaps = swaps(&fs::read("/proc/swaps").unwrap_or_default());
    if let Some(user) = stacked(&sysfs) {
        return Ok(Some(user));
    }
    let whole = [sysfs.clone()];
    for part in whole.iter().chain(&sysfs.partitions()) {
        if let Some(holder) = part.holders().first() {
            return Ok(Some(format!("{} is part of {holder}", part.name().display())));
        }
        let Some(number) = part.number() else { continue };
        if let Some(mount) = mounts.of_device(&number) {
            let point = mount.facts.point.display();
            return Ok(Some(format!("{} is mounted at {point}", part.name().display())));
        }
        if swaps.contains(&number) {
            return Ok(Some(format!("{} is swap space", part.name().display())));
        }
    }
    if let Some(process) = locked(&fs::read("/proc/locks")?, &metadata) {
        return Ok(Some(format!(
            "{process} has locked it, as QEMU does with its disks"
        )));
    }
    match claim(path) {
        Ok(_) => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
            Ok(Some("somebody has it for himself".to_owned()))
        }
        Err(e) => Err(e),
    }
}

/// The loop device, in words, that lies on a file that is a device.
pub(crate) fn stacked_on(device: &fs::Metadata) -> io::Result<Option<String>> {
    match device.file_type().is_block_device() {
        true => Sysfs::of(device.rdev()).map(|sysfs| stacked(&sysfs)),
        false => Ok(None),
    }
}

/// The loop device whose file the device is, or its partition, or the disk that it is a partition of. The kernel has no holder for that.
fn stacked(device: &Sysfs) -> Option<String> {
    let mut parts = device.partitions();
    parts.push(device.clone());
    parts.extend(device.part_of().map(|(disk, _)| disk));
    Sysfs::loops().into_iter().find_map(|upper| {
        let file = upper.loop_file()?.metadata().ok()?;
        let lower = file.file_type().is_block_device().then(|| file.rdev())?;
        let lower = Sysfs::of(lower).ok()?;
        let name = lower.name();
        parts
            .contains(&lower)
            .then(|| format!("{} is the file of {}", name.display(), upper.name().display()))
    })
}

/// Opens a device so that nobody mounts or maps it meanwhile; [`io::ErrorKind::ResourceBusy`] when somebody does already.
pub(crate) fn claim(path: &Path) -> io::Result<File> {
    let flags = OFlags::EXCL | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    exclusive::patiently(|| options.open(path))
}

/// The numbers of the devices that are swapped to: proc_swaps(5).
fn swaps(list: &[u8]) -> Vec<String> {
    list.split(|byte| *byte == b'\n')
        .skip(1)
        .filter_map(|line| line.split(u8::is_ascii_whitespace).next())
        .map(|name| PathBuf::from(OsString::from_vec(unescape(name))))
        // A file that is swapped to is no device, and may lie on a file system that does not answer.
        .filter(|path| path.starts_with("/dev"))
        .filter_map(|path| path.metadata().ok())
        .map(|metadata| number(metadata.rdev()))
        .collect()
}

/// Who holds a lock of parts of a file, as QEMU does for as long as it has a disk open: proc_locks(5). Locks of `flock` are not
/// looked at: udev has one on each device that it looks at, for a moment.
fn locked(list: &[u8], metadata: &fs::Metadata) -> Option<String> {
    let file = format!(
        "{:02x}:{:02x}:{}",
        major(metadata.dev()),
        minor(metadata.dev()),
        metadata.ino()
    );
    String::from_utf8_lossy(list).lines().find_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        match *fields.as_slice() {
            [_, "POSIX", _, _, process, place, ..] if place == file => Some(format!("process {process}")),
            [_, "OFDLCK", _, _, _, place, ..] if place == file => Some("a process".to_owned()),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_of_parts_is_somebodys_and_one_of_flock_is_nobodys() {
        let file = tempfile::tempfile().unwrap();
        let metadata = file.metadata().unwrap();
        let (dev, ino) = (metadata.dev(), metadata.ino());
        let line = |kind: &str, process: &str, ino: u64| {
            let (major, minor) = (major(dev), minor(dev));
            format!("1: {kind}  ADVISORY  READ {process} {major:02x}:{minor:02x}:{ino} 100 101\n")
        };
        let locked = |list: String| locked(list.as_bytes(), &metadata);
        assert_eq!(locked(line("OFDLCK", "-1", ino)).as_deref(), Some("a process"));
        assert_eq!(locked(line("POSIX", "77", ino)).as_deref(), Some("process 77"));
        assert_eq!(locked(line("FLOCK", "77", ino)), None);
        assert_eq!(locked(line("POSIX", "77", ino + 1)), None);
    }
}
