use strongroom_endpoint_selector::{EraseKeyslots, ErrorKind};
use strongroom_storage_pool::PoolDriver;
use strongroom_types::{Call, VolumeId};

use crate::host_work::run;
use crate::job::{Job, Step, Work};
use crate::{ControlPlane, ControlPlaneError, VolumeRecord, job_table, pool, volume_table};

/// What a delete destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Erasure {
    /// Each thing, in the order in which it was destroyed, such as "keyslots overwritten".
    pub destroyed: Vec<String>,
    /// What could not be destroyed, and why. The sealed key is gone all the same.
    pub left: Vec<String>,
}

/// Whether there is nothing on the disk that could be erased, or nobody who could erase it: the delete goes on without.
fn cannot_be_erased(error: &ControlPlaneError) -> bool {
    matches!(error, ControlPlaneError::Mismatch { .. })
        || matches!(error.kind(), Some(ErrorKind::WrongDisk | ErrorKind::Unsupported))
}

impl ControlPlane {
    /// Removes a volume with its snapshots and header backups, and destroys what opens them, in this order:
    ///
    /// 1. the job is written down; from here on the delete is finished, never undone;
    /// 2. the keyslots on the disk are overwritten, so that another name or copy-on-write remnant of the same file is dead;
    /// 3. the header backups are overwritten and removed;
    /// 4. the pool removes the disk, with the snapshots inside;
    /// 5. one transaction removes the rows, what referred to the sealed key, the sealed key and the job;
    /// 6. the log of the database is truncated, so that the sealed key is in no file of it.
    ///
    /// A disk that is gone already, or is none any more, is fine; [`Erasure::left`] says what could not be overwritten. A copy
    /// that somebody made of the whole disk earlier has its own keyslots, and its key is gone with step 5.
    ///
    /// A volume that a failed job left in the state [`Failed`](crate::VolumeState::Failed) can be deleted.
    ///
    /// # Errors
    /// [`Unknown`](ControlPlaneError::Unknown), [`Unfinished`](ControlPlaneError::Unfinished),
    /// [`NoHost`](ControlPlaneError::NoHost), [`Host`](ControlPlaneError::Host), [`Pool`](ControlPlaneError::Pool). Then the
    /// delete goes on when it is called again, or with [`recover`](Self::recover).
    pub fn delete_volume(&self, call: &Call, id: &VolumeId) -> Result<Erasure, ControlPlaneError> {
        let _claim = self.claims.take(id)?;
        let record = self.volume(id)?;
        tracing::debug!(volume = %id, "delete");
        let job = self.begin(id, Work::Delete, |_| Ok(()))?;
        self.finish_delete(call, &record, job.clone())
            .inspect_err(|error| {
                if let Err(database) = self.note_failure(&job, error) {
                    tracing::debug!(volume = %id, error = %database.chain(), "the failure is not recorded");
                }
            })
    }

    /// Goes on with a delete from the step that its job has.
    pub(crate) fn finish_delete(
        &self,
        call: &Call,
        record: &VolumeRecord,
        mut job: Job,
    ) -> Result<Erasure, ControlPlaneError> {
        let mut erasure = Erasure::default();
        let driver = self.driver_of(call, record)?;
        if job.step < Step::KeyslotsErased {
            self.erase_keyslots(call, record, &mut erasure)?;
            self.advance(&mut job, Step::KeyslotsErased)?;
        }
        if job.step < Step::BackupsRemoved {
            let Erasure { destroyed, left } = &mut erasure;
            self.destroy_backups(call, record, destroyed, left)?;
            self.advance(&mut job, Step::BackupsRemoved)?;
        }
        if job.step < Step::DiskRemoved {
            self.remove_disk(call, driver.as_ref(), record)?;
            erasure
                .destroyed
                .push(format!("disk removed from pool {}", record.pool));
            self.advance(&mut job, Step::DiskRemoved)?;
        }
        self.transact("forget a volume", |transaction| {
            volume_table::forget(transaction, &record.id)
        })?;
        if let Some(passphrase) = &record.passphrase {
            erasure
                .destroyed
                .push(format!("sealed key {passphrase} destroyed"));
        }
        match self.store.database().purge() {
            Ok(()) => erasure
                .destroyed
                .push("its traces in the database overwritten".to_owned()),
            Err(error) => erasure.left.push(format!(
                "the log of the database was not truncated, which the next start does: {}",
                ControlPlaneError::Store(error).chain()
            )),
        }
        tracing::debug!(volume = %record.id, "deleted");
        Ok(erasure)
    }

    fn erase_keyslots(
        &self,
        call: &Call,
        record: &VolumeRecord,
        erasure: &mut Erasure,
    ) -> Result<(), ControlPlaneError> {
        if record.encryption.is_none() {
            return Ok(());
        }
        let action = format!("erase the keyslots of volume {}", record.id);
        let erased = self.on_host(call, record, &action, |at| {
            let command = EraseKeyslots::new(at.location, record.format);
            run(at.endpoint, call, &action, &command.into()).map(drop)
        });
        match erased {
            Ok(()) => erasure.destroyed.push("keyslots overwritten".to_owned()),
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => {}
            Err(error) if cannot_be_erased(&error) => erasure
                .left
                .push(format!("the keyslots were not overwritten: {}", error.chain())),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn remove_disk(
        &self,
        call: &Call,
        driver: &dyn PoolDriver,
        record: &VolumeRecord,
    ) -> Result<(), ControlPlaneError> {
        driver
            .delete(&self.context(call), &record.id)
            .map_err(pool::failed(&record.pool, format!("remove volume {}", record.id)))
    }

    fn advance(&self, job: &mut Job, to: Step) -> Result<(), ControlPlaneError> {
        job.step = to;
        self.transact("record a step", |transaction| {
            job_table::set_step(transaction, job)
        })
    }
}
