use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use strongroom_types::{DiskFormat, EncryptionFormat, GuestSize, SnapshotId, VolumeId};

use crate::Protection;

/// Where a disk is on a host. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DiskLocation {
    /// A regular file.
    File(PathBuf),
    /// A block device.
    Block(PathBuf),
}

impl DiskLocation {
    /// The path of the file or device.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Block(path) => path,
        }
    }
}

impl fmt::Display for DiskLocation {
    /// The path on one line: control characters are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.path().to_string_lossy().chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// A disk that exists, and what opens it.
#[derive(Debug, Clone, Copy)]
pub struct Disk<'a> {
    /// Where it is.
    pub location: &'a DiskLocation,
    /// How its sectors lie there. It is said, never probed.
    pub format: DiskFormat,
    /// Which side of the cipher it is on.
    pub protection: Protection<'a>,
}

/// A plain image to take content from.
#[derive(Debug, Clone, Copy)]
pub struct SourceImage<'a> {
    /// Its absolute path.
    pub path: &'a Path,
    /// Its format. It is said, never probed.
    pub format: DiskFormat,
}

/// What a new disk holds.
#[derive(Debug, Clone, Copy)]
pub enum DiskContent<'a> {
    /// Nothing. A plain disk or a qcow2 reads as zeros; a raw LUKS disk reads as noise, because what was never written
    /// decrypts to noise.
    Blank,
    /// The content of an image that somebody untrusted may have made. It is at most as large as the disk.
    Template(SourceImage<'a>),
}

/// What is to be done with a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotAction {
    /// Take it. Taking one that is there changes nothing.
    Create,
    /// Make the disk what it was when the snapshot was taken, its size included. The snapshot stays.
    Restore,
    /// Remove it. Removing one that is not there succeeds.
    Delete,
}

macro_rules! commands {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),+ $(,)? })+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            #[non_exhaustive]
            pub struct $name<'a> {
                $($(#[$field_doc])* pub $field: $type),+
            }

            impl<'a> $name<'a> {
                /// The command with all that it needs.
                #[must_use]
                pub fn new($($field: $type),+) -> Self {
                    Self { $($field),+ }
                }
            }

            impl<'a> From<$name<'a>> for HostCommand<'a> {
                fn from(command: $name<'a>) -> Self {
                    Self::$name(command)
                }
            }
        )+

        /// One piece of storage work for a host.
        ///
        /// Keys are borrowed: a command that holds one cannot be stored, only run.
        #[derive(Debug, Clone, Copy)]
        #[non_exhaustive]
        pub enum HostCommand<'a> {
            $($(#[$doc])* $name($name<'a>)),+
        }

        impl HostCommand<'_> {
            /// The name of the command, for messages.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name)),+ }
            }
        }
    };
}

commands! {
    /// Looks at a directory that is to hold disks: it exists, is no symlink, and what file system it is on.
    ///
    /// Answers [`HostAnswer::Directory`](crate::HostAnswer::Directory).
    OpenDirectory {
        /// Its absolute path.
        path: &'a Path,
    }

    /// Makes a disk file that is not there yet. The name appears when the disk is whole, on disk, and has been opened with
    /// its key; before that, and after a failure, there is none. A name that is taken is an error and stays untouched. A size that
    /// the format or the file system cannot hold is [`InvalidRequest`](crate::ErrorKind::InvalidRequest).
    ///
    /// Answers [`HostAnswer::Disk`](crate::HostAnswer::Disk).
    CreateDisk {
        /// The path of the new file.
        path: &'a Path,
        /// How its sectors lie there.
        format: DiskFormat,
        /// What the guest is to see, exactly.
        guest: GuestSize,
        /// Which side of the cipher it is on.
        protection: Protection<'a>,
        /// What it holds.
        content: DiskContent<'a>,
    }

    /// Writes a LUKS header onto a device or file that is there, blank from end to end, and all of which the disk shall have.
    ///
    /// Anything that is not blank is [`AlreadyExists`](crate::ErrorKind::AlreadyExists) and stays untouched, but for what the
    /// same command left: the UUID of the header follows from the volume's id alone, so a header that is not finished is known
    /// by it and is begun anew, and a finished one of this volume, in this format, that the key opens is the answer. Another
    /// volume's header, and one that another key opens, are refused.
    ///
    /// The guest sees what is left behind the header, as [`Geometry::of_device`](strongroom_types::Geometry::of_device) says with
    /// [`LUKS1_CRYPTSETUP`](strongroom_types::PayloadOffset::LUKS1_CRYPTSETUP) (2 MiB) or
    /// [`LUKS2_CRYPTSETUP`](strongroom_types::PayloadOffset::LUKS2_CRYPTSETUP) (16 MiB). A device that its storage made larger
    /// than was asked for shows the guest more than that.
    ///
    /// Answers [`HostAnswer::Disk`](crate::HostAnswer::Disk).
    FormatDevice {
        /// Whose it becomes. No two volumes of an installation have the same id.
        volume: &'a VolumeId,
        /// The device or file.
        location: &'a DiskLocation,
        /// Which LUKS.
        format: EncryptionFormat,
        /// What is to open it.
        key: &'a strongroom_secret::Passphrase,
    }

    /// Reads the header of a disk, without its key. What the disk is must be what the command says it is.
    ///
    /// Here and in every command that takes a [`DiskLocation`], a [`File`](DiskLocation::File) is the file itself: a symlink is
    /// [`WrongDisk`](crate::ErrorKind::WrongDisk), so that no name in a pool leads out of it. A
    /// [`Block`](DiskLocation::Block) may be a symlink, as most names of devices are.
    ///
    /// Answers [`HostAnswer::Disk`](crate::HostAnswer::Disk).
    InspectDisk {
        /// Where it is.
        location: &'a DiskLocation,
        /// How its sectors lie there.
        format: DiskFormat,
        /// Which LUKS it has; `None` for a plain disk.
        encryption: Option<EncryptionFormat>,
    }

    /// Proves a disk: the header read by two readers that agree, opened with its key, refused to another key, the
    /// metadata consistent. Clusters that a failed piece of work left allocated for nothing are named in what was checked.
    ///
    /// A qcow2 disk that somebody has open for writing is [`Busy`](crate::ErrorKind::Busy): its metadata is not consistent until
    /// it is closed. A raw disk has none and can be verified meanwhile.
    ///
    /// Answers [`HostAnswer::Verified`](crate::HostAnswer::Verified).
    VerifyDisk {
        /// The disk.
        disk: Disk<'a>,
    }

    /// Makes a disk larger: the guest then sees exactly `to`. Growing to the size that it has changes nothing; a smaller
    /// size is refused.
    ///
    /// A block device is made larger by its storage, and a raw disk on it has the new size at once. Do that first; this command
    /// with the exact new size then opens the disk with its key and answers with what it is. While the device is too small, it is
    /// [`Unsupported`](crate::ErrorKind::Unsupported).
    ///
    /// Answers [`HostAnswer::Disk`](crate::HostAnswer::Disk).
    GrowDisk {
        /// The disk.
        disk: Disk<'a>,
        /// What the guest is to see.
        to: GuestSize,
    }

    /// Takes, restores or removes a snapshot inside a qcow2 disk that nobody has open. What a failed attempt wasted of the file
    /// is free again after the next one that succeeds.
    ///
    /// Answers [`HostAnswer::Disk`](crate::HostAnswer::Disk).
    SnapshotDisk {
        /// The disk.
        disk: Disk<'a>,
        /// The snapshot.
        snapshot: &'a SnapshotId,
        /// What is to be done with it.
        action: SnapshotAction,
    }

    /// Overwrites a disk that nobody has open with the content of a plain image at most as large. Beyond the image's end
    /// the disk keeps what it had.
    ///
    /// Answers [`HostAnswer::Disk`](crate::HostAnswer::Disk).
    ReplaceContent {
        /// The disk.
        disk: Disk<'a>,
        /// Where the content comes from.
        source: SourceImage<'a>,
    }

    /// Compares what a guest would read with a plain image at most as large. What the disk has beyond the image's end must
    /// read as zeros, which the end of a raw LUKS disk that was never written does not.
    ///
    /// Answers [`HostAnswer::Compared`](crate::HostAnswer::Compared).
    CompareContent {
        /// The disk.
        disk: Disk<'a>,
        /// What it should hold.
        with: SourceImage<'a>,
    }

    /// Copies the header of a raw LUKS disk, key material included, into a file that is not there yet. Whoever has the file
    /// and the passphrase opens the disk, even after its keyslots were erased.
    ///
    /// Answers [`HostAnswer::Done`](crate::HostAnswer::Done).
    BackUpHeader {
        /// The disk.
        disk: Disk<'a>,
        /// The path of the new file.
        to: &'a Path,
    }

    /// Destroys every keyslot of an encrypted disk that nobody has open: afterwards no passphrase opens it. A disk whose slots are
    /// gone already, and one that is not there, are fine.
    ///
    /// Answers [`HostAnswer::Done`](crate::HostAnswer::Done).
    EraseKeyslots {
        /// Where it is.
        location: &'a DiskLocation,
        /// How its sectors lie there.
        format: DiskFormat,
    }

    /// Removes a disk file that nobody has open. One that is not there is fine; a directory, symlink or device is refused, and
    /// one that QEMU has open is [`Busy`](crate::ErrorKind::Busy).
    ///
    /// Answers [`HostAnswer::Done`](crate::HostAnswer::Done).
    DeleteDisk {
        /// Its path.
        path: &'a Path,
    }

    /// Removes what unfinished work left in a directory: files with staging names, and nothing else. Required: nobody works
    /// in the directory.
    ///
    /// Answers [`HostAnswer::Swept`](crate::HostAnswer::Swept).
    SweepStaging {
        /// The directory.
        path: &'a Path,
    }
}
