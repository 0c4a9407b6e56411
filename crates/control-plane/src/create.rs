use strongroom_passphrase_store::SealedRecord;
use strongroom_storage_pool::{
    CreateVolume, ErrorKind, PoolDriver, PoolError, SourceImage, Template, Volume, VolumeContent,
};
use strongroom_types::{Call, GuestSize, OfferingId, PoolId, VolumeId};

use crate::content::{TemplateImage, absolute};
use crate::job::{Job, Work};
use crate::journal::closing_call;
use crate::placement::Candidate;
use crate::{
    ControlPlane, ControlPlaneError, JobKind, OfferingRecord, PoolRefusal, VolumeRecord, VolumeState,
    offering, pool, volume, volume_table,
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
    /// The image whose content it is to have; without one it is blank.
    pub template: Option<TemplateImage>,
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
            template: None,
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

/// Whether what stands in the way was there before: it is somebody else's and stays.
fn is_foreign(error: &ControlPlaneError) -> bool {
    matches!(
        error.kind(),
        Some(ErrorKind::AlreadyExists | ErrorKind::WrongKey | ErrorKind::WrongDisk)
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
    /// [`Unknown`](ControlPlaneError::Unknown) offering or pool, [`Taken`](ControlPlaneError::Taken),
    /// [`Foreign`](ControlPlaneError::Foreign) when the pool has something of this name that is not in the database (it is not
    /// touched), [`NoPool`](ControlPlaneError::NoPool) with the reasons of every pool,
    /// [`Pool`](ControlPlaneError::Pool) or
    /// [`NoHost`](ControlPlaneError::NoHost) when only one could have it.
    pub fn create_volume(&self, call: &Call, new: &NewVolume) -> Result<VolumeRecord, ControlPlaneError> {
        if let Some(template) = &new.template {
            absolute(&template.path)?;
        }
        let id = new.id.clone().unwrap_or_else(VolumeId::random);
        let _claim = self.claims.take(&id)?;
        let offering = self.read("read an offering", |connection| {
            if volume_table::get(connection, &id)?.is_some() {
                return Err(volume_table::taken(&id).into());
            }
            offering::get(connection, &new.offering)
        })?;
        let (candidates, mut refusals) = self.candidates(call, &offering, new)?;
        let only = candidates.len() == 1 && refusals.is_empty();
        for candidate in candidates {
            match self.create_in(call, &candidate, &id, &offering, new) {
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
    ) -> Result<VolumeRecord, ControlPlaneError> {
        tracing::debug!(volume = %id, pool = %candidate.pool, encrypt = offering.encrypt, guest = new.guest.get(), "create");
        if candidate.encryption.is_some() {
            // A pool that encrypts on hosts needs one to make a volume. Without it nothing is begun.
            let action = format!("create volume {id} in pool {}", candidate.pool);
            self.host_for(&candidate.pool, offering.format, candidate.encryption, &action)?;
        }
        self.refuse_foreign(call, candidate, id)?;
        let sealed = offering.encrypt.then(|| self.seal_new(id)).transpose()?;
        let record = allocation(candidate, id, offering, new, sealed.as_ref());
        let job = self.begin_create(&record, sealed.as_ref())?;
        let made = self.make(call, candidate, &record, new).and_then(|made| {
            self.end(&job, |transaction| {
                volume_table::set_sizes(transaction, id, made.guest, made.device)
            })
        });
        match made {
            Ok(()) => self.volume(id),
            Err(error) => Err(self.settle_failed(&job, error, |error| {
                let driver = (!is_foreign(error)).then_some(candidate.driver.as_ref());
                self.undo_create(&closing_call(), &job, &record.pool, driver)
            })),
        }
    }

    /// Something that the pool has under the id, and that no row knows, is not ours. It is found before the job is written
    /// down, so that undoing a job never removes it.
    fn refuse_foreign(
        &self,
        call: &Call,
        candidate: &Candidate,
        id: &VolumeId,
    ) -> Result<(), ControlPlaneError> {
        let foreign = |source: Option<PoolError>| ControlPlaneError::Foreign {
            pool: candidate.pool.clone(),
            volume: id.clone(),
            source,
        };
        match candidate.driver.get(&self.context(call), id) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(foreign(None)),
            Err(e) if matches!(e.kind(), ErrorKind::WrongDisk | ErrorKind::AlreadyExists) => {
                Err(foreign(Some(e)))
            }
            Err(e) => Err(pool::failed(
                &candidate.pool,
                format!("say whether it has a volume {id}"),
            )(e)),
        }
    }

    fn begin_create(
        &self,
        record: &VolumeRecord,
        sealed: Option<&SealedRecord>,
    ) -> Result<Job, ControlPlaneError> {
        self.begin(&record.id, Work::Create, |transaction| {
            volume_table::allocate(transaction, record, sealed)
        })
    }

    /// Has the pool make the disk, with the key as it was stored.
    fn make(
        &self,
        call: &Call,
        candidate: &Candidate,
        record: &VolumeRecord,
        new: &NewVolume,
    ) -> Result<Volume, ControlPlaneError> {
        let key = self.unseal(record)?;
        let content = match &new.template {
            None => VolumeContent::Blank,
            Some(TemplateImage { path, format }) => {
                VolumeContent::Template(Template::unnamed(SourceImage::new(path, *format)))
            }
        };
        let request = CreateVolume::new(&record.id, record.guest, record.format, key.for_driver(), content);
        let made = candidate
            .driver
            .create(&self.context(call), &request)
            .map_err(pool::failed(&record.pool, format!("create volume {}", record.id)))?;
        volume::agrees(record, &made, record.guest)?;
        Ok(made)
    }

    /// Removes what a create left: disk, row, key. Without a driver the disk is left alone, because it is not ours.
    pub(crate) fn undo_create(
        &self,
        call: &Call,
        job: &Job,
        pool: &PoolId,
        driver: Option<&dyn PoolDriver>,
    ) -> Result<(), ControlPlaneError> {
        if let Some(driver) = driver {
            driver
                .delete(&self.context(call), &job.volume)
                .map_err(pool::failed(pool, format!("remove volume {}", job.volume)))?;
        }
        self.transact("forget a volume", |transaction| {
            volume_table::forget(transaction, &job.volume)
        })?;
        // What is left of the sealed key in the database's log opened nothing that is there: it may wait for the next start.
        tracing::debug!(volume = %job.volume, "create undone");
        Ok(())
    }
}

/// The record of a volume that is about to be made.
fn allocation(
    candidate: &Candidate,
    id: &VolumeId,
    offering: &OfferingRecord,
    new: &NewVolume,
    sealed: Option<&SealedRecord>,
) -> VolumeRecord {
    VolumeRecord {
        id: id.clone(),
        offering: offering.id.clone(),
        pool: candidate.pool.clone(),
        state: VolumeState::Working(JobKind::Create),
        guest: new.guest,
        device: None,
        format: offering.format,
        encryption: candidate.encryption,
        passphrase: sealed.map(|s| s.id.clone()),
    }
}
