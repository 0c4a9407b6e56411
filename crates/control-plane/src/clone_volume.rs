use strongroom_storage_pool::{CloneKey, CloneKind, CloneVolume, PoolDriver, Volume, VolumeContent};
use strongroom_types::{Call, PoolId, VolumeId};

use crate::digest::same;
use crate::host_work::capability;
use crate::job::Work;
use crate::key::Key;
use crate::making::{Plan, new_disk};
use crate::placement::{Candidate, Filling, Wish};
use crate::{ControlPlane, ControlPlaneError, VolumeRecord, pool, volume_table};

/// A clone that is to be made of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewClone {
    /// The volume to clone. It is not changed.
    pub source: VolumeId,
    /// The clone's id; without one it gets a random one.
    pub id: Option<VolumeId>,
    /// The clone's pool; without one that of its source.
    pub pool: Option<PoolId>,
    /// The clone shares passphrase and volume key with its source, in the same pool: made faster, and whoever has an old header of
    /// one of the two opens the other, for as long as that lives. It is recorded with both. Otherwise the clone has a key of its own.
    pub share_key: bool,
    /// Read both once more and compare their digests.
    pub check_digest: bool,
}

impl NewClone {
    /// A clone with a key of its own and a random id, in the pool of its source.
    #[must_use]
    pub fn new(source: VolumeId) -> Self {
        Self {
            source,
            id: None,
            pool: None,
            share_key: false,
            check_digest: false,
        }
    }
}

impl ControlPlane {
    /// Makes a new volume with the content, size and offering of another, which nobody writes to meanwhile. Snapshots are not cloned.
    ///
    /// The clone has a key of its own, sealed before anything is made, and every sector is encrypted anew: neither the source's key
    /// nor its header opens it. Only when it is asked for, and the pool can, it [shares](NewClone::share_key) its source's key.
    /// A clone of an overlay stands alone, unless the pool makes it as an overlay on the same template.
    ///
    /// For what an error or a kill leaves, [`create_volume`](Self::create_volume) says it.
    ///
    /// # Errors
    /// As for [`create_volume`](Self::create_volume), [`Unfinished`](ControlPlaneError::Unfinished) source,
    /// [`NotEncrypted`](ControlPlaneError::NotEncrypted) when a plain volume's key was to be shared,
    /// [`Changed`](ControlPlaneError::Changed).
    pub fn clone_volume(&self, call: &Call, new: &NewClone) -> Result<VolumeRecord, ControlPlaneError> {
        let id = new.id.clone().unwrap_or_else(VolumeId::random);
        let _claims = (self.claim(&new.source)?, self.claims.take(&id)?);
        let source = self.ready_volume(&new.source)?;
        self.offering_for(&id, &source.offering)?;
        if new.share_key && source.passphrase.is_none() {
            return Err(ControlPlaneError::NotEncrypted { volume: source.id });
        }
        tracing::debug!(volume = %id, source = %source.id, share_key = new.share_key, "clone");
        let wanted = new.pool.as_ref().unwrap_or(&source.pool);
        let in_pool = *wanted == source.pool;
        let own = in_pool
            && self
                .driver_of(call, &source)?
                .capabilities()
                .clone
                .contains(&CloneKind::OwnKey);
        let filling = match (new.share_key, own) {
            (true, _) => Filling::SharedClone,
            // The pool does it by itself.
            (false, true) => Filling::Blank,
            (false, false) => Filling::Copy,
        };
        let wish = Wish {
            encrypt: source.encryption.is_some(),
            format: source.format,
            filling,
        };
        let candidate = self.the_pool(call, &wish, wanted)?;
        if new.share_key && !in_pool {
            return Err(ControlPlaneError::Unsupported {
                pool: candidate.pool,
                problem: format!(
                    "does not have volume {}, and only a clone beside it can share its key",
                    source.id
                ),
            });
        }
        self.clone_in(call, &candidate, &id, &source, new, own)
    }

    fn clone_in(
        &self,
        call: &Call,
        candidate: &Candidate,
        id: &VolumeId,
        source: &VolumeRecord,
        new: &NewClone,
        own: bool,
    ) -> Result<VolumeRecord, ControlPlaneError> {
        let seal = source.passphrase.is_some() && !new.share_key;
        let sealed = seal.then(|| self.seal_new(id)).transpose()?;
        let mut record = self.allocation(candidate, id, &source.offering, source.guest, sealed.as_ref())?;
        if new.share_key {
            record.passphrase.clone_from(&source.passphrase);
            record.shares_key_with = vec![source.id.clone()];
        }
        let by_driver = new.share_key || own;
        if by_driver {
            // The template cannot go while a clone is made that may lie on it.
            record.template.clone_from(&source.template);
        }
        let source_key = self.unseal(source)?;
        let plan = Plan {
            driver: candidate.driver.as_ref(),
            record,
            sealed: sealed.as_ref(),
            work: Work::Clone,
            template: None,
            copies: true,
            may_stand_alone: true,
        };
        let record = &plan.record;
        self.bring_about(
            call,
            &plan,
            |key| {
                if !by_driver {
                    return self.copy_disk(call, candidate.driver.as_ref(), record, source, key);
                }
                let clone_key = match new.share_key {
                    true => CloneKey::Shared,
                    false => CloneKey::Own(key.for_driver()),
                };
                let request =
                    CloneVolume::new(&source.disk, source_key.for_driver(), &record.disk, clone_key);
                candidate
                    .driver
                    .clone_volume(&self.context(call), &request)
                    .map_err(pool::failed(
                        &record.pool,
                        format!("clone volume {} as {id}", source.id),
                    ))
            },
            |job, made| {
                if new.check_digest {
                    self.prove_copy(call, source, made)?;
                }
                self.end(job, |transaction| volume_table::set_made(transaction, made))?;
                self.volume(id)
            },
        )
    }

    /// Has a pool make a disk with the content of a volume, through both ciphers, on a host that reaches both.
    pub(crate) fn copy_disk(
        &self,
        call: &Call,
        driver: &dyn PoolDriver,
        record: &VolumeRecord,
        source: &VolumeRecord,
        key: &Key,
    ) -> Result<Volume, ControlPlaneError> {
        let source_key = self.unseal(source)?;
        let action = format!("copy volume {} into pool {}", source.id, record.pool);
        let abilities = [
            capability(source.format, source.encryption),
            capability(record.format, record.encryption),
        ];
        let endpoint = self.host_that([&source.pool, &record.pool], abilities, &action)?;
        let only = self.only(endpoint.as_ref());
        self.attached(call, source, endpoint.as_ref(), |at| {
            let content = VolumeContent::Copy(at.disk(&source_key));
            new_disk(&only.context(call), driver, record, key, content, &action)
        })
    }

    /// Reads a volume and its copy from end to end and compares them.
    pub(crate) fn prove_copy(
        &self,
        call: &Call,
        source: &VolumeRecord,
        copy: &VolumeRecord,
    ) -> Result<(), ControlPlaneError> {
        let there = self.digest(call, source, Some(source.guest))?.to_string();
        let here = self.digest(call, copy, Some(source.guest))?.to_string();
        same(copy, &there, &here, &format!("volume {}", source.id))
    }
}
