use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use strongroom_endpoint_selector::{Boot, Vm};
use strongroom_types::{ByteSize, DiskTarget, HostId, VmId, VolumeId};

use crate::{ControlPlane, ControlPlaneError, JobKind, VmError, vm_table};

/// What a virtual machine boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum VmBoot {
    /// The boot loader on its first disk.
    Disk,
    /// A Linux kernel that its host gives it.
    Kernel {
        /// The kernel's absolute path on the host.
        kernel: PathBuf,
        /// The initial file system's absolute path on the host, if it has one.
        initramfs: Option<PathBuf>,
        /// The kernel's command line.
        command_line: String,
    },
}

impl VmBoot {
    pub(crate) fn for_host(&self) -> Boot<'_> {
        match self {
            Self::Disk => Boot::Disk,
            Self::Kernel {
                kernel,
                initramfs,
                command_line,
            } => Boot::Kernel {
                kernel,
                initramfs: initramfs.as_deref(),
                command_line,
            },
        }
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let (kernel, initramfs) = match self {
            Self::Disk => (None, None),
            Self::Kernel {
                kernel, initramfs, ..
            } => (Some(kernel), initramfs.as_ref()),
        };
        kernel.into_iter().chain(initramfs)
    }
}

/// A virtual machine that is to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewVm {
    /// Its id; without it one is made up.
    pub id: Option<VmId>,
    /// How much memory its guest has.
    pub memory: ByteSize,
    /// How many processor cores its guest has.
    pub cores: u32,
    /// What it boots.
    pub boot: VmBoot,
    /// A unix socket that its host makes, where the guest's first serial port is answered.
    pub console: Option<PathBuf>,
}

impl NewVm {
    /// A machine that boots from its first disk, without a console.
    #[must_use]
    pub fn new(memory: ByteSize, cores: u32) -> Self {
        Self {
            id: None,
            memory,
            cores,
            boot: VmBoot::Disk,
            console: None,
        }
    }
}

/// What a virtual machine is doing, as far as it is recorded. What the hypervisor says of it is
/// [`vm_facts`](ControlPlane::vm_facts).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VmStatus {
    /// It runs nowhere.
    Stopped,
    /// It was started on its host and not stopped since.
    Running,
    /// A job works on it, or worked on it when the process died.
    Working(JobKind),
    /// A job neither ended nor could be undone. The next [`recover`](ControlPlane::recover) tries again, and so does
    /// [`stop_vm`](ControlPlane::stop_vm).
    Failed(JobKind),
}

impl fmt::Display for VmStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Working(job) => job.participle(),
            Self::Failed(_) => "error",
        })
    }
}

/// A disk of a virtual machine as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmDiskRecord {
    /// Under which name.
    pub target: DiskTarget,
    /// Which volume.
    pub volume: VolumeId,
    /// Whether the guest may only read.
    pub read_only: bool,
}

impl VmDiskRecord {
    /// A volume that the guest reads and writes under this name.
    #[must_use]
    pub fn new(target: DiskTarget, volume: VolumeId) -> Self {
        Self {
            target,
            volume,
            read_only: false,
        }
    }

    /// The same for reading only.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }
}

/// A virtual machine as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmRecord {
    /// Its id.
    pub id: VmId,
    /// What it is doing.
    pub status: VmStatus,
    /// Where it runs, or may run: until it is stopped in order it is started nowhere else.
    pub host: Option<HostId>,
    /// How much memory its guest has.
    pub memory: ByteSize,
    /// How many processor cores its guest has.
    pub cores: u32,
    /// What it boots.
    pub boot: VmBoot,
    /// The unix socket on its host where its first serial port is answered.
    pub console: Option<PathBuf>,
    /// Its disks, vda before vdb, and vdz before vdaa. The first is the one that it boots.
    pub disks: Vec<VmDiskRecord>,
}

impl VmRecord {
    /// The machine for its host, without disks.
    pub(crate) fn for_host(&self) -> Vm<'_> {
        let vm = Vm::new(&self.id, self.memory, self.cores, self.boot.for_host());
        match &self.console {
            Some(socket) => vm.with_console(socket),
            None => vm,
        }
    }

    pub(crate) fn disk(&self, target: &DiskTarget) -> Result<&VmDiskRecord, VmError> {
        let mut disks = self.disks.iter();
        disks
            .find(|disk| disk.target == *target)
            .ok_or_else(|| VmError::NoDisk {
                vm: self.id.clone(),
                target: target.clone(),
            })
    }
}

/// Refuses what no host could start.
fn sound(id: &VmId, new: &NewVm) -> Result<(), ControlPlaneError> {
    for (what, lacks) in [
        ("memory", new.memory.get() == 0),
        ("processor cores", new.cores == 0),
    ] {
        if lacks {
            let vm = id.clone();
            return Err(VmError::Nothing { vm, what }.into());
        }
    }
    for path in new.boot.paths().chain(&new.console) {
        let path = path.clone();
        if !path.is_absolute() {
            return Err(ControlPlaneError::RelativePath { path });
        }
        if path.to_str().is_none() {
            return Err(VmError::NotText { path }.into());
        }
    }
    Ok(())
}

impl ControlPlane {
    /// Records a virtual machine without disks, which runs nowhere.
    ///
    /// # Errors
    /// [`Taken`](ControlPlaneError::Taken), [`RelativePath`](ControlPlaneError::RelativePath),
    /// [`VmError::Nothing`], [`VmError::NotText`], [`Store`](ControlPlaneError::Store).
    pub fn create_vm(&self, new: &NewVm) -> Result<VmRecord, ControlPlaneError> {
        let id = new.id.clone().unwrap_or_else(VmId::random);
        sound(&id, new)?;
        let record = VmRecord {
            id,
            status: VmStatus::Stopped,
            host: None,
            memory: new.memory,
            cores: new.cores,
            boot: new.boot.clone(),
            console: new.console.clone(),
            disks: Vec::new(),
        };
        tracing::debug!(vm = %record.id, "record a virtual machine");
        self.transact("record a virtual machine", |transaction| {
            vm_table::insert(transaction, &record)
        })?;
        Ok(record)
    }

    /// Every virtual machine, by id.
    ///
    /// # Errors
    /// [`ControlPlaneError::Store`], [`ControlPlaneError::DamagedRow`].
    pub fn vms(&self) -> Result<Vec<VmRecord>, ControlPlaneError> {
        self.read("list virtual machines", vm_table::list)
    }

    /// One virtual machine.
    ///
    /// # Errors
    /// [`ControlPlaneError::Unknown`], [`ControlPlaneError::Store`], [`ControlPlaneError::DamagedRow`].
    pub fn vm(&self, id: &VmId) -> Result<VmRecord, ControlPlaneError> {
        self.read("read a virtual machine", |connection| {
            vm_table::get(connection, id)
        })
    }

    /// Forgets a virtual machine that does not run. Its volumes stay, and belong to no machine.
    ///
    /// # Errors
    /// [`Unknown`](ControlPlaneError::Unknown), [`VmError::Runs`], [`VmError::Unfinished`], [`VmError::Busy`].
    pub fn delete_vm(&self, id: &VmId) -> Result<(), ControlPlaneError> {
        let _claim = self.vm_claims.take(id)?;
        let record = self.settled_vm(id)?;
        if let Some(host) = record.host {
            let vm = id.clone();
            return Err(VmError::Runs { vm, host }.into());
        }
        tracing::debug!(vm = %id, "forget a virtual machine");
        self.transact("forget a virtual machine", |transaction| {
            vm_table::forget(transaction, id)
        })
    }

    /// One virtual machine that no job has.
    pub(crate) fn settled_vm(&self, id: &VmId) -> Result<VmRecord, ControlPlaneError> {
        let record = self.vm(id)?;
        match record.status {
            VmStatus::Stopped | VmStatus::Running => Ok(record),
            VmStatus::Working(_) | VmStatus::Failed(_) => Err(self.unfinished_vm(id)),
        }
    }
}
