use std::path::PathBuf;

use super::LabError;
use crate::cache::Cache;
use crate::guest::{add_busybox, add_modules};
use crate::kernel::Kernel;
use crate::root::Root;

/// The first process of such a guest.
const INIT: &str = include_str!("console.sh");

/// Loaded in this order, each after those that it needs. `ext4` brings the file system of a guest's own disks.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "virtio_console", "ext4", "fuse"];

/// Only a panic is worth a line on the console, where answers are. The rest saves time under emulation.
const COMMAND_LINE: &str = "console=ttyS0 loglevel=1 panic=-1 rdinit=/init mitigations=off nowatchdog random.trust_cpu=on \
                            tsc=reliable no_timer_check";

/// What a guest on a hypervisor boots from: Debian's kernel and a busybox in memory that answers on the serial console
/// ([`Console`](super::Console)). Its disks are `/dev/vda`, `/dev/vdb`.. of the bus `virtio`.
///
/// The files lie where cargo builds and are the same on both hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuestImage {
    /// For `<kernel>` of a domain's `<os>`.
    pub kernel: PathBuf,
    /// For `<initrd>`.
    pub initramfs: PathBuf,
    /// For `<cmdline>`. The first serial port has to be the console's.
    pub cmdline: String,
}

impl GuestImage {
    /// The image, built when it is not there yet. 128 MiB of memory are enough for the guest.
    ///
    /// # Errors
    /// [`LabError::Image`] when there is no kernel, [`LabError::Tool`] when there is no busybox.
    pub fn ready() -> Result<Self, LabError> {
        let kernel = Kernel::newest()?;
        let mut root = Root::new();
        root.text("/init", 0o755, INIT);
        add_modules(&mut root, &kernel, &MODULES)?;
        add_busybox(&mut root, |_| false)?;
        Ok(Self {
            initramfs: Cache::of_this_program()?.path_of("console", &root)?,
            kernel: kernel.image,
            cmdline: COMMAND_LINE.to_owned(),
        })
    }
}
