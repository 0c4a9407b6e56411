use serde::{Deserialize, Serialize};
use strongroom_endpoint_selector::{Boot, Vm, VmBackup, VmDestination, VmDisk};
use strongroom_types::{ByteSize, DiskTarget, PassphraseId, VmId, VolumeId};

use super::disk::WireDisk;
use super::lend::{WirePath, lent, slices};
use super::{Lend, Mirror};

/// A disk of a virtual machine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireVmDisk<'a> {
    target: DiskTarget,
    volume: VolumeId,
    disk: WireDisk<'a>,
    passphrase: Option<PassphraseId>,
    read_only: bool,
    discard: bool,
}

impl<'a> Mirror for VmDisk<'a> {
    type Wire = WireVmDisk<'a>;
    fn mirror(self) -> Option<WireVmDisk<'a>> {
        Some(WireVmDisk {
            target: self.target.clone(),
            volume: self.volume.clone(),
            disk: self.disk.mirror()?,
            passphrase: self.passphrase.cloned(),
            read_only: self.read_only,
            discard: self.discard,
        })
    }
}

lent!(WireVmDisk<'_> => VmDisk<'h>, |disk| {
    let lent = VmDisk::new(&disk.target, &disk.volume, disk.disk.hold())
        .opened_by(disk.passphrase.as_ref())
        .with_discard(disk.discard);
    if disk.read_only { lent.read_only() } else { lent }
});

/// One disk of a backup.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireVmBackup<'a> {
    target: DiskTarget,
    to: WireVmDisk<'a>,
}

impl<'a> Mirror for VmBackup<'a> {
    type Wire = WireVmBackup<'a>;
    fn mirror(self) -> Option<WireVmBackup<'a>> {
        Some(WireVmBackup {
            target: self.target.clone(),
            to: self.to.mirror()?,
        })
    }
}

lent!(WireVmBackup<'_> => VmBackup<'h>, |backup| VmBackup::new(&backup.target, backup.to.hold()));

slices!(WireVmDisk<'a> => VmDisk<'s>, VmDisk<'h>; WireVmBackup<'a> => VmBackup<'s>, VmBackup<'h>);

/// What a machine boots.
#[derive(Debug, Serialize, Deserialize)]
enum WireBoot {
    Disk,
    Kernel {
        kernel: WirePath,
        initramfs: Option<WirePath>,
        command_line: String,
    },
}

/// A virtual machine.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireVm<'a> {
    id: VmId,
    memory: ByteSize,
    cores: u32,
    boot: WireBoot,
    disks: Vec<WireVmDisk<'a>>,
    console: Option<WirePath>,
    paused: bool,
}

impl<'a> Mirror for Vm<'a> {
    type Wire = WireVm<'a>;
    fn mirror(self) -> Option<WireVm<'a>> {
        Some(WireVm {
            id: self.id.clone(),
            memory: self.memory,
            cores: self.cores,
            boot: match self.boot {
                Boot::Disk => WireBoot::Disk,
                Boot::Kernel {
                    kernel,
                    initramfs,
                    command_line,
                } => WireBoot::Kernel {
                    kernel: kernel.into(),
                    initramfs: initramfs.map(Into::into),
                    command_line: command_line.to_owned(),
                },
                _ => return None,
            },
            disks: self.disks.mirror()?,
            console: self.console.map(Into::into),
            paused: self.paused,
        })
    }
}

impl Lend for WireVm<'_> {
    type Held<'s>
        = (Vm<'s>, Vec<VmDisk<'s>>)
    where
        Self: 's;
    type Lent<'h>
        = Vm<'h>
    where
        Self: 'h;
    fn hold(&self) -> Self::Held<'_> {
        let boot = match &self.boot {
            WireBoot::Disk => Boot::Disk,
            WireBoot::Kernel {
                kernel,
                initramfs,
                command_line,
            } => Boot::Kernel {
                kernel: kernel.as_path(),
                initramfs: initramfs.as_ref().map(WirePath::as_path),
                command_line,
            },
        };
        let mut vm = Vm::new(&self.id, self.memory, self.cores, boot);
        vm.console = self.console.as_ref().map(WirePath::as_path);
        vm.paused = self.paused;
        (vm, self.disks.hold())
    }
    fn lend<'h, 's: 'h>((vm, disks): &'h Self::Held<'s>) -> Vm<'h>
    where
        Self: 's,
    {
        let vm: Vm<'h> = *vm;
        vm.with_disks(disks)
    }
}

/// Where a machine goes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireDestination {
    uri: String,
    certificate_name: Option<String>,
}

impl Mirror for VmDestination<'_> {
    type Wire = WireDestination;
    fn mirror(self) -> Option<WireDestination> {
        Some(WireDestination {
            uri: self.uri.to_owned(),
            certificate_name: self.certificate_name.map(str::to_owned),
        })
    }
}

lent!(WireDestination => VmDestination<'h>, |to| {
    VmDestination::new(&to.uri).named(to.certificate_name.as_deref())
});
