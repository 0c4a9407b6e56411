use strongroom_types::{Call, VolumeId};

use crate::job::Work;
use crate::making::{Plan, new_disk};
use crate::placement::Wish;
use crate::verify::verify_disk;
use crate::{ControlPlane, ControlPlaneError, Exchanged, NewContent, VolumeRecord};

/// A volume that is to begin anew.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reinstall {
    /// The volume. It keeps its id, size, pool and offering.
    pub volume: VolumeId,
    /// What it is to hold.
    pub content: NewContent,
    /// The snapshots of the volume may be lost.
    pub lose_snapshots: bool,
    /// Compare what it then holds with the digest that was recorded of the template.
    pub check_digest: bool,
}

impl Reinstall {
    /// A volume that is to have this content, and may not lose snapshots.
    #[must_use]
    pub fn new(volume: VolumeId, content: NewContent) -> Self {
        Self {
            volume,
            content,
            lose_snapshots: false,
            check_digest: false,
        }
    }
}

impl ControlPlane {
    /// Gives a volume a new disk with a new key and the content of a template, in place of what it held. What it held is destroyed,
    /// after the new disk is proved.
    ///
    /// 1. A key is sealed, and the new disk is written down with it.
    /// 2. The pool makes the disk beside the old one; a host opens it with the stored key.
    /// 3. One transaction gives the volume the new disk and key, and writes down that the old ones are to be destroyed.
    /// 4. The old disk is destroyed as [`delete_volume`](Self::delete_volume) does it, header backups included.
    ///
    /// A kill before step 3 leaves the volume as it was, and one after it the volume reinstalled; [`recover`](Self::recover) removes
    /// the other disk. Both disks are there for a while, and need their room. An error of step 4 does not undo what was done:
    /// [`Exchanged::former`] says what was not destroyed, and the next start goes on.
    ///
    /// # Errors
    /// As for [`create_volume`](Self::create_volume), [`Unfinished`](ControlPlaneError::Unfinished),
    /// [`SnapshotsInTheWay`](ControlPlaneError::SnapshotsInTheWay); then the volume is as it was.
    pub fn reinstall_volume(&self, call: &Call, new: &Reinstall) -> Result<Exchanged, ControlPlaneError> {
        let source = self.source(&new.content)?;
        let _claim = self.claim(&new.volume)?;
        let volume = self.ready_volume(&new.volume)?;
        self.refuse_losing_snapshots(&volume, Some(new.lose_snapshots), "be reinstalled")?;
        self.driver_of(call, &volume)?;
        let wish = Wish {
            encrypt: volume.encryption.is_some(),
            format: volume.format,
            filling: source.filling(),
        };
        let candidate = self.the_pool(call, &wish, &volume.pool)?;
        tracing::debug!(volume = %volume.id, "reinstall");
        let encrypt = volume.encryption.is_some();
        let sealed = encrypt.then(|| self.seal_new(&volume.id)).transpose()?;
        let mut record = self.next_disk(&candidate, &volume, sealed.as_ref())?;
        record.template = source.lies_on();
        let plan = Plan {
            driver: candidate.driver.as_ref(),
            record,
            sealed: sealed.as_ref(),
            work: Work::Reinstall,
            template: source.template().map(|t| &t.id),
            copies: false,
            may_stand_alone: false,
        };
        let record = &plan.record;
        let (former, delete) = self.bring_about(
            call,
            &plan,
            |key| {
                self.fill(call, record, &source, |content| {
                    let driver = candidate.driver.as_ref();
                    let action = format!("make a new disk for volume {}", volume.id);
                    new_disk(&self.context(call), driver, record, key, content, action)
                })
            },
            |job, made| {
                self.prove_next_disk(call, made)?;
                if new.check_digest {
                    self.prove_template(call, made, &source)?;
                }
                self.exchange(job, &volume, made)
            },
        )?;
        let former = self.destroy_former(call, &former, delete);
        let volume = self.volume(&volume.id)?;
        Ok(Exchanged { volume, former })
    }

    /// Has a host open the disk with its key, as it is stored, before the old disk is given up for it.
    pub(crate) fn prove_next_disk(&self, call: &Call, made: &VolumeRecord) -> Result<(), ControlPlaneError> {
        let key = self.unseal(made)?;
        let action = "prove the new disk of a volume";
        self.on_host(call, made, action, |at| {
            verify_disk(call, at, &key, action).map(drop)
        })
    }
}
