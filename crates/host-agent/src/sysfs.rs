//! What the kernel says of a block device.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dev, major, minor};
use strongroom_types::SECTOR;

/// Where the attributes are by which a device is told from others, below its directory, in the order in which they are asked: the UUID
/// of a mapping, the file of a loop device, of NVMe, SCSI and virtio the world-wide name or serial number, the UUID of an array.
/// `Documentation/ABI` of Linux: sysfs-block-dm, sysfs-block-loop, stable/sysfs-block, sysfs-devices; `md/uuid` since Linux 6.5.
const NAMES: [&str; 7] = [
    "dm/uuid",
    "loop/backing_file",
    "wwid",
    "device/wwid",
    "serial",
    "device/serial",
    "md/uuid",
];

/// A device's directory in sysfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sysfs(PathBuf);

impl Sysfs {
    /// That of the device with this number.
    pub(crate) fn of(device: Dev) -> io::Result<Self> {
        let named = format!("/sys/dev/block/{}", number(device));
        fs::canonicalize(named).map(Self)
    }

    /// The serial number or whatever else the device is known by. That of a partition is its disk's, with its number.
    pub(crate) fn serial(&self) -> Option<String> {
        let Some(partition) = self.attribute("partition") else {
            return NAMES.iter().find_map(|name| self.attribute(name));
        };
        let disk = Self(self.0.parent()?.to_owned()).serial()?;
        Some(format!("{disk}-part{partition}"))
    }

    /// The file of a loop device, by the name that the kernel has for it.
    pub(crate) fn loop_file(&self) -> Option<PathBuf> {
        let mut name = fs::read(self.0.join("loop/backing_file")).ok()?;
        name.pop_if(|last| *last == b'\n');
        Some(OsString::from_vec(name).into())
    }

    /// The loop devices that have a file.
    pub(crate) fn loops() -> Vec<Self> {
        let mut loops: Vec<_> = children(Path::new("/sys/block"))
            .filter(|path| path.join("loop").is_dir())
            .filter_map(|path| fs::canonicalize(path).ok())
            .collect();
        loops.sort();
        loops.into_iter().map(Self).collect()
    }

    /// Where in its file a loop device begins, in bytes.
    pub(crate) fn loop_offset(&self) -> u64 {
        self.count("loop/offset").unwrap_or(0)
    }

    /// The disk of a partition, and where in it the partition begins, in bytes.
    pub(crate) fn part_of(&self) -> Option<(Self, u64)> {
        self.attribute("partition")?;
        let start = self.count("start")?.saturating_mul(SECTOR);
        Some((Self(self.0.parent()?.to_owned()), start))
    }

    /// How many bytes it has.
    pub(crate) fn bytes(&self) -> Option<u64> {
        Some(self.count("size")?.saturating_mul(SECTOR))
    }

    fn count(&self, name: &str) -> Option<u64> {
        self.attribute(name)?.parse().ok()
    }

    /// Whether it is a loop device that has a file.
    pub(crate) fn is_loop(&self) -> bool {
        self.0.join("loop").is_dir()
    }

    /// Has the kernel ask a SCSI device for its size. Others tell by themselves.
    pub(crate) fn rescan(&self) -> io::Result<()> {
        let attribute = self.0.join("device/rescan");
        if !attribute.exists() {
            return Ok(());
        }
        fs::write(attribute, "1")
    }

    /// The names of the devices that are made of it, such as mappings and arrays.
    pub(crate) fn holders(&self) -> Vec<String> {
        let mut names: Vec<_> = children(&self.0.join("holders"))
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        names.sort();
        names
    }

    /// Its partitions.
    pub(crate) fn partitions(&self) -> Vec<Self> {
        let mut partitions: Vec<_> = children(&self.0)
            .filter(|path| path.join("partition").is_file())
            .collect();
        partitions.sort();
        partitions.into_iter().map(Self).collect()
    }

    /// Its number, such as `8:1`.
    pub(crate) fn number(&self) -> Option<String> {
        self.attribute("dev")
    }

    /// Its name in `/dev`.
    pub(crate) fn name(&self) -> OsString {
        self.0.file_name().unwrap_or_default().to_owned()
    }

    /// The text of an attribute; `None` when it is not there or says nothing.
    fn attribute(&self, name: &str) -> Option<String> {
        let bytes = fs::read(self.0.join(name)).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// The number of a device as the kernel writes it.
pub(crate) fn number(device: Dev) -> String {
    format!("{}:{}", major(device), minor(device))
}

fn children(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory like that of a device, with these attributes.
    fn device(attributes: &[(&str, &str)]) -> (tempfile::TempDir, Sysfs) {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in attributes {
            let path = place.path().join("sda").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let sysfs = Sysfs(place.path().join("sda"));
        (place, sysfs)
    }

    #[test]
    fn a_device_is_known_by_the_first_name_that_says_something() {
        for (attributes, serial) in [
            (&[("size", "1")][..], None),
            (&[("serial", " \n"), ("device/serial", "SN 1 \n")], Some("SN 1")),
            (&[("serial", "disk-7")], Some("disk-7")),
            (
                &[("device/wwid", "naa.5000c500a1b2c3d4\n"), ("device/serial", "x")],
                Some("naa.5000c500a1b2c3d4"),
            ),
            (
                &[("wwid", "eui.0025385b71b00c1a\n"), ("device/serial", "S4")],
                Some("eui.0025385b71b00c1a"),
            ),
            (
                &[("dm/uuid", "LVM-abc\n"), ("serial", "of something else")],
                Some("LVM-abc"),
            ),
        ] {
            let (_place, sysfs) = device(attributes);
            assert_eq!(sysfs.serial().as_deref(), serial, "{attributes:?}");
        }
    }

    #[test]
    fn a_partition_is_known_by_its_disk_and_its_number() {
        let (_place, disk) = device(&[
            ("serial", "disk-7"),
            ("sda2/partition", "2\n"),
            ("sda2/dev", "8:2\n"),
        ]);
        let partitions = disk.partitions();
        assert_eq!(partitions.len(), 1);
        assert_eq!(partitions[0].serial().as_deref(), Some("disk-7-part2"));
        assert_eq!(partitions[0].number().as_deref(), Some("8:2"));
    }

    #[test]
    fn only_a_scsi_device_is_asked_again() {
        let (place, scsi) = device(&[("device/rescan", "")]);
        scsi.rescan().unwrap();
        let asked = fs::read_to_string(place.path().join("sda/device/rescan")).unwrap();
        assert_eq!(asked, "1");
        let (place, other) = device(&[("size", "1")]);
        other.rescan().unwrap();
        assert!(!place.path().join("sda/device").exists());
    }
}
