use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use strongroom_types::{ByteSize, DiskTarget, HostId, VmId, VolumeId};

/// A disk as it is said: a volume, and after a colon under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) volume: VolumeId,
    /// The next free name when it is not said.
    pub(crate) target: Option<DiskTarget>,
}

impl FromStr for Disk {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (volume, target) = match text.split_once(':') {
            Some((volume, target)) => (volume, Some(target)),
            None => (text, None),
        };
        Ok(Self {
            volume: volume.parse().map_err(|e| format!("{e}"))?,
            target: target.map(str::parse).transpose().map_err(|e| format!("{e}"))?,
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct VmCreate {
    /// Its id; without it one is made up.
    pub(crate) id: Option<VmId>,
    /// How much memory its guest has, such as 2G.
    #[arg(long, default_value = "1G")]
    pub(crate) memory: ByteSize,
    /// How many processor cores its guest has.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cores: u32,
    /// A volume that is to be a disk of it, and after a colon under which name, such as root-1:vda; without that the next free one. The
    /// first disk is the one that it boots. Can be said again.
    #[arg(long = "disk", value_name = "VOLUME[:NAME]")]
    pub(crate) disks: Vec<Disk>,
    /// A Linux kernel for it, a file on its host, in place of the boot loader on its first disk.
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,
    /// The kernel's initial file system.
    #[arg(long, value_name = "FILE", requires = "kernel")]
    pub(crate) initramfs: Option<PathBuf>,
    /// The kernel's command line.
    #[arg(
        long,
        value_name = "TEXT",
        requires = "kernel",
        default_value = "console=ttyS0"
    )]
    pub(crate) command_line: String,
    /// A unix socket that its host makes, where its first serial port is answered.
    #[arg(long, value_name = "FILE")]
    pub(crate) console: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Vm {
    /// Records a virtual machine. It is not started.
    Create(VmCreate),
    /// Lists the virtual machines.
    List,
    /// Shows a virtual machine, and what the hypervisor says of it when it runs.
    Show {
        /// Which virtual machine.
        id: VmId,
    },
    /// Starts a virtual machine on a host that can open all of its volumes. One that runs is left as it is.
    Start {
        /// Which virtual machine.
        id: VmId,
        /// The host; without it the one with the most free memory that can do it.
        #[arg(long)]
        host: Option<HostId>,
    },
    /// Stops a virtual machine: the guest is asked, and has until --timeout, or two minutes. One that does not run is fine.
    Stop {
        /// Which virtual machine.
        id: VmId,
        /// Does not ask, as when the power fails.
        #[arg(long)]
        power_off: bool,
    },
    /// Gives a virtual machine a volume, at once when it runs.
    Attach {
        /// Which virtual machine.
        id: VmId,
        /// The volume, and after a colon under which name, such as data-1:vdb; without that the next free one.
        #[arg(value_name = "VOLUME[:NAME]")]
        disk: Disk,
        /// The guest may only read.
        #[arg(long)]
        read_only: bool,
    },
    /// Takes a disk from a virtual machine, at once when it runs. The volume stays.
    Detach {
        /// Which virtual machine.
        id: VmId,
        /// Under which name it has the disk, such as vdb.
        target: DiskTarget,
    },
    /// Forgets a virtual machine that does not run. Its volumes stay.
    Delete {
        /// Which virtual machine.
        id: VmId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_a_volume_with_or_without_a_name() {
        let disk = |text: &str| text.parse::<Disk>();
        let (volume, target) = ("root-1".parse().unwrap(), "vdb".parse().unwrap());
        let expected = Disk {
            volume,
            target: Some(target),
        };
        assert_eq!(disk("root-1:vdb").unwrap(), expected);
        assert_eq!(disk("root-1").unwrap().target, None);
        let refused = disk("root-1:sda").unwrap_err();
        assert!(refused.contains("vd and one or two letters"), "{refused}");
    }
}
