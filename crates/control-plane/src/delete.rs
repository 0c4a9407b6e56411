use strongroom_storage_pool::PoolDriver;
use strongroom_types::{Call, VolumeId};

use crate::job::{Job, Step, Work};
use crate::{ControlPlane, ControlPlaneError, Erasure, VolumeRecord, job_table, pool, volume_table};

impl ControlPlane {
    /// Removes a volume with its snapshots and header backups, and destroys what opens them, in this order:
    ///
    /// 1. the job is written down; from here on the delete is finished, never undone;
    /// 2. a host opens the disk with the stored key, as [`verify_volume`](Self::verify_volume) does, and then overwrites its
    ///    keyslots, so that another name or copy-on-write remnant of the same file is dead;
    /// 3. the header backups are overwritten and removed;
    /// 4. the pool removes the disk, with the snapshots inside;
    /// 5. one transaction removes the rows, what referred to the sealed key, the sealed key and the job;
    /// 6. the log of the database is truncated, so that the sealed key is in no file of it.
    ///
    /// A disk in the volume's place that the volume's key does not open may be another volume's: nothing on it is overwritten, and
    /// it stays. That, a disk that is not there or damaged, and a key that does not unseal do not hinder the delete;
    /// [`Erasure::left`] says what was not done.
    /// A disk that was taken elsewhere, and a copy that somebody made of the whole disk earlier, have their own keyslots, and
    /// their key is gone with step 5.
    ///
    /// A file in the place of a header backup is overwritten and removed when it begins with a LUKS header that has no disk
    /// behind it. Whether the key opens it is not asked. Any other file stays, and is in [`Erasure::left`].
    ///
    /// A volume that a failed job left in the state [`Failed`](crate::VolumeState::Failed) can be deleted.
    ///
    /// # Errors
    /// [`Unknown`](ControlPlaneError::Unknown), [`Unfinished`](ControlPlaneError::Unfinished),
    /// [`NoHost`](ControlPlaneError::NoHost), [`Host`](ControlPlaneError::Host), [`Pool`](ControlPlaneError::Pool),
    /// [`Key`](ControlPlaneError::Key) when the key-encryption key does not answer. Then the delete goes on when it is called
    /// again, or with [`recover`](Self::recover), and the answer has what was destroyed and left before.
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
        let driver = self.driver_of(call, record)?;
        if job.step < Step::KeyslotsErased {
            self.erase_keyslots(call, record, &mut job)?;
            self.advance(&mut job, Step::KeyslotsErased)?;
        }
        if job.step < Step::BackupsRemoved {
            self.destroy_backups(call, record, &mut job)?;
            self.advance(&mut job, Step::BackupsRemoved)?;
        }
        if job.step < Step::DiskRemoved {
            self.remove_disk(call, driver.as_ref(), record, &mut job)?;
            self.advance(&mut job, Step::DiskRemoved)?;
        }
        self.transact("forget a volume", |transaction| {
            volume_table::forget(transaction, &record.id)
        })?;
        let mut erasure = job.erasure;
        if let Some(passphrase) = &record.passphrase {
            erasure.note_destroyed(format!("sealed key {passphrase} destroyed"));
        }
        match self.store.database().purge() {
            Ok(()) => erasure.note_destroyed("its traces in the database overwritten"),
            Err(error) => erasure.note_left(format!(
                "the log of the database was not truncated, which the next start does: {}",
                ControlPlaneError::Store(error).chain()
            )),
        }
        tracing::debug!(volume = %record.id, "deleted");
        Ok(erasure)
    }

    /// Has the pool remove the disk, and notes what the pool said that it had.
    fn remove_disk(
        &self,
        call: &Call,
        driver: &dyn PoolDriver,
        record: &VolumeRecord,
        job: &mut Job,
    ) -> Result<(), ControlPlaneError> {
        let (pool, id) = (&record.pool, &record.id);
        if job.erasure.stranger {
            job.erasure.note_left(format!(
                "the disk stays in pool {pool} under the name of {id}: it has another key, so it may be another volume's; \
                 look whose it is and move or remove it by hand"
            ));
            return Ok(());
        }
        if job.step < Step::DiskFound {
            match driver.get(&self.context(call), id) {
                // Recorded first: afterwards nobody can say whether it was there.
                Ok(Some(_)) => self.advance(job, Step::DiskFound)?,
                Ok(None) => {
                    if record.device.is_some() {
                        let left = format!("the disk was not there, so pool {pool} removed none");
                        job.erasure.note_left(left);
                    }
                }
                // The pool can remove what it cannot read.
                Err(error) => {
                    let problem = pool::failed(pool, format!("say whether it has volume {id}"))(error);
                    let left = format!("whether there was a disk is not known: {}", problem.chain());
                    job.erasure.note_left(left);
                }
            }
        }
        driver
            .delete(&self.context(call), id)
            .map_err(pool::failed(pool, format!("remove volume {id}")))?;
        if job.step == Step::DiskFound {
            job.erasure
                .note_destroyed(format!("disk removed from pool {pool}"));
        }
        Ok(())
    }

    /// Records how far a delete is, with what was destroyed and left so far.
    pub(crate) fn advance(&self, job: &mut Job, to: Step) -> Result<(), ControlPlaneError> {
        job.step = to;
        self.transact("record a step", |transaction| {
            job_table::set_step(transaction, job)
        })
    }
}
