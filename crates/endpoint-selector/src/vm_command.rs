use strongroom_types::{CheckpointId, DiskTarget, GuestSize, PassphraseId, VmId, VolumeId};

use crate::command_shape::commands;
use crate::{HostCommand, Vm, VmBackup, VmDestination, VmDisk};

/// How a virtual machine is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopVmHow {
    /// The guest is asked, and has until the call's deadline.
    Shutdown,
    /// At once, as when the power fails.
    PowerOff,
}

/// Which of its disks a virtual machine takes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigratedStorage {
    /// None: both hosts reach them.
    Shared,
    /// All: the other host has [made room](crate::PrepareIncomingVm) for each.
    Copied,
}

commands! {
    /// One piece of work with a virtual machine.
    ///
    /// Promised of all of them: no disk that is encrypted becomes readable without its key, and nothing of a guest is written to storage or
    /// sent to another host in clear. The keys are in libvirt as ephemeral private secrets while a command needs them, and gone when it
    /// returns. Two commands for one machine at once: the second is [`Busy`](crate::ErrorKind::Busy). A machine that this host does not run
    /// is [`NotFound`](crate::ErrorKind::NotFound), and so is a target that it does not have.
    enum VmCommand {}

    /// Starts a machine. Every disk is inspected first and opened with its key: one that is not what the command says (plain for encrypted,
    /// another LUKS, a damaged header, another key) is [`WrongDisk`](crate::ErrorKind::WrongDisk) or [`WrongKey`](crate::ErrorKind::WrongKey) and nothing starts.
    /// After a failure nothing of it runs and no key stays. Starting one that runs with the same disks changes nothing.
    ///
    /// Answers [`HostAnswer::Vm`](crate::HostAnswer::Vm).
    StartVm {
        /// The machine.
        vm: Vm<'a>,
    }

    /// Stops a machine. One that does not run is fine. A guest that was asked and does not stop is [`Busy`](crate::ErrorKind::Busy) and runs on.
    ///
    /// Answers [`HostAnswer::Done`](crate::HostAnswer::Done).
    StopVm {
        /// The machine.
        vm: &'a VmId,
        /// How.
        how: StopVmHow,
    }

    /// Stops the guest's processors; its memory and disks stay as they are. Pausing one that is paused changes nothing.
    ///
    /// Answers [`HostAnswer::Vm`](crate::HostAnswer::Vm).
    PauseVm {
        /// The machine.
        vm: &'a VmId,
    }

    /// Lets a paused guest go on.
    ///
    /// Answers [`HostAnswer::Vm`](crate::HostAnswer::Vm).
    ResumeVm {
        /// The machine.
        vm: &'a VmId,
    }

    /// Says how the machine is, and what its disks are, as the hypervisor itself tells it.
    ///
    /// Answers [`HostAnswer::Vm`](crate::HostAnswer::Vm).
    InspectVm {
        /// The machine.
        vm: &'a VmId,
    }

    /// Brings order after the agent, the hypervisor's daemon or the host was restarted: secrets that nobody waits for go, and so do copies
    /// and backups that nobody finishes and the images that they wrote. Machines go on running.
    ///
    /// Answers [`HostAnswer::Vms`](crate::HostAnswer::Vms): those that this host runs.
    ReconcileVms {
        /// Machines that are on their way to this host; their secrets stay.
        incoming: &'a [&'a VmId],
    }

    /// Gives a running machine another disk, inspected and opened first as in [`StartVm`]. After a failure the machine is as it was. The
    /// same disk again at the same target changes nothing; another one there is [`AlreadyExists`](crate::ErrorKind::AlreadyExists).
    ///
    /// Answers [`HostAnswer::Vm`](crate::HostAnswer::Vm).
    AttachVmDisk {
        /// The machine.
        vm: &'a VmId,
        /// The disk.
        disk: VmDisk<'a>,
    }

    /// Takes a disk from a running machine, and returns when the hypervisor has let go of it. A guest that does not let go, for instance
    /// because it is paused, is [`Busy`](crate::ErrorKind::Busy). A target that is not there is fine.
    ///
    /// Answers [`HostAnswer::Vm`](crate::HostAnswer::Vm).
    DetachVmDisk {
        /// The machine.
        vm: &'a VmId,
        /// Which disk.
        target: &'a DiskTarget,
    }

    /// Makes a disk larger while the guest runs, which then sees exactly `to`. A smaller size is refused. A block device is made larger by its
    /// storage first; while it is too small, that is [`Unsupported`](crate::ErrorKind::Unsupported). The new part of a raw LUKS disk reads as noise.
    ///
    /// Answers [`HostAnswer::Vm`](crate::HostAnswer::Vm).
    GrowVmDisk {
        /// The machine.
        vm: &'a VmId,
        /// Which disk.
        target: &'a DiskTarget,
        /// What the guest is to see.
        to: GuestSize,
    }

    /// Freezes the content of disks at one instant: each goes on in a new qcow2 overlay that the host makes, encrypted from its first byte
    /// when the disk is, and what was there is not written any more. Disks that are not named are left out. When one cannot be, none is.
    ///
    /// Answers [`HostAnswer::Vm`](crate::HostAnswer::Vm).
    SnapshotVmDisks {
        /// The machine.
        vm: &'a VmId,
        /// The overlays: at which target, which new file, and what is to open it.
        overlays: &'a [VmDisk<'a>];
        /// Have the guest's agent flush and freeze its file systems meanwhile. Without an agent in the guest that is
        /// [`Unsupported`](crate::ErrorKind::Unsupported).
        freeze: bool,
    }

    /// Writes what an overlay holds into what it lies on, lets the guest go on there, and removes the overlay. A disk that lies on nothing is fine.
    ///
    /// Answers [`HostAnswer::Vm`](crate::HostAnswer::Vm).
    MergeVmDisk {
        /// The machine.
        vm: &'a VmId,
        /// Which disk.
        target: &'a DiskTarget,
    }

    /// Writes the content of disks at one instant into new encrypted disks, while the guest runs. After a failure none of them is there.
    ///
    /// Answers [`HostAnswer::Vm`](crate::HostAnswer::Vm).
    BackUpVmDisks {
        /// The machine.
        vm: &'a VmId,
        /// The disks, and where each goes.
        backups: &'a [VmBackup<'a>];
        /// Remember the instant under this name, for a later incremental backup. Only qcow2 disks can.
        checkpoint: Option<&'a CheckpointId>,
        /// Only what changed after this checkpoint. A checkpoint that is not whole any more, for instance because the hypervisor was killed, is
        /// [`Unsupported`](crate::ErrorKind::Unsupported): take a full backup.
        since: Option<&'a CheckpointId>,
    }

    /// Writes the memory of a machine into a new encrypted file, and stops it. [`RestoreVm`] lets it go on from there.
    ///
    /// Answers [`HostAnswer::Disk`](crate::HostAnswer::Disk): the file with the memory.
    SaveVm {
        /// The machine.
        vm: &'a VmId,
        /// The new file: a raw LUKS1 disk in a file.
        memory: VmDisk<'a>,
    }

    /// Lets a saved machine go on. The disks must be as they were when it was saved, or overlays on them. The file with the memory stays.
    ///
    /// Answers [`HostAnswer::Vm`](crate::HostAnswer::Vm).
    RestoreVm {
        /// The machine, with its disks and their keys.
        vm: Vm<'a>,
        /// The file with the memory.
        memory: VmDisk<'a>,
    }

    /// Copies a disk into a new one while the guest runs, under another key or into another pool, and lets the guest go on there. The new disk
    /// is looked at before the guest depends on it. What was there before stays where it is and is not written any more: it is the caller's to erase.
    /// To a plain disk from an encrypted one is [`InvalidRequest`](crate::ErrorKind::InvalidRequest).
    ///
    /// Answers [`HostAnswer::Vm`](crate::HostAnswer::Vm).
    CopyVmDisk {
        /// The machine.
        vm: &'a VmId,
        /// The new disk, at the target of the old one. A file is made; a block device is blank or formatted for this volume.
        to: VmDisk<'a>,
    }

    /// Copies into an overlay all that it still reads from what it lies on, while the guest runs, and lets go of that.
    ///
    /// Answers [`HostAnswer::Vm`](crate::HostAnswer::Vm).
    FlattenVmDisk {
        /// The machine.
        vm: &'a VmId,
        /// Which disk.
        target: &'a DiskTarget,
    }

    /// Gives a disk another passphrase while the guest runs: into a free keyslot, proved to open, and only then is the old one removed. The volume
    /// key stays, so a copy of the old header with the old passphrase still opens the disk. Where this hypervisor cannot do it safely it is
    /// [`Unsupported`](crate::ErrorKind::Unsupported), and the message says what can be done.
    ///
    /// Answers [`HostAnswer::Vm`](crate::HostAnswer::Vm).
    ChangeVmDiskKey {
        /// The machine.
        vm: &'a VmId,
        /// The disk with what opens it now.
        disk: VmDisk<'a>,
        /// What is to open it.
        to: &'a strongroom_secret::Passphrase;
        /// Under which name the new passphrase is known.
        named: Option<&'a PassphraseId>,
    }

    /// Makes this host ready to take a machine over: the keys of its disks are there, and the disks are what the command says. With
    /// [`MigratedStorage::Copied`], disks that are not there are made, encrypted, of the given sizes.
    ///
    /// Answers [`HostAnswer::Done`](crate::HostAnswer::Done).
    PrepareIncomingVm {
        /// The machine.
        vm: Vm<'a>,
        /// Whether the disks come along.
        storage: MigratedStorage,
        /// What the guest sees of each disk, in their order.
        sizes: &'a [GuestSize],
    }

    /// Sends a running machine to a host that is [ready for it](PrepareIncomingVm), inside TLS. After a failure it runs here and nowhere else.
    ///
    /// Answers [`HostAnswer::Done`](crate::HostAnswer::Done).
    MigrateVm {
        /// The machine.
        vm: &'a VmId,
        /// Where it goes.
        to: VmDestination<'a>,
        /// Whether the disks come along.
        storage: MigratedStorage,
    }

    /// Ends a takeover, on the host that was made ready: the keys go. When the machine did not come, what was made for it goes as well.
    ///
    /// Answers [`HostAnswer::Vms`](crate::HostAnswer::Vms): the machine, or nothing when it did not come.
    FinishIncomingVm {
        /// The machine.
        vm: &'a VmId,
        /// Its volumes.
        volumes: &'a [&'a VolumeId],
    }
}

macro_rules! straight_to_the_host {
    ($($name:ident),+ $(,)?) => {$(
        impl<'a> From<crate::$name<'a>> for HostCommand<'a> {
            fn from(command: crate::$name<'a>) -> Self {
                Self::Vm(command.into())
            }
        }
    )+};
}

straight_to_the_host!(
    StartVm,
    StopVm,
    PauseVm,
    ResumeVm,
    InspectVm,
    ReconcileVms,
    AttachVmDisk,
    DetachVmDisk,
    GrowVmDisk,
    SnapshotVmDisks,
    MergeVmDisk,
    BackUpVmDisks,
    SaveVm,
    RestoreVm,
    CopyVmDisk,
    FlattenVmDisk,
    ChangeVmDiskKey,
    PrepareIncomingVm,
    MigrateVm,
    FinishIncomingVm,
);
