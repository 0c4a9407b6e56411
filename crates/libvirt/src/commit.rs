use strongroom_types::{Call, DiskTarget};

use crate::{LibvirtError, LiveImage, Machine, Refusal};

const WORK: &str = "merge";

/// Overlays that are written back.
impl Machine<'_> {
    /// Writes what the uppermost overlay of a disk holds into what it lies on, and lets the guest go on there. It needs no key. What it
    /// returns is the overlay: it is not in use any more, still has its content, and is the caller's to remove. A disk that lies on
    /// nothing is fine: `None`.
    ///
    /// When the disk was made larger meanwhile, a qcow2 below grows with it; a block device below has to have been made larger by its
    /// storage, else that is [`LibvirtError::JobFailed`] and can be tried again.
    ///
    /// # Errors
    /// [`Refusal::InClear`] when the overlay is encrypted and what it lies on is not. [`LibvirtError::Busy`], [`LibvirtError::JobFailed`],
    /// [`LibvirtError::Interrupted`], and as [`Connection::run`](crate::Connection::run). Then the guest is on the overlay as before, and no
    /// merge is at work, unless libvirt could not be reached: what it has written below is what the guest sees anyway.
    pub fn merge_overlay(&self, call: &Call, target: &DiskTarget) -> Result<Option<LiveImage>, LibvirtError> {
        let disk = self.idle_disk(call, "blockcommit", target)?;
        let Some(below) = disk.backing.first().cloned() else {
            return Ok(None);
        };
        if disk.image.encryption.is_some() && below.encryption.is_none() {
            return Err(Refusal::InClear {
                target: target.clone(),
                what: "what it lies on",
                instead: "; flatten it",
            }
            .into());
        }
        let begin = self
            .command("blockcommit")
            .option("--path", target.as_str())
            .word("--active")
            .word("--shallow");
        match self.connection.run(call, &begin) {
            Ok(_) => {}
            Err(error @ LibvirtError::Interrupted { .. }) => return Err(self.abandoned(target, error)),
            Err(error) => return Err(error),
        }
        self.until_ready(call, WORK, target)
            .and_then(|_| self.pivot_to(call, target, |disk| disk.image.source == below.source))
            .map_err(|error| self.abandoned(target, error))?;
        let now = self.disk(call, "blockcommit", target)?;
        let node = self.node_of(call, target, &now.image)?;
        if now.image.source != below.source || node.encrypted != below.encryption.is_some() {
            return Err(crate::node_check::wrong(
                target,
                format!("after its merge it is at {:?}", now.image.source),
            ));
        }
        Ok(Some(disk.image))
    }
}
