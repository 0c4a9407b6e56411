use strongroom_storage_pool::PoolDriver;
use strongroom_types::{Call, VolumeId};

use crate::job::{Job, Step, Work};
use crate::{
    ControlPlane, ControlPlaneError, Erasure, JobKind, VolumeRecord, VolumeState, job_table, pool,
    volume_table,
};

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
    /// A pool that is not there, or that its driver does not take for its own, such as a directory with the mark of another
    /// installation, is waited for: nothing is known of the disk.
    ///
    /// A volume that a failed job left in the state [`Failed`](crate::VolumeState::Failed) can be deleted.
    ///
    /// # Errors
    /// [`Unknown`](ControlPlaneError::Unknown), [`Unfinished`](ControlPlaneError::Unfinished),
    /// [`Vm`](ControlPlaneError::Vm) for a disk of a virtual machine, [`NoHost`](ControlPlaneError::NoHost), [`Host`](ControlPlaneError::Host), [`Pool`](ControlPlaneError::Pool),
    /// [`Key`](ControlPlaneError::Key) when the key-encryption key does not answer. Then the delete goes on when it is called
    /// again, or with [`recover`](Self::recover), and the answer has what was destroyed and left before.
    pub fn delete_volume(&self, call: &Call, id: &VolumeId) -> Result<Erasure, ControlPlaneError> {
        let _claim = self.claim(id)?;
        self.refuse_vm_disk(id)?;
        let record = self.volume(id)?;
        if record.state == VolumeState::Failed(JobKind::Export) {
            self.settle_export(call, &record)?;
        }
        tracing::debug!(volume = %id, "delete");
        let job = self.begin(id, Work::Delete, |_| Ok(()))?;
        self.finish_delete(call, &record, job.clone())
            .inspect_err(|error| {
                if let Err(database) = self.note_failure(&job, error) {
                    tracing::debug!(volume = %id, error = %database.chain(), "the failure is not recorded");
                }
            })
    }

    /// An export that neither ended nor could be undone has left a file, of which a delete knows nothing.
    fn settle_export(&self, call: &Call, record: &VolumeRecord) -> Result<(), ControlPlaneError> {
        let job = self.read("read a job", |connection| {
            job_table::of_volume(connection, &record.id)
        })?;
        let Some(job) = job else { return Ok(()) };
        let driver = self.driver_of(call, record)?;
        self.settle(call, driver.as_ref(), &job, record.clone()).map(drop)
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
            self.erase_keyslots(call, driver.as_ref(), record, &mut job)?;
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
        let mut erasure = job.erasure;
        erasure.lives_on = self.lives_on(record)?;
        self.transact("forget a volume", |transaction| {
            volume_table::forget(transaction, &record.id)
        })?;
        if let Some(passphrase) = &record.passphrase {
            let kept = self.read("look for a sealed key", |connection| {
                volume_table::has_key(connection, passphrase)
            })?;
            if !kept {
                erasure.note_destroyed(format!("sealed key {passphrase} destroyed"));
            }
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

    /// The copies that were made of a volume on purpose, each as a sentence.
    fn lives_on(&self, record: &VolumeRecord) -> Result<Vec<String>, ControlPlaneError> {
        let mut lines = Vec::new();
        // The former disk of a volume is not what was exported: that is the volume's.
        let exports = self.exports()?.into_iter();
        for export in exports.filter(|e| e.volume == record.id && !e.volume_gone) {
            let how = match (&export.declassified, export.encrypted) {
                (Some(reason), _) => format!("in clear ({reason})"),
                (None, true) => "under another passphrase".to_owned(),
                (None, false) => "in clear, as the volume was".to_owned(),
            };
            lines.push(format!(
                "its content was written to {} on host {}, {how}",
                export.path.display(),
                export.host
            ));
        }
        for other in &record.shares_key_with {
            lines.push(format!(
                "volume {other} shares its passphrase and volume key: an old header of this volume opens that one, if it is still there"
            ));
        }
        Ok(lines)
    }

    /// Has the pool remove the disk, and notes what the pool said that it had.
    fn remove_disk(
        &self,
        call: &Call,
        driver: &dyn PoolDriver,
        record: &VolumeRecord,
        job: &mut Job,
    ) -> Result<(), ControlPlaneError> {
        let (pool, id) = (&record.pool, &record.disk);
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
