use std::path::PathBuf;

use strongroom_types::DiskTarget;

/// What is not said to libvirt, because it would do harm or come out as something else. Nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A character that XML does not carry unchanged: a control character, a tab, a line end, U+FFFE or U+FFFF.
    #[error("the character {0:?} cannot be said in libvirt's XML")]
    Character(char),
    /// A path that is not absolute.
    #[error("{0:?} is not an absolute path")]
    RelativePath(PathBuf),
    /// A path that is not UTF-8.
    #[error("{0:?} is not UTF-8, and cannot be said in libvirt's XML")]
    NotUtf8(PathBuf),
    /// A serial number that a virtio disk cannot have.
    #[error(
        "{0:?} is no serial number of a virtio disk: 1 to 20 characters of a-z, A-Z, 0-9, '.', '_' and '-'"
    )]
    Serial(String),
    /// Two disks at one target.
    #[error("two disks are to be {0}")]
    TargetTwice(String),
    /// No memory or no processor.
    #[error("a virtual machine needs at least 1 MiB of memory and one processor core")]
    NoMachine,
    /// To boot from a disk where there is none.
    #[error("there is no disk to boot from")]
    NothingToBoot,
    /// A command of QMP that carries a key in clear, or that ends the guest.
    #[error("{0} is not sent to QEMU's monitor: {1}")]
    Monitor(String, &'static str),
    /// An operation on disks that names none.
    #[error("no disk is named")]
    NoDisks,
    /// A disk that would become smaller, which QEMU does without a question.
    #[error("disk {target} has {from} bytes and would lose the end of its content with {to}")]
    Shrink {
        /// Which disk.
        target: DiskTarget,
        /// What the guest sees, in bytes.
        from: u64,
        /// What it was to see.
        to: u64,
    },
    /// A block device whose length gives another size than was asked for. QEMU takes all that is there.
    #[error(
        "the block device of disk {target} has room for {room} bytes, and the guest would see all of them instead of {asked}: make the device fit first"
    )]
    DeviceSize {
        /// Which disk.
        target: DiskTarget,
        /// What the guest would see, in bytes.
        room: u64,
        /// What it was to see.
        asked: u64,
    },
    /// Content of an encrypted disk would be written in clear.
    #[error("disk {target} is encrypted, and {what} is not: its content would lie there in clear{instead}")]
    InClear {
        /// Which disk.
        target: DiskTarget,
        /// What is not encrypted.
        what: &'static str,
        /// What to do instead, or nothing.
        instead: &'static str,
    },
    /// An overlay or incremental backup in a format that has no room for less than all.
    #[error(
        "the new image of disk {0} has to be qcow2: raw ones cannot leave out what lies in another image"
    )]
    NotQcow2(DiskTarget),
    /// A new image that one of the disks has already.
    #[error("{0:?} is an image of one of the machine's disks already")]
    InUse(PathBuf),
    /// A disk whose changes nobody remembers.
    #[error(
        "disk {0} is raw: only qcow2 disks remember what changed, take a full backup of it without checkpoint"
    )]
    NoChanges(DiskTarget),
    /// A disk that has no keyslots, for it is not encrypted.
    #[error("disk {0} is not encrypted")]
    NotEncrypted(DiskTarget),
    /// A raw LUKS disk whose keyslots QEMU was to change. QEMU 10.0 aborts of that, and the guest is gone.
    #[error(
        "QEMU cannot change the keyslots of raw LUKS disk {0} while it uses it: it aborts; change them on the file or device itself, with cryptsetup luksAddKey and luksRemoveKey, which is safe while the guest runs, for QEMU read the header when it opened the disk"
    )]
    RawKeyslots(DiskTarget),
    /// A disk that is not said, where it has to be known of all of them.
    #[error("disk {target} is not named, and {why}")]
    Unnamed {
        /// Which disk.
        target: DiskTarget,
        /// Why it has to be.
        why: &'static str,
    },
    /// A raw LUKS disk to be copied to another host whose length there is not known.
    #[error(
        "the copy of raw LUKS disk {0} would not fit: libvirt takes what the guest sees for the length of the whole, header included, unless the length of the other host's file or device is said"
    )]
    NoLength(DiskTarget),
    /// A way to another hypervisor that is not encrypted or leads nowhere else.
    #[error(
        "{0} is no encrypted way to another host's hypervisor: expected qemu+tls://, qemu+ssh://, qemu+libssh:// or qemu+libssh2:// with a host"
    )]
    OpenWay(String),
    /// A word that would not come out as it is meant.
    #[error("{0:?} is no host name")]
    HostName(String),
}
