use strongroom_passphrase_store::SealedRecord;
use strongroom_storage_pool::ErrorKind;
use strongroom_types::{Call, GuestSize, OfferingId, PoolId, VolumeId};

use crate::job::Work;
use crate::making::{Plan, new_disk};
use crate::placement::{Candidate, Wish};
use crate::source::Source;
use crate::{
    ControlPlane, ControlPlaneError, JobKind, NewContent, OfferingRecord, PoolRefusal, VolumeRecord,
    VolumeState, offering, volume_table,
};

/// A volume that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewVolume {
    /// The offering, which says whether it is encrypted and how it lies on disk.
    pub offering: OfferingId,
    /// What its guest is to see, exactly.
    pub guest: GuestSize,
    /// Its id; without one it gets a random one.
    pub id: Option<VolumeId>,
    /// Its pool; without one it goes to the pool with the most free space that can have it.
    pub pool: Option<PoolId>,
    /// What it is to hold.
    pub content: NewContent,
    /// Compare what it then holds with the digest that was recorded of the template, which takes as long as reading it once more.
    /// An image that is no recorded template has no digest.
    pub check_digest: bool,
}

impl NewVolume {
    /// A blank volume with a random id, in whichever pool.
    #[must_use]
    pub fn new(offering: OfferingId, guest: GuestSize) -> Self {
        Self {
            offering,
            guest,
            id: None,
            pool: None,
            content: NewContent::Blank,
            check_digest: false,
        }
    }
}

/// Whether another pool may do what this one did not.
fn another_may_do(error: &ControlPlaneError) -> bool {
    let kind = match error {
        ControlPlaneError::Pool { source, .. } => source.kind(),
        ControlPlaneError::NoHost { .. } => ErrorKind::NoHost,
        _ => return false,
    };
    matches!(
        kind,
        ErrorKind::NoHost | ErrorKind::NoSpace | ErrorKind::Unsupported
    )
}

impl ControlPlane {
    /// Makes a volume.
    ///
    /// Whether it is encrypted is decided here, by its offering, and for good. The passphrase of an encrypted volume is made and
    /// sealed first, and recorded in one transaction with the volume and the job; the key that the driver then gets is the
    /// one that was stored. When the pool has made the disk and the answer is what was asked for, one more transaction records
    /// the sizes and takes the job out.
    ///
    /// Pools are tried in the order of their free space, but for those that say that they cannot have the volume. One that finds
    /// no host or no space is followed by the next.
    ///
    /// After an error there is no volume, no key and no disk. A process that was killed leaves what
    /// [`recover`](Self::recover) undoes. When the pool cannot be reached for that, the error is
    /// [`NotUndone`](ControlPlaneError::NotUndone) and the volume stays in the state
    /// [`Failed`](crate::VolumeState::Failed).
    ///
    /// # Errors
    /// [`Unknown`](ControlPlaneError::Unknown) offering, pool or template, [`Taken`](ControlPlaneError::Taken),
    /// [`Foreign`](ControlPlaneError::Foreign) when the pool has something of this name that is not in the database (it is not
    /// touched), [`NoPool`](ControlPlaneError::NoPool) with the reasons of every pool,
    /// [`Pool`](ControlPlaneError::Pool) or
    /// [`NoHost`](ControlPlaneError::NoHost) when only one could have it,
    /// [`Changed`](ControlPlaneError::Changed) when the digest was to be checked and is another,
    /// [`TemplateChanged`](ControlPlaneError::TemplateChanged) when the image of the template is not what it was and the pool has no
    /// copy of what it was, [`Claims`](ControlPlaneError::Claims),
    /// [`TemplateGoing`](ControlPlaneError::TemplateGoing).
    pub fn create_volume(&self, call: &Call, new: &NewVolume) -> Result<VolumeRecord, ControlPlaneError> {
        let source = self.source(&new.content)?;
        let id = new.id.clone().unwrap_or_else(VolumeId::random);
        let _claim = self.claims.take(&id)?;
        let offering = self.offering_for(&id, &new.offering)?;
        let wish = Wish::of(&offering, source.filling());
        self.in_some_pool(call, &wish, new.pool.as_ref(), |candidate| {
            self.create_in(call, candidate, &id, &offering, new, &source)
        })
    }

    /// The offering of a volume whose id is free.
    pub(crate) fn offering_for(
        &self,
        id: &VolumeId,
        offering: &OfferingId,
    ) -> Result<OfferingRecord, ControlPlaneError> {
        self.read("read an offering", |connection| {
            if volume_table::get(connection, id)?.is_some() {
                return Err(volume_table::taken(id).into());
            }
            offering::get(connection, offering)
        })
    }

    /// Tries the pools that can have the volume, one after the other, until one has it.
    pub(crate) fn in_some_pool<T>(
        &self,
        call: &Call,
        wish: &Wish,
        named: Option<&PoolId>,
        mut attempt: impl FnMut(&Candidate) -> Result<T, ControlPlaneError>,
    ) -> Result<T, ControlPlaneError> {
        let (candidates, mut refusals) = self.candidates(call, wish, named)?;
        let only = candidates.len() == 1 && refusals.is_empty();
        for candidate in candidates {
            match attempt(&candidate) {
                Err(error) if another_may_do(&error) && !only => refusals.push(PoolRefusal {
                    reason: format!("failed: {}", error.chain()),
                    pool: candidate.pool,
                }),
                done => return done,
            }
        }
        Err(ControlPlaneError::NoPool { refusals })
    }

    fn create_in(
        &self,
        call: &Call,
        candidate: &Candidate,
        id: &VolumeId,
        offering: &OfferingRecord,
        new: &NewVolume,
        source: &Source<'_>,
    ) -> Result<VolumeRecord, ControlPlaneError> {
        tracing::debug!(volume = %id, pool = %candidate.pool, encrypt = offering.encrypt, guest = new.guest.get(), "create");
        if candidate.encryption.is_some() {
            // A pool that encrypts on hosts needs one to make a volume. Without it nothing is begun.
            let action = format!("create volume {id} in pool {}", candidate.pool);
            self.host_for(&candidate.pool, offering.format, candidate.encryption, &action)?;
        }
        let sealed = offering.encrypt.then(|| self.seal_new(id)).transpose()?;
        let mut record = self.allocation(candidate, id, &offering.id, new.guest, sealed.as_ref())?;
        record.template = source.lies_on();
        let plan = Plan {
            driver: candidate.driver.as_ref(),
            record,
            sealed: sealed.as_ref(),
            work: Work::Create,
            template: source.template().map(|t| &t.id),
            copies: false,
            may_stand_alone: false,
        };
        let record = &plan.record;
        self.bring_about(
            call,
            &plan,
            |key| {
                self.fill(call, record, source, |content| {
                    let driver = candidate.driver.as_ref();
                    let action = format!("create volume {id}");
                    new_disk(&self.context(call), driver, record, key, content, action)
                })
            },
            |job, made| {
                if new.check_digest {
                    self.prove_template(call, made, source)?;
                }
                self.end(job, |transaction| volume_table::set_made(transaction, made))?;
                self.volume(id)
            },
        )
    }

    /// The record of a volume that is about to be made in a pool.
    pub(crate) fn allocation(
        &self,
        candidate: &Candidate,
        id: &VolumeId,
        offering: &OfferingId,
        guest: GuestSize,
        sealed: Option<&SealedRecord>,
    ) -> Result<VolumeRecord, ControlPlaneError> {
        let disk = self.read("choose a name for a disk", |connection| {
            volume_table::free_disk_name(connection, &candidate.pool, id)
        })?;
        Ok(VolumeRecord {
            id: id.clone(),
            offering: offering.clone(),
            pool: candidate.pool.clone(),
            disk,
            state: VolumeState::Working(JobKind::Create),
            guest,
            device: None,
            format: candidate.format,
            encryption: candidate.encryption,
            passphrase: sealed.map(|s| s.id.clone()),
            template: None,
            shares_key_with: Vec::new(),
            disk_of: None,
        })
    }
}
