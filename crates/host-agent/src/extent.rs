//! Where the bytes of a file or a device lie in the end, and whether two lie in the same place.

use std::fs::Metadata;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use crate::sysfs::Sysfs;

/// A part of a file or a device that lies on nothing else. Loop devices and partitions are followed down to theirs; mappings and
/// arrays are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extent {
    ground: Ground,
    bytes: Range<u64>,
}

/// What bytes lie in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ground {
    /// A file, by its file system and inode.
    File(u64, u64),
    /// A device, by its directory in sysfs: its nodes may be many.
    Device(Sysfs),
    /// The file of a loop device that has this name for the kernel, and is not to be found by it.
    Hidden(PathBuf),
}

impl Extent {
    /// All of what this describes.
    pub(crate) fn of(metadata: &Metadata) -> io::Result<Self> {
        if metadata.file_type().is_block_device() {
            return Self::of_device(Sysfs::of(metadata.rdev())?);
        }
        Ok(Self::whole(Ground::File(metadata.dev(), metadata.ino())))
    }

    fn of_device(sysfs: Sysfs) -> io::Result<Self> {
        if let Some((disk, start)) = sysfs.part_of() {
            return Ok(Self::of_device(disk)?.part(start, sysfs.bytes()));
        }
        let Some(backing) = sysfs.loop_file() else {
            return Ok(Self::whole(Ground::Device(sysfs)));
        };
        let file = match backing.metadata() {
            Ok(found) => Self::of(&found)?,
            Err(_) => Self::whole(Ground::Hidden(backing)),
        };
        Ok(file.part(sysfs.loop_offset(), sysfs.bytes()))
    }

    fn whole(ground: Ground) -> Self {
        let bytes = 0..u64::MAX;
        Self { ground, bytes }
    }

    /// So many bytes of it, from there on; all that follow when nobody knows how many.
    fn part(self, start: u64, length: Option<u64>) -> Self {
        let start = self.bytes.start.saturating_add(start);
        let end = length.map_or(u64::MAX, |length| start.saturating_add(length));
        Self {
            ground: self.ground,
            bytes: start..end.min(self.bytes.end),
        }
    }

    /// Whether some byte is in both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.ground == other.ground
            && self.bytes.start < other.bytes.end
            && other.bytes.start < self.bytes.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_overlap_where_they_share_a_byte_of_the_same_ground() {
        let disk = Extent::whole(Ground::File(7, 1));
        let part = |start, length| disk.clone().part(start, length);
        assert!(disk.overlaps(&part(4096, Some(512))));
        assert!(part(0, Some(4096)).overlaps(&part(4095, Some(1))));
        assert!(part(512, None).overlaps(&part(4096, Some(512))));
        assert!(!part(0, Some(4096)).overlaps(&part(4096, Some(512))));
        assert!(!part(0, Some(4096)).overlaps(&part(8192, None)));
        assert!(!disk.overlaps(&Extent::whole(Ground::File(7, 2))));
        // What a part of a part would have behind its end is not in it.
        let nested = part(1024, Some(1024)).part(512, Some(4096));
        assert_eq!(nested.bytes, 1536..2048);
    }
}
