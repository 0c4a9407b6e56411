use strongroom_types::{Call, DiskTarget};

use crate::disk_job::failed;
use crate::node_check::wrong;
use crate::{LibvirtError, LiveImage, Machine, Refusal};

const WORK: &str = "flattening";

/// Overlays that take all in.
impl Machine<'_> {
    /// Copies into the uppermost overlay of a disk all that the guest still reads from what it lies on, and lets go of that. It needs no
    /// key. What it returns are the images that the disk does not lie on any more, from the next below to the lowest.
    ///
    /// So a disk that lies encrypted on a plain template becomes one that has nothing in clear. The template stays as it is.
    ///
    /// # Errors
    /// [`Refusal::InClear`] when something below is encrypted and the overlay is not. [`LibvirtError::Busy`], [`LibvirtError::JobFailed`],
    /// [`LibvirtError::Interrupted`], and as [`Connection::run`](crate::Connection::run). Then the disk lies on the same as before, and
    /// nothing is at work, unless libvirt could not be reached: what was copied stays in the overlay.
    pub fn flatten_disk(&self, call: &Call, target: &DiskTarget) -> Result<Vec<LiveImage>, LibvirtError> {
        let disk = self.idle_disk(call, "blockpull", target)?;
        if disk.backing.is_empty() {
            return Ok(Vec::new());
        }
        if disk.is_encrypted() && disk.image.encryption.is_none() {
            return Err(Refusal::InClear {
                target: target.clone(),
                what: "its overlay",
                instead: "; copy it to an encrypted image",
            }
            .into());
        }
        let begin = self.command("blockpull").option("--path", target.as_str());
        match self.connection.run(call, &begin) {
            Ok(_) => {}
            Err(error @ LibvirtError::Interrupted { .. }) => return Err(self.abandoned(target, error)),
            Err(error) => return Err(error),
        }
        self.until_idle(call, WORK, target)
            .map_err(|error| self.abandoned(target, error))?;
        let now = self.disk(call, "blockpull", target)?;
        if !now.backing.is_empty() {
            return Err(failed(
                WORK,
                target,
                "it still lies on something; the usual reasons are storage that is full or gives errors",
            ));
        }
        let node = self.node_of(call, target, &now.image)?;
        if now.image.source != disk.image.source || node.encrypted != disk.image.encryption.is_some() {
            return Err(wrong(target, format!("QEMU has it as {}", node.driver)));
        }
        Ok(disk.backing)
    }
}
