use std::path::Path;

use strongroom_types::{ByteSize, DiskTarget, PassphraseId, VmId, VolumeId};

use crate::Disk;

/// A virtual machine to run, with its disks and what opens them.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Vm<'a> {
    /// Which one. A host runs no two of the same id.
    pub id: &'a VmId,
    /// How much memory the guest has.
    pub memory: ByteSize,
    /// How many processor cores the guest has, at least one.
    pub cores: u32,
    /// What it boots.
    pub boot: Boot<'a>,
    /// Its disks, in the order in which the guest's firmware looks at them. No two have the same target.
    pub disks: &'a [VmDisk<'a>],
    /// A unix socket that the host is to make, where the guest's first serial port is answered. `None`: there is no serial port.
    pub console: Option<&'a Path>,
    /// Whether the guest is made but does not run before it is [resumed](crate::ResumeVm).
    pub paused: bool,
}

impl<'a> Vm<'a> {
    /// A machine without disks and console, that runs at once.
    #[must_use]
    pub fn new(id: &'a VmId, memory: ByteSize, cores: u32, boot: Boot<'a>) -> Self {
        Self {
            id,
            memory,
            cores,
            boot,
            disks: &[],
            console: None,
            paused: false,
        }
    }

    /// The same with these disks.
    #[must_use]
    pub fn with_disks(mut self, disks: &'a [VmDisk<'a>]) -> Self {
        self.disks = disks;
        self
    }

    /// The same with its serial port on this unix socket.
    #[must_use]
    pub fn with_console(mut self, socket: &'a Path) -> Self {
        self.console = Some(socket);
        self
    }

    /// The same, waiting to be resumed.
    #[must_use]
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }
}

/// What a virtual machine boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Boot<'a> {
    /// The boot loader on its first disk.
    Disk,
    /// A Linux kernel that the host gives it.
    Kernel {
        /// The kernel's absolute path.
        kernel: &'a Path,
        /// The initial file system's absolute path, if it has one.
        initramfs: Option<&'a Path>,
        /// The kernel's command line.
        command_line: &'a str,
    },
}

/// A disk as a guest has it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct VmDisk<'a> {
    /// Under which name the host and, as a rule, the guest know it.
    pub target: &'a DiskTarget,
    /// Which volume it is. The guest sees this as the disk's serial number, cut to 20 bytes.
    pub volume: &'a VolumeId,
    /// The disk, and what opens it.
    pub disk: Disk<'a>,
    /// Which passphrase of the volume opens it. Two of one volume are never mistaken for each other.
    pub passphrase: Option<&'a PassphraseId>,
    /// Whether the guest may only read.
    pub read_only: bool,
    /// Whether what the guest discards is given back to the storage. Raw LUKS ignores it.
    pub discard: bool,
}

impl<'a> VmDisk<'a> {
    /// A disk that the guest reads and writes, and of which nothing is given back.
    #[must_use]
    pub fn new(target: &'a DiskTarget, volume: &'a VolumeId, disk: Disk<'a>) -> Self {
        Self {
            target,
            volume,
            disk,
            passphrase: None,
            read_only: false,
            discard: false,
        }
    }

    /// The same, opened by this passphrase.
    #[must_use]
    pub fn opened_by(mut self, passphrase: Option<&'a PassphraseId>) -> Self {
        self.passphrase = passphrase;
        self
    }

    /// The same, for reading only.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// The same, and what the guest discards is given back, or not.
    #[must_use]
    pub fn with_discard(mut self, discard: bool) -> Self {
        self.discard = discard;
        self
    }
}

/// One disk of a backup.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct VmBackup<'a> {
    /// Which disk of the guest.
    pub target: &'a DiskTarget,
    /// Where it goes: a disk that the host makes, under a key of its own.
    pub to: VmDisk<'a>,
}

impl<'a> VmBackup<'a> {
    /// The disk at `target`, backed up into `to`.
    #[must_use]
    pub fn new(target: &'a DiskTarget, to: VmDisk<'a>) -> Self {
        Self { target, to }
    }
}

/// Where a virtual machine goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmDestination<'a> {
    /// The other host's hypervisor as this host reaches it, a libvirt URI.
    pub uri: &'a str,
    /// The name that is in the other host's certificate, where it is not the one in `uri`.
    pub certificate_name: Option<&'a str>,
}

impl<'a> VmDestination<'a> {
    /// The hypervisor at this URI.
    #[must_use]
    pub fn new(uri: &'a str) -> Self {
        Self {
            uri,
            certificate_name: None,
        }
    }

    /// The same, with another name in its certificate.
    #[must_use]
    pub fn named(mut self, certificate_name: Option<&'a str>) -> Self {
        self.certificate_name = certificate_name;
        self
    }
}
