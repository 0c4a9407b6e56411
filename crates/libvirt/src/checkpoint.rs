use std::time::{SystemTime, UNIX_EPOCH};

use strongroom_types::{Call, CheckpointId, DiskTarget};

use crate::xml::Element;
use crate::{Document, LibvirtError, LiveDomain, Machine};

/// An instant since which qcow2 disks remember what changed: a bitmap of this name in each of them, and what libvirt knows of it.
///
/// The bitmaps stay in the images. What libvirt knows of a machine that it does not keep, such as those that are started here, goes
/// when the machine stops, and is [told again](Machine::restore_checkpoint).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// Its name, and that of the bitmaps.
    pub id: CheckpointId,
    /// The one before, if it is known.
    pub parent: Option<CheckpointId>,
    /// The disks that remember it.
    pub targets: Vec<DiskTarget>,
}

impl Checkpoint {
    /// One of these disks, with none before.
    #[must_use]
    pub fn new(id: CheckpointId, targets: Vec<DiskTarget>) -> Self {
        Self {
            id,
            parent: None,
            targets,
        }
    }

    /// The same after another one.
    #[must_use]
    pub fn after(mut self, parent: CheckpointId) -> Self {
        self.parent = Some(parent);
        self
    }

    pub(crate) fn to_element(&self, domain: &LiveDomain) -> Element {
        let mut disks = Element::new("disks");
        for target in &domain.targets {
            let disk = Element::new("disk").with("name", target.as_str());
            let is_in = self.targets.iter().any(|known| known.as_str() == target.as_str());
            disks = disks.holding(if is_in {
                disk.with("checkpoint", "bitmap").with("bitmap", self.id.as_str())
            } else {
                disk.with("checkpoint", "no")
            });
        }
        Element::new("domaincheckpoint")
            .holding(Element::new("name").saying(self.id.as_str()))
            .holding(disks)
    }

    /// With what libvirt would have written itself.
    fn known(&self, domain: &LiveDomain) -> Element {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = since.map_or(0, |since| since.as_secs());
        let parent = self.parent.as_ref().map(|parent| {
            let name = Element::new("name").saying(parent.as_str());
            Element::new("parent").holding(name)
        });
        self.to_element(domain)
            .holding(Element::new("creationTime").saying(seconds.to_string()))
            .holding_all(parent)
    }
}

/// What incremental backups begin at.
impl Machine<'_> {
    /// The checkpoints that libvirt knows, each after those before it. Those of others whose names are none of ours are left out.
    ///
    /// # Errors
    /// [`LibvirtError::NoDomain`], and as [`Connection::run`](crate::Connection::run).
    pub fn checkpoints(&self, call: &Call) -> Result<Vec<CheckpointId>, LibvirtError> {
        let ask = self
            .command("checkpoint-list")
            .word("--name")
            .word("--topological");
        let printed = self.connection.run(call, &ask)?;
        Ok(printed
            .lines()
            .filter_map(|line| line.trim().parse().ok())
            .collect())
    }

    /// Tells libvirt of a checkpoint again after the machine was started again, when its bitmaps are whole. The one before it, if there is
    /// one, is told first. One that libvirt knows is left alone.
    ///
    /// # Errors
    /// [`LibvirtError::BrokenCheckpoint`]: a bitmap is missing or was not written when QEMU ended, as after a kill. libvirt without this look
    /// would believe it, and fail at the backup. [`LibvirtError::NoDomain`], and as [`Connection::run`](crate::Connection::run).
    pub fn restore_checkpoint(&self, call: &Call, checkpoint: &Checkpoint) -> Result<(), LibvirtError> {
        if self.checkpoints(call)?.contains(&checkpoint.id) {
            return Ok(());
        }
        self.tell(call, checkpoint, true)
    }

    /// Forgets a checkpoint and removes its bitmaps, also broken ones. One that is not there is fine.
    ///
    /// # Errors
    /// [`LibvirtError::NoDomain`], and as [`Connection::run`](crate::Connection::run).
    pub fn delete_checkpoint(&self, call: &Call, checkpoint: &Checkpoint) -> Result<(), LibvirtError> {
        if !self.checkpoints(call)?.contains(&checkpoint.id) {
            // Its parent may be forgotten already.
            let alone = Checkpoint::new(checkpoint.id.clone(), checkpoint.targets.clone());
            self.tell(call, &alone, false)?;
        }
        self.forget(call, &checkpoint.id)
    }

    fn tell(&self, call: &Call, checkpoint: &Checkpoint, look: bool) -> Result<(), LibvirtError> {
        let document = Document::new(&checkpoint.known(&self.describe(call)?))?;
        let mut create = self
            .command("checkpoint-create")
            .document("--xmlfile", &document)
            .word("--redefine");
        if look {
            create = create.word("--redefine-validate");
        }
        self.connection.run(call, &create).map(drop)
    }

    pub(crate) fn forget(&self, call: &Call, id: &CheckpointId) -> Result<(), LibvirtError> {
        let delete = self
            .command("checkpoint-delete")
            .option("--checkpointname", id.as_str());
        match self.connection.run(call, &delete) {
            Ok(_) | Err(LibvirtError::BrokenCheckpoint { .. }) => Ok(()),
            Err(other) => Err(other),
        }
    }
}
