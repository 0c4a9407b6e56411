use strongroom_types::{Call, DiskTarget};

use crate::{LibvirtError, Machine, Refusal, Source};

/// Disks that become larger while the guest runs.
impl Machine<'_> {
    /// Makes a disk larger: the guest then sees exactly `to` bytes, at once. It needs no key. A disk of that size already is left alone.
    ///
    /// A raw LUKS file grows by itself, `to` is its payload. A block device is made larger by its storage first, and then has to have
    /// room for exactly `to`: QEMU takes all that is there, whatever it was asked. **The new part of a raw LUKS disk reads as noise**,
    /// that of a qcow2 as zeroes.
    ///
    /// # Errors
    /// [`Refusal::Shrink`]: QEMU would cut the content off without a question. [`Refusal::DeviceSize`] when the device has not been made
    /// larger, or is too large. [`LibvirtError::Busy`] when something works on the disk, [`LibvirtError::WrongNode`] when the size is
    /// another afterwards, [`LibvirtError::NoDisk`], and as [`Connection::run`](crate::Connection::run).
    pub fn grow_disk(&self, call: &Call, target: &DiskTarget, to: u64) -> Result<(), LibvirtError> {
        let disk = self.idle_disk(call, "blockresize", target)?;
        let node = self.node_of(call, target, &disk.image)?;
        let from = node.virtual_size;
        if to < from {
            let target = target.clone();
            return Err(Refusal::Shrink { target, from, to }.into());
        }
        if to == from {
            return Ok(());
        }
        if let (Some(Source::Block(_)), "luks" | "raw" | "host_device") =
            (&disk.image.source, node.driver.as_str())
        {
            self.check_room(call, target, &disk.image, from, to)?;
        }
        let resize = self
            .command("blockresize")
            .option("--path", target.as_str())
            .option("--size", format!("{to}B"));
        self.connection.run(call, &resize)?;
        let now = self.node_of(call, target, &disk.image)?.virtual_size;
        if now != to {
            return Err(LibvirtError::WrongNode {
                target: target.clone(),
                problem: format!("the guest sees {now} bytes instead of {to}"),
            });
        }
        Ok(())
    }

    /// Whether the device, without the header before the payload, is as long as the guest is to see. QEMU knows the device's length of
    /// when it was opened, and libvirt that of now.
    fn check_room(
        &self,
        call: &Call,
        target: &DiskTarget,
        image: &crate::LiveImage,
        from: u64,
        to: u64,
    ) -> Result<(), LibvirtError> {
        let storage = self.storage_of(call, target, image)?;
        let header = storage.virtual_size.saturating_sub(from);
        let room = self.block_info(call, target)?.physical.saturating_sub(header);
        if room == to {
            return Ok(());
        }
        let target = target.clone();
        Err(Refusal::DeviceSize {
            target,
            room,
            asked: to,
        }
        .into())
    }
}
