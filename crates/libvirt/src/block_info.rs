use strongroom_types::{Call, DiskTarget};

use crate::{LibvirtError, Machine};

/// How large a disk is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockInfo {
    /// What the guest sees. Of a raw LUKS disk of a running machine, the payload.
    pub capacity: u64,
    /// What it takes on the storage.
    pub allocation: u64,
    /// How long the file or device is, headers included.
    pub physical: u64,
}

impl Machine<'_> {
    /// How large a disk is.
    ///
    /// # Errors
    /// [`LibvirtError::NoDisk`], [`LibvirtError::NoDomain`], [`LibvirtError::Output`], and as
    /// [`Connection::run`](crate::Connection::run).
    pub fn block_info(&self, call: &Call, target: &DiskTarget) -> Result<BlockInfo, LibvirtError> {
        let ask = self.command("domblkinfo").option("--device", target.as_str());
        let printed = self.connection.run(call, &ask)?;
        let number = |name: &str| {
            printed
                .lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
                .ok_or_else(|| ask.unreadable(format!("it has no {name}")))
        };
        Ok(BlockInfo {
            capacity: number("Capacity:")?,
            allocation: number("Allocation:")?,
            physical: number("Physical:")?,
        })
    }
}
