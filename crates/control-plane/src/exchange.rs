//! A volume gets another disk: made and proved beside the old one, exchanged in one transaction, and only then is the old one
//! destroyed.
//!
//! The next disk has a row of its own from the beginning, like a volume that is being made, with a random id and its own key. The
//! transaction gives that disk and key to the volume, and the old disk and key to that row, together with a job that deletes it. So
//! what a dead process leaves is a create to undo or a delete to finish, and the volume itself is in order at every instant.

use rusqlite::Transaction;
use strongroom_passphrase_store::sqlite::InTransaction;
use strongroom_passphrase_store::{Owner, PassphraseStore, SealedRecord};
use strongroom_types::{Call, VolumeId};

use crate::job::{Job, Work};
use crate::placement::Candidate;
use crate::row::{self, Failure};
use crate::{
    ControlPlane, ControlPlaneError, Erasure, VolumeRecord, attachment, header_backup, job_table,
    snapshot_table, volume_table,
};

/// A volume that has another disk now, and what became of the one that it had.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exchanged {
    /// The volume as it is now.
    pub volume: VolumeRecord,
    /// What was destroyed of its former disk, and what was not.
    pub former: Erasure,
}

impl ControlPlane {
    /// The record of the disk that a volume is to have next. The volume is `Ready` and claimed.
    pub(crate) fn next_disk(
        &self,
        candidate: &Candidate,
        volume: &VolumeRecord,
        sealed: Option<&SealedRecord>,
    ) -> Result<VolumeRecord, ControlPlaneError> {
        let stand_in = VolumeId::random();
        let mut record = self.allocation(candidate, &stand_in, &volume.offering, volume.guest, sealed)?;
        // The name of the volume is easier to find in a pool than a random one, where it is free.
        record.disk = self.read("choose a name for a disk", |connection| {
            volume_table::free_disk_name(connection, &candidate.pool, &volume.id)
        })?;
        record.disk_of = Some(volume.id.clone());
        Ok(record)
    }

    /// Refuses to lose snapshots that nobody said may be lost. `None`: there is no way to say it.
    pub(crate) fn refuse_losing_snapshots(
        &self,
        volume: &VolumeRecord,
        lose: Option<bool>,
        job: &'static str,
    ) -> Result<(), ControlPlaneError> {
        let count = self.snapshots(&volume.id)?.len();
        if lose == Some(true) || count == 0 {
            return Ok(());
        }
        Err(ControlPlaneError::SnapshotsInTheWay {
            volume: volume.id.clone(),
            count,
            job,
            may_be_lost: lose.is_some(),
        })
    }

    /// Gives the volume the disk that was made for it, and takes the job out. Returns the row that now stands for the old disk, and
    /// the job that deletes it.
    pub(crate) fn exchange(
        &self,
        job: &Job,
        volume: &VolumeRecord,
        next: &VolumeRecord,
    ) -> Result<(VolumeRecord, Job), ControlPlaneError> {
        let former = VolumeRecord {
            id: next.id.clone(),
            disk_of: Some(volume.id.clone()),
            ..volume.clone()
        };
        let delete = Job::new(&former.id, Work::Delete);
        self.transact("exchange the disks of a volume", |transaction| {
            if !attachment::of(transaction, &[&volume.id, &next.id])?.is_empty() {
                return Err(ControlPlaneError::Busy {
                    volume: volume.id.clone(),
                }
                .into());
            }
            snapshot_table::remove_all(transaction, volume)?;
            header_backup::hand_over(transaction, &volume.id, &former.id)?;
            move_keys(transaction, volume, next)?;
            let mark = own_mark(transaction, &volume.id)?;
            // In between the row has nothing that only one row may have.
            transaction.execute(
                "UPDATE volumes SET disk = '~' || disk, encryption = NULL, passphrase = NULL, shares_key_with = NULL
                WHERE id = ?1",
                [next.id.as_str()],
            )?;
            set_disk(transaction, &volume.id, next, None)?;
            set_disk(transaction, &next.id, volume, mark)?;
            job_table::remove(transaction, &job.id)?;
            job_table::insert(transaction, &delete, None)
        })?;
        tracing::debug!(volume = %volume.id, former = %former.id, "disks exchanged");
        Ok((former, delete))
    }

    /// Destroys the old disk. When that does not succeed now, the volume is as it should be all the same, and the row that stands for
    /// the old disk stays.
    pub(crate) fn destroy_former(&self, call: &Call, former: &VolumeRecord, job: Job) -> Erasure {
        let error = match self.finish_delete(call, former, job.clone()) {
            Ok(erasure) => return erasure,
            Err(error) => error,
        };
        if let Err(database) = self.note_failure(&job, &error) {
            tracing::debug!(volume = %former.id, error = %database.chain(), "the failure is not recorded");
        }
        let mut erasure = Erasure::default();
        erasure.note_left(format!(
            "the former disk is not destroyed yet: {}; {} stands for it, and the next start, or deleting that, destroys it",
            error.chain(),
            former.id
        ));
        erasure
    }
}

/// Gives a row what is said of a disk in another.
fn set_disk(
    transaction: &Transaction<'_>,
    id: &VolumeId,
    disk: &VolumeRecord,
    mark: Option<String>,
) -> Result<(), Failure> {
    transaction.execute(
        "UPDATE volumes SET pool = ?2, disk = ?3, format = ?4, guest = ?5, device = ?6, encryption = ?7, passphrase = ?8,
        template = ?9, shares_key_with = ?10 WHERE id = ?1",
        (
            id.as_str(),
            disk.pool.as_str(),
            disk.disk.as_str(),
            disk.format.as_str(),
            row::stored(disk.guest.get()),
            disk.device.map(|d| row::stored(d.get())),
            disk.encryption.map(|e| e.as_str()),
            disk.passphrase.as_ref().map(|p| p.as_str()),
            disk.template.as_ref().map(|t| t.as_str()),
            mark,
        ),
    )?;
    Ok(())
}

/// The mark of a clone that shares a key, as the row has it. The record also names those that share with it, which is no mark.
fn own_mark(transaction: &Transaction<'_>, id: &VolumeId) -> Result<Option<String>, Failure> {
    Ok(transaction.query_row(
        "SELECT shares_key_with FROM volumes WHERE id = ?1",
        [id.as_str()],
        |row| row.get(0),
    )?)
}

/// The volume refers to the key of its next disk, and the row that stands for the old disk to the old key.
fn move_keys(
    transaction: &Transaction<'_>,
    volume: &VolumeRecord,
    next: &VolumeRecord,
) -> Result<(), Failure> {
    let store = InTransaction::new(transaction);
    for (key, from, to) in [
        (&volume.passphrase, &volume.id, &next.id),
        (&next.passphrase, &next.id, &volume.id),
    ] {
        if let Some(key) = key {
            store.add_reference(key, &Owner::volume(to))?;
            store.remove_reference(key, &Owner::volume(from))?;
        }
    }
    Ok(())
}
