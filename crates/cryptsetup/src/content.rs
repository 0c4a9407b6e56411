use std::fmt;

use crate::CryptsetupError;
use crate::disk::Disk;
use crate::luks2_copy::SECOND_MAGIC;

/// What a device holds, as far as a first look tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Content {
    /// A LUKS1 header.
    Luks1,
    /// A LUKS2 header, or the second copy of one whose first is gone.
    Luks2,
    /// A LUKS header of a version that nobody has defined yet.
    LuksOfUnknownVersion,
    /// A BitLocker volume.
    BitLocker,
    /// A qcow2 image.
    Qcow2,
    /// A QED image.
    Qed,
    /// A VMDK image.
    Vmdk,
    /// A VDI image.
    Vdi,
    /// A VHD or VHDX image.
    Vhd,
    /// An ext2, ext3 or ext4 file system.
    Ext,
    /// An XFS file system.
    Xfs,
    /// A Btrfs file system.
    Btrfs,
    /// An F2FS file system.
    F2fs,
    /// An NTFS or exFAT file system.
    Ntfs,
    /// A squashfs file system.
    Squashfs,
    /// An ISO 9660 file system.
    Iso9660,
    /// A member of a ZFS pool.
    Zfs,
    /// A swap area.
    Swap,
    /// A physical volume of LVM2.
    Lvm2,
    /// A member of a Linux software RAID.
    MdRaid,
    /// A bcache or bcachefs device.
    Bcache,
    /// A Ceph BlueStore device.
    BlueStore,
    /// A GUID partition table.
    Gpt,
    /// A boot sector: a DOS partition table, or a FAT file system.
    BootSector,
    /// Bytes that are not zero and have no known beginning.
    Unknown,
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Luks1 => "a LUKS1 header",
            Self::Luks2 => "a LUKS2 header",
            Self::LuksOfUnknownVersion => "a LUKS header of unknown version",
            Self::BitLocker => "a BitLocker volume",
            Self::Qcow2 => "a qcow2 image",
            Self::Qed => "a QED image",
            Self::Vmdk => "a VMDK image",
            Self::Vdi => "a VDI image",
            Self::Vhd => "a VHD image",
            Self::Ext => "an ext2, ext3 or ext4 file system",
            Self::Xfs => "an XFS file system",
            Self::Btrfs => "a Btrfs file system",
            Self::F2fs => "an F2FS file system",
            Self::Ntfs => "an NTFS file system",
            Self::Squashfs => "a squashfs file system",
            Self::Iso9660 => "an ISO 9660 file system",
            Self::Zfs => "a ZFS member",
            Self::Swap => "a swap area",
            Self::Lvm2 => "an LVM2 physical volume",
            Self::MdRaid => "a RAID member",
            Self::Bcache => "a bcache device",
            Self::BlueStore => "a Ceph BlueStore device",
            Self::Gpt => "a GUID partition table",
            Self::BootSector => "a boot sector",
            Self::Unknown => "unknown data",
        })
    }
}

/// A place where something writes bytes that name it. From the documented on-disk layouts, as `blkid` and
/// `file` use them.
struct Signature {
    content: Content,
    at: At,
    bytes: &'static [u8],
}

enum At {
    /// From the beginning.
    Start(u64),
    /// Before the end.
    End(u64),
    /// A distance before the end rounded down to a multiple.
    AlignedEnd { multiple: u64, before: u64 },
}

const fn start(content: Content, offset: u64, bytes: &'static [u8]) -> Signature {
    Signature {
        content,
        at: At::Start(offset),
        bytes,
    }
}

const fn end(content: Content, before: u64, bytes: &'static [u8]) -> Signature {
    Signature {
        content,
        at: At::End(before),
        bytes,
    }
}

pub(crate) const LUKS_MAGIC: &[u8; 6] = b"LUKS\xba\xbe";
const MD: &[u8] = b"\xfc\x4e\x2b\xa9";

/// The telling ones first: a boot sector is also where partition tables protect themselves and some file
/// systems begin.
#[rustfmt::skip]
const SIGNATURES: &[Signature] = &[
    start(Content::Luks1, 0, b"LUKS\xba\xbe\x00\x01"),
    start(Content::Luks2, 0, b"LUKS\xba\xbe\x00\x02"),
    start(Content::LuksOfUnknownVersion, 0, LUKS_MAGIC),
    // The second header follows the metadata area, which has one of nine sizes.
    start(Content::Luks2, 16 << 10, SECOND_MAGIC),
    start(Content::Luks2, 32 << 10, SECOND_MAGIC),
    start(Content::Luks2, 64 << 10, SECOND_MAGIC),
    start(Content::Luks2, 128 << 10, SECOND_MAGIC),
    start(Content::Luks2, 256 << 10, SECOND_MAGIC),
    start(Content::Luks2, 512 << 10, SECOND_MAGIC),
    start(Content::Luks2, 1 << 20, SECOND_MAGIC),
    start(Content::Luks2, 2 << 20, SECOND_MAGIC),
    start(Content::Luks2, 4 << 20, SECOND_MAGIC),
    start(Content::BitLocker, 3, b"-FVE-FS-"),
    start(Content::Qcow2, 0, b"QFI\xfb"),
    start(Content::Qed, 0, b"QED\0"),
    start(Content::Vmdk, 0, b"KDMV"),
    start(Content::Vmdk, 0, b"COWD"),
    start(Content::Vdi, 64, b"\x7f\x10\xda\xbe"),
    start(Content::Vhd, 0, b"vhdxfile"),
    start(Content::Vhd, 0, b"conectix"),
    end(Content::Vhd, 512, b"conectix"),
    start(Content::Xfs, 0, b"XFSB"),
    // Btrfs keeps copies of its superblock 64 MiB and 256 GiB in, where a wiped beginning leaves them.
    start(Content::Btrfs, (64 << 10) + 64, b"_BHRfS_M"),
    start(Content::Btrfs, (64 << 20) + 64, b"_BHRfS_M"),
    start(Content::Btrfs, (256 << 30) + 64, b"_BHRfS_M"),
    start(Content::F2fs, 1024, b"\x10\x20\xf5\xf2"),
    start(Content::Ntfs, 3, b"NTFS    "),
    start(Content::Ntfs, 3, b"EXFAT   "),
    start(Content::Squashfs, 0, b"hsqs"),
    start(Content::Iso9660, 0x8001, b"CD001"),
    start(Content::Zfs, 128 << 10, b"\x0c\xb1\xba\0\0\0\0\0"),
    start(Content::Zfs, 132 << 10, b"\x0c\xb1\xba\0\0\0\0\0"),
    // The swap header ends a page, whose size depends on the machine.
    start(Content::Swap, (4 << 10) - 10, b"SWAPSPACE2"),
    start(Content::Swap, (16 << 10) - 10, b"SWAPSPACE2"),
    start(Content::Swap, (64 << 10) - 10, b"SWAPSPACE2"),
    start(Content::Lvm2, 0, b"LABELONE"),
    start(Content::Lvm2, 512, b"LABELONE"),
    start(Content::Lvm2, 1024, b"LABELONE"),
    start(Content::Lvm2, 1536, b"LABELONE"),
    start(Content::MdRaid, 0, MD),
    start(Content::MdRaid, 4096, MD),
    Signature { content: Content::MdRaid, at: At::AlignedEnd { multiple: 4 << 10, before: 8 << 10 }, bytes: MD },
    Signature { content: Content::MdRaid, at: At::AlignedEnd { multiple: 64 << 10, before: 64 << 10 }, bytes: MD },
    start(Content::Bcache, 4096 + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"),
    start(Content::BlueStore, 0, b"bluestore block device"),
    start(Content::Ext, 1024 + 56, b"\x53\xef"),
    start(Content::Gpt, 512, b"EFI PART"),
    start(Content::Gpt, 4096, b"EFI PART"),
    end(Content::Gpt, 512, b"EFI PART"),
    end(Content::Gpt, 4096, b"EFI PART"),
    start(Content::BootSector, 510, b"\x55\xaa"),
];

/// The first known thing that names itself on this disk, and where.
pub(crate) fn identify(disk: &Disk) -> Result<Option<(Content, u64)>, CryptsetupError> {
    let size = disk.size();
    for signature in SIGNATURES {
        let offset = match signature.at {
            At::Start(offset) => Some(offset),
            At::End(before) => size.checked_sub(before),
            At::AlignedEnd { multiple, before } => (size - size % multiple).checked_sub(before),
        };
        let mut bytes = [0; 24];
        let (Some(offset), Some(found)) = (offset, bytes.get_mut(..signature.bytes.len())) else {
            continue;
        };
        if disk.read_at(offset, found)? == signature.bytes.len() && found == signature.bytes {
            return Ok(Some((signature.content, offset)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Sharing;
    use std::os::unix::fs::FileExt;

    #[test]
    fn every_signature_is_found_where_it_stands() {
        for signature in SIGNATURES {
            let file = tempfile::NamedTempFile::new().unwrap();
            let size = match signature.at {
                At::Start(offset) => offset.max(1 << 20) + 4096 + 1536,
                At::End(_) | At::AlignedEnd { .. } => (1 << 20) + 1536,
            };
            file.as_file().set_len(size).unwrap();
            let offset = match signature.at {
                At::Start(offset) => offset,
                At::End(before) => size - before,
                At::AlignedEnd { multiple, before } => size / multiple * multiple - before,
            };
            file.as_file().write_all_at(signature.bytes, offset).unwrap();
            let disk = Disk::open(file.path(), Sharing::Nobody).unwrap();
            assert_eq!(
                identify(&disk).unwrap(),
                Some((signature.content, offset)),
                "{}",
                signature.content
            );
        }
    }

    #[test]
    fn a_disk_shorter_than_every_signature_holds_nothing_known() {
        for size in [0u64, 1, 7, 511] {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(size).unwrap();
            let disk = Disk::open(file.path(), Sharing::Anybody).unwrap();
            assert_eq!(identify(&disk).unwrap(), None);
        }
    }
}
