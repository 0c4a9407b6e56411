use std::path::PathBuf;

use strongroom_types::{DiskTarget, HostId, VmId, VolumeId};

use crate::{ControlPlaneError, JobKind};

/// Why work on a virtual machine, or on a volume because of one, was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VmError {
    /// Somebody works on the virtual machine just now.
    #[error("somebody works on virtual machine {vm} just now; wait for it to end")]
    Busy {
        /// The virtual machine.
        vm: VmId,
    },
    /// Earlier work on the virtual machine neither ended nor could be undone.
    #[error(
        "virtual machine {vm} has an unfinished job, to {job}{}; it is finished or undone at the next start, or when the virtual machine is \
         stopped",
        .failure.as_ref().map(|f| format!(" ({f})")).unwrap_or_default()
    )]
    Unfinished {
        /// The virtual machine.
        vm: VmId,
        /// What was begun.
        job: JobKind,
        /// Why it did not end.
        failure: Option<String>,
    },
    /// A guest has the volume open, or may have.
    #[error(
        "volume {volume} is disk {target} of virtual machine {vm}, which runs on host {host}; stop it first"
    )]
    InUse {
        /// The volume.
        volume: VolumeId,
        /// Under which name its guest has it.
        target: DiskTarget,
        /// The virtual machine.
        vm: VmId,
        /// Where it runs.
        host: HostId,
    },
    /// The volume is a disk of a virtual machine.
    #[error(
        "volume {volume} is disk {target} of virtual machine {vm}; detach it first, or delete the virtual machine"
    )]
    HasVolume {
        /// The volume.
        volume: VolumeId,
        /// Under which name its guest has it.
        target: DiskTarget,
        /// The virtual machine.
        vm: VmId,
    },
    /// The virtual machine has another volume there.
    #[error(
        "virtual machine {vm} has a disk {target} already, volume {volume}; choose another name, or detach that one"
    )]
    TargetTaken {
        /// The virtual machine.
        vm: VmId,
        /// The name.
        target: DiskTarget,
        /// The volume that is there.
        volume: VolumeId,
    },
    /// The virtual machine has no such disk.
    #[error("virtual machine {vm} has no disk {target}")]
    NoDisk {
        /// The virtual machine.
        vm: VmId,
        /// The name that was asked for.
        target: DiskTarget,
    },
    /// The virtual machine has no disk to boot from.
    #[error("virtual machine {vm} boots from its first disk and has none; attach a volume")]
    NothingToBoot {
        /// The virtual machine.
        vm: VmId,
    },
    /// The virtual machine runs.
    #[error("virtual machine {vm} runs on host {host}; stop it first")]
    Runs {
        /// The virtual machine.
        vm: VmId,
        /// Where it runs.
        host: HostId,
    },
    /// The virtual machine went down by itself, or somebody else ended it.
    #[error(
        "virtual machine {vm} is recorded as running on host {host}, which does not run it any more; stop it, so that its disks are free"
    )]
    Ended {
        /// The virtual machine.
        vm: VmId,
        /// Where it ran.
        host: HostId,
    },
    /// A virtual machine without memory or cores.
    #[error("virtual machine {vm} has no {what}; give it some")]
    Nothing {
        /// The virtual machine.
        vm: VmId,
        /// What it lacks.
        what: &'static str,
    },
    /// A path that is no text.
    #[error("the path {path:?} is not UTF-8, so that no hypervisor can be told of it; choose another")]
    NotText {
        /// The path.
        path: PathBuf,
    },
    /// The hypervisor has not what it was told to have.
    #[error("virtual machine {vm} is not what its record says: {problem}")]
    Mismatch {
        /// The virtual machine.
        vm: VmId,
        /// The difference.
        problem: String,
    },
    /// Work failed, and undoing it failed as well. The job is kept, and the next start tries again.
    #[error(
        "it failed, and virtual machine {vm} cannot be brought back in order now: {undo}; the next start tries again, and so does stopping it"
    )]
    NotUndone {
        /// The virtual machine.
        vm: VmId,
        /// Why it could not be undone.
        undo: String,
        /// Why the work failed.
        source: Box<ControlPlaneError>,
    },
}
