use strongroom_types::{Call, DiskFormat, PoolId, VolumeId};

use crate::job::Work;
use crate::making::Plan;
use crate::placement::{Filling, Wish};
use crate::{ControlPlane, ControlPlaneError, Exchanged};

/// A volume that is to lie elsewhere, or otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MoveVolume {
    /// The volume. It keeps its id, size and offering.
    pub volume: VolumeId,
    /// The pool that it is to lie in. Its own will do, for another format.
    pub to: PoolId,
    /// How it is to lie there; without it, as it lies now.
    pub format: Option<DiskFormat>,
    /// The snapshots of the volume may be lost. They are never moved.
    pub lose_snapshots: bool,
}

impl MoveVolume {
    /// A volume that is to lie in this pool as it lies now, and may not lose snapshots.
    #[must_use]
    pub fn new(volume: VolumeId, to: PoolId) -> Self {
        Self {
            volume,
            to,
            format: None,
            lose_snapshots: false,
        }
    }
}

impl ControlPlane {
    /// Moves a volume that nobody has open to another pool, of the same kind or another, or to another format.
    ///
    /// 1. A new key is sealed, and the new disk is written down with it.
    /// 2. The other pool makes the disk, on a host that reaches both, with the content copied through both ciphers.
    /// 3. A host opens it with the stored key; both disks are read from end to end and their digests compared.
    /// 4. One transaction gives the volume the new disk and key, and writes down that the old ones are to be destroyed.
    /// 5. The old disk is destroyed as [`delete_volume`](Self::delete_volume) does it, header backups included.
    ///
    /// On which side of the cipher it is does not change. A volume that lay on a template stands alone afterwards. What a kill leaves,
    /// and what an error in step 5 means, [`reinstall_volume`](Self::reinstall_volume) says.
    ///
    /// # Errors
    /// [`Unknown`](ControlPlaneError::Unknown), [`Unfinished`](ControlPlaneError::Unfinished),
    /// [`InPlace`](ControlPlaneError::InPlace), [`SnapshotsInTheWay`](ControlPlaneError::SnapshotsInTheWay),
    /// [`NoPool`](ControlPlaneError::NoPool) when the pool cannot have it, [`NoHost`](ControlPlaneError::NoHost) when none
    /// reaches both, [`Pool`](ControlPlaneError::Pool), [`Host`](ControlPlaneError::Host), [`Key`](ControlPlaneError::Key),
    /// [`Changed`](ControlPlaneError::Changed); then the volume is as it was.
    pub fn move_volume(&self, call: &Call, new: &MoveVolume) -> Result<Exchanged, ControlPlaneError> {
        let _claim = self.claim(&new.volume)?;
        let volume = self.ready_volume(&new.volume)?;
        let format = new.format.unwrap_or(volume.format);
        if volume.pool == new.to && volume.format == format {
            return Err(ControlPlaneError::InPlace {
                volume: volume.id,
                pool: volume.pool,
                format,
            });
        }
        self.refuse_losing_snapshots(&volume, Some(new.lose_snapshots), "be moved")?;
        self.driver_of(call, &volume)?;
        let encrypt = volume.encryption.is_some();
        let wish = Wish {
            encrypt,
            format,
            filling: Filling::Copy,
        };
        let candidate = self.the_pool(call, &wish, &new.to)?;
        tracing::debug!(volume = %volume.id, from = %volume.pool, to = %new.to, %format, "move");
        let sealed = encrypt.then(|| self.seal_new(&volume.id)).transpose()?;
        let plan = Plan {
            driver: candidate.driver.as_ref(),
            record: self.next_disk(&candidate, &volume, sealed.as_ref())?,
            sealed: sealed.as_ref(),
            work: Work::Move,
            template: None,
            copies: true,
            may_stand_alone: false,
        };
        let record = &plan.record;
        let (former, delete) = self.bring_about(
            call,
            &plan,
            |key| self.copy_disk(call, candidate.driver.as_ref(), record, &volume, key),
            |job, made| {
                self.prove_next_disk(call, made)?;
                self.prove_copy(call, &volume, made)?;
                self.exchange(job, &volume, made)
            },
        )?;
        let former = self.destroy_former(call, &former, delete);
        let volume = self.volume(&volume.id)?;
        Ok(Exchanged { volume, former })
    }
}
