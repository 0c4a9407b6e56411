use strongroom_types::{DiskFormat, DiskTarget, EncryptionFormat, GuestSize, VmId};

use crate::DiskLocation;

/// How a virtual machine is, as the hypervisor tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmFacts {
    /// Which machine.
    pub id: VmId,
    /// Whether it runs.
    pub state: VmState,
    /// Its disks, by target.
    pub disks: Vec<VmDiskFacts>,
}

impl VmFacts {
    /// A machine with these disks.
    #[must_use]
    pub fn new(id: VmId, state: VmState, disks: Vec<VmDiskFacts>) -> Self {
        Self { id, state, disks }
    }

    /// The disk at this target.
    #[must_use]
    pub fn disk(&self, target: &DiskTarget) -> Option<&VmDiskFacts> {
        self.disks.iter().find(|disk| disk.target == *target)
    }
}

/// Whether a virtual machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VmState {
    /// Its processors run.
    Running,
    /// It is there, and its processors are stopped because somebody asked.
    Paused,
    /// The hypervisor stopped it after a disk gave an error, such as a file system that is full.
    Stopped,
    /// It goes down.
    ShuttingDown,
}

/// What a disk of a running machine is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmDiskFacts {
    /// Under which name.
    pub target: DiskTarget,
    /// Where it is; of a chain of overlays, the uppermost.
    pub location: DiskLocation,
    /// How its sectors lie there.
    pub format: DiskFormat,
    /// Through which LUKS the hypervisor reads it; `None` for a plain disk.
    pub encryption: Option<EncryptionFormat>,
    /// What the guest sees.
    pub guest: GuestSize,
    /// What it lies on, from the next below to the lowest.
    pub below: Vec<DiskLocation>,
}

impl VmDiskFacts {
    /// A disk that lies on nothing.
    #[must_use]
    pub fn new(
        target: DiskTarget,
        location: DiskLocation,
        format: DiskFormat,
        encryption: Option<EncryptionFormat>,
        guest: GuestSize,
    ) -> Self {
        Self {
            target,
            location,
            format,
            encryption,
            guest,
            below: Vec::new(),
        }
    }

    /// The same on these.
    #[must_use]
    pub fn on(mut self, below: Vec<DiskLocation>) -> Self {
        self.below = below;
        self
    }
}
