use std::path::Path;

use strongroom_types::{
    DeviceSize, DiskFormat, EncryptionFormat, GuestSize, InstallationId, PoolId, SnapshotId, VolumeId,
};

use crate::command_shape::commands;
use crate::{
    ContentDigest, ContentSource, Disk, DiskContent, DiskLocation, Protection, SourceImage, VmCommand,
};

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

impl<'a> From<VmCommand<'a>> for HostCommand<'a> {
    fn from(command: VmCommand<'a>) -> Self {
        Self::Vm(command)
    }
}

commands! {
    /// One piece of work for a host: with disks, or with the virtual machines that have them open.
    ///
    /// Keys are borrowed: a command that holds one cannot be stored, only run.
    enum HostCommand {
        /// Something with a virtual machine.
        Vm(VmCommand),
    }

    /// Looks at a directory that is to hold disks: it exists, is no symlink, what file system it is on and how that is mounted,
    /// which pool it was [marked](MarkDirectory) for, and how far the file system's clock is from the host's.
    ///
    /// A file system that does not answer is [`Io`](crate::ErrorKind::Io) within the call's deadline, and at the latest after 30
    /// seconds. Until it answers again, every command for a path on it is refused at once, and other file systems go on.
    ///
    /// Answers [`HostAnswer::Directory`](crate::HostAnswer::Directory).
    OpenDirectory {
        /// Its absolute path.
        path: &'a Path,
    }

    /// Marks a directory as that of a pool, for good. Marking it again for the same pool changes nothing; one that is marked for another
    /// pool, or for the pool of another owner, is [`AlreadyExists`](crate::ErrorKind::AlreadyExists) and stays as it is. A mark of the
    /// same pool without an owner gets this one.
    ///
    /// Answers [`HostAnswer::Directory`](crate::HostAnswer::Directory).
    MarkDirectory {
        /// Its absolute path.
        path: &'a Path,
        /// For which pool.
        pool: &'a PoolId;
        /// The installation whose pool it is. Two of them may have a pool of one name, and must not have one directory.
        owner: Option<&'a InstallationId>,
        /// A mark of the same pool of another owner is replaced, and that is meant: the other installation then refuses the directory.
        take_over: bool,
    }

    /// Makes a directory, which only its owner may enter. One that is there already is fine; a symlink or a file is refused.
    ///
    /// Answers [`HostAnswer::Done`](crate::HostAnswer::Done).
    MakeDirectory {
        /// Its absolute path. Its parent is there.
        path: &'a Path,
    }

    /// The names of the regular files of a directory, in no order. A directory with more than a million names is
    /// [`Unsupported`](crate::ErrorKind::Unsupported).
    ///
    /// Answers [`HostAnswer::Names`](crate::HostAnswer::Names).
    ListDirectory {
        /// Its absolute path.
        path: &'a Path,
    }

    /// Says which block device is at a path: its size and serial number, and whether something on this host uses it.
    ///
    /// Answers [`HostAnswer::Device`](crate::HostAnswer::Device).
    IdentifyDevice {
        /// Its absolute path.
        path: &'a Path,
    }

    /// Has the host notice that the storage made a block device larger, and says what it is now. A device that is as the host knew
    /// it is fine.
    ///
    /// Answers [`HostAnswer::Device`](crate::HostAnswer::Device).
    RescanDevice {
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
        content: DiskContent<'a>;
        /// What a guest must read of the whole disk's first bytes. One that comes out otherwise is
        /// [`UntrustedImage`](crate::ErrorKind::UntrustedImage), and gets no name.
        digest: Option<ContentDigest>,
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

    /// Writes an empty qcow2 disk onto a block device that is there and blank from end to end. What lies behind its tables is the
    /// disk's to grow into; a guest that fills more than the device has gets an error, so the storage makes the device larger in time.
    ///
    /// Anything that is not blank is [`AlreadyExists`](crate::ErrorKind::AlreadyExists) and stays untouched, but for an empty qcow2 disk of
    /// this size on this side of the cipher and on this base that the key opens, which is the answer, and for what the same command left when it was stopped.
    /// A disk is empty that has no snapshots and to which nothing was written; a finished disk does not say whose it is.
    ///
    /// Answers [`HostAnswer::Disk`](crate::HostAnswer::Disk).
    FormatQcow2 {
        /// Whose it becomes.
        volume: &'a VolumeId,
        /// The device.
        location: &'a DiskLocation,
        /// What the guest is to see, exactly.
        guest: GuestSize,
        /// Which side of the cipher it is on.
        protection: Protection<'a>;
        /// The plain image that it is to lie on, at most as large, which never changes and never goes while it does: a file, or a
        /// qcow2 image on a block device. The header names it by this path. `None`: it stands alone.
        base: Option<SourceImage<'a>>,
    }

    /// Reads a block device that nobody has open from end to end and finds nothing but zeros. Anything else is
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists), and the error says where it begins.
    ///
    /// Answers [`HostAnswer::Done`](crate::HostAnswer::Done).
    ProveBlank {
        /// The device. Of one with [`used`](crate::BlockDevice::used), so much.
        location: &'a DiskLocation;
        /// Look only at what is behind so many bytes. Then somebody may have the device open.
        from: Option<DeviceSize>,
    }

    /// Makes a block device that nobody has open read as zeros, whatever is there: first its beginning, with the header, then the rest.
    /// Thin storage may get its room back. Killed in between, the same command finishes.
    ///
    /// Answers [`HostAnswer::Done`](crate::HostAnswer::Done).
    BlankDevice {
        /// The device. Without an [identity](crate::BlockDevice::identity), or when it is a file, it is
        /// [`InvalidRequest`](crate::ErrorKind::InvalidRequest). Of one with [`used`](crate::BlockDevice::used), only so much is touched.
        location: &'a DiskLocation;
        /// Touch only what is behind so many bytes.
        from: Option<DeviceSize>,
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
        encryption: Option<EncryptionFormat>;
        /// A directory of plain images, on one of which a qcow2 disk may lie; which one is in the answer. Without it, a disk that
        /// lies on another image is [`WrongDisk`](crate::ErrorKind::WrongDisk).
        base_in: Option<&'a Path>,
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

    /// Makes a disk smaller: the guest then sees exactly `to`, and what was behind it is lost. Shrinking to the size that it has
    /// changes nothing; a larger size is refused, and so is one that cuts into a LUKS header. A block device is made smaller by its storage.
    ///
    /// A qcow2 disk that grows again reads as zeros behind the old end, unless snapshots were inside when it was made smaller: the
    /// rest of its last cluster then comes back. One that would lose more than 64 GiB is [`Unsupported`](crate::ErrorKind::Unsupported):
    /// copy what is to stay into a smaller disk.
    ///
    /// Answers [`HostAnswer::Disk`](crate::HostAnswer::Disk).
    ShrinkDisk {
        /// The disk.
        disk: Disk<'a>,
        /// What the guest is to see.
        to: GuestSize,
    }

    /// Copies into a disk that nobody has open all that it still reads from its base image, through its own cipher, and then lets go of
    /// the base. Afterwards the disk stands alone and its content is what it was. A disk that stands alone already is fine; one that
    /// was stopped in the middle still lies on its base, and the same command finishes it. The host may need room for all of it beside
    /// the old one. A disk with snapshots inside, which lie on the base as well, is [`Unsupported`](crate::ErrorKind::Unsupported).
    ///
    /// Answers [`HostAnswer::Disk`](crate::HostAnswer::Disk).
    FlattenDisk {
        /// The disk, with its base.
        disk: Disk<'a>,
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

    /// Overwrites a disk that nobody has open with the content of a plain image or of another disk, at most as large. Beyond its
    /// end the disk keeps what it had. Content of an encrypted disk is written to a plain one only as
    /// [`Declassified`](ContentSource::Declassified).
    ///
    /// Answers [`HostAnswer::Disk`](crate::HostAnswer::Disk).
    ReplaceContent {
        /// The disk.
        disk: Disk<'a>,
        /// Where the content comes from.
        source: ContentSource<'a>,
    }

    /// Compares what a guest would read with a plain image or with another disk at most as large. What the disk has beyond its end must
    /// read as zeros, which the end of a raw LUKS disk that was never written does not. Compared with another disk, what a raw LUKS disk
    /// in a file never got counts as zeros elsewhere.
    ///
    /// Answers [`HostAnswer::Compared`](crate::HostAnswer::Compared).
    CompareContent {
        /// The disk.
        disk: Disk<'a>,
        /// What it should hold.
        with: ContentSource<'a>,
    }

    /// Computes the SHA-256 of what a guest reads of a disk that nobody writes to, through its cipher. Nothing of the content is written
    /// anywhere but into memory. What a raw LUKS disk in a file never got, and where it therefore reads as noise, counts as zeros: so a
    /// copy has the digest of its source.
    ///
    /// Answers [`HostAnswer::Digest`](crate::HostAnswer::Digest).
    DigestContent {
        /// The disk.
        disk: Disk<'a>;
        /// Only so many bytes from its beginning; at most the disk's guest size.
        first: Option<GuestSize>,
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
