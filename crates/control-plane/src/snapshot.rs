use std::sync::Arc;

use strongroom_endpoint_selector::{HostAnswer, InspectDisk};
use strongroom_storage_pool::{ErrorKind, PoolDriver, SnapshotAction, SnapshotVolume, Volume};
use strongroom_types::{Call, DiskFormat, GuestSize, SnapshotId, VolumeId};

use crate::host_work::{odd_answer, run};
use crate::job::{Job, Work};
use crate::journal::closing_call;
use crate::key::Key;
use crate::{
    ControlPlane, ControlPlaneError, VolumeRecord, VolumeState, pool, snapshot_table, volume, volume_table,
};

/// A snapshot of a volume, kept with the volume in its pool.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotRecord {
    /// The volume.
    pub volume: VolumeId,
    /// Its name, which no other snapshot of the volume has.
    pub id: SnapshotId,
    /// What the guest saw when it was taken.
    pub guest: GuestSize,
}

/// A volume whose snapshots are worked on.
struct Subject {
    record: VolumeRecord,
    driver: Arc<dyn PoolDriver>,
    key: Key,
}

fn unknown(volume: &VolumeId, snapshot: &SnapshotId) -> ControlPlaneError {
    ControlPlaneError::Unknown {
        what: "snapshot",
        id: format!("{snapshot} of volume {volume}"),
    }
}

impl ControlPlane {
    /// Takes a snapshot of a volume that nobody has open. The key of an encrypted volume then counts as needed for the
    /// snapshot as well.
    ///
    /// After an error there is no such snapshot. A kill leaves what [`recover`](Self::recover) undoes.
    ///
    /// # Errors
    /// [`Unknown`](ControlPlaneError::Unknown), [`Taken`](ControlPlaneError::Taken),
    /// [`ForeignSnapshot`](ControlPlaneError::ForeignSnapshot) when a qcow2 disk has such a snapshot that is not recorded (it is
    /// not touched), [`Unsupported`](ControlPlaneError::Unsupported) when the pool keeps no snapshots of the volume's format,
    /// [`Unfinished`](ControlPlaneError::Unfinished), [`Key`](ControlPlaneError::Key), [`Pool`](ControlPlaneError::Pool),
    /// [`Host`](ControlPlaneError::Host), [`NoHost`](ControlPlaneError::NoHost).
    pub fn create_snapshot(
        &self,
        call: &Call,
        volume: &VolumeId,
        snapshot: &SnapshotId,
    ) -> Result<SnapshotRecord, ControlPlaneError> {
        let _claim = self.claim(volume)?;
        let subject = self.subject(call, self.ready_volume(volume)?)?;
        if self.snapshot(volume, snapshot)?.is_some() {
            return Err(ControlPlaneError::Taken {
                what: "snapshot",
                id: format!("{snapshot} of volume {volume}"),
            });
        }
        self.refuse_unrecorded(call, &subject.record, snapshot)?;
        tracing::debug!(%volume, %snapshot, "take a snapshot");
        let work = Work::TakeSnapshot {
            snapshot: snapshot.clone(),
        };
        let job = self.begin(volume, work, |_| Ok(()))?;
        let taken = self
            .snapshot_in_pool(call, &subject, snapshot, SnapshotAction::Create)
            .and_then(|seen| volume::agrees(&subject.record, &seen, subject.record.guest))
            .and_then(|()| {
                self.end(&job, |transaction| {
                    snapshot_table::insert(transaction, &subject.record, snapshot)
                })
            });
        match taken {
            Ok(()) => self
                .snapshot(volume, snapshot)?
                .ok_or_else(|| unknown(volume, snapshot)),
            Err(error) => Err(self.settle_failed(&job, error, |error| {
                if !error.changed_nothing() {
                    self.snapshot_in_pool(&closing_call(), &subject, snapshot, SnapshotAction::Delete)?;
                }
                self.end(&job, |_| Ok(()))
            })),
        }
    }

    /// Removes a snapshot. Its content is gone; the volume stays as it is.
    ///
    /// A failure of which nobody can say that nothing happened is followed by a second attempt. After an error the snapshot is
    /// there; after a kill [`recover`](Self::recover) finishes the removal.
    ///
    /// # Errors
    /// As for [`create_snapshot`](Self::create_snapshot).
    pub fn delete_snapshot(
        &self,
        call: &Call,
        volume: &VolumeId,
        snapshot: &SnapshotId,
    ) -> Result<(), ControlPlaneError> {
        let _claim = self.claim(volume)?;
        let subject = self.subject(call, self.ready_volume(volume)?)?;
        self.snapshot(volume, snapshot)?
            .ok_or_else(|| unknown(volume, snapshot))?;
        tracing::debug!(%volume, %snapshot, "remove a snapshot");
        let work = Work::RemoveSnapshot {
            snapshot: snapshot.clone(),
        };
        let job = self.begin(volume, work, |_| Ok(()))?;
        self.twice(call, &job, true, |call| {
            self.remove_snapshot(call, &job, &subject, snapshot)
        })
    }

    /// Makes a volume what it was when the snapshot was taken, its size included. What was written since is lost; the snapshot
    /// stays.
    ///
    /// A failure of which nobody can say that nothing happened is followed by a second attempt, because content in between
    /// helps nobody. After a kill [`recover`](Self::recover) finishes the restore. A volume whose restore or
    /// [`replace_content`](Self::replace_content) did not end can be restored.
    ///
    /// # Errors
    /// As for [`create_snapshot`](Self::create_snapshot). When the second attempt failed as well, the error is
    /// [`NotUndone`](ControlPlaneError::NotUndone).
    pub fn restore_snapshot(
        &self,
        call: &Call,
        volume: &VolumeId,
        snapshot: &SnapshotId,
    ) -> Result<VolumeRecord, ControlPlaneError> {
        let _claim = self.claim(volume)?;
        let record = self.volume(volume)?;
        if let VolumeState::Working(_) = record.state {
            return Err(self.unfinished(volume));
        }
        let in_order = record.state == VolumeState::Ready;
        let subject = self.subject(call, record)?;
        if !subject.driver.capabilities().revert {
            return Err(ControlPlaneError::Unsupported {
                pool: subject.record.pool,
                problem: "does not bring volumes back to their snapshots".to_owned(),
            });
        }
        self.snapshot(volume, snapshot)?
            .ok_or_else(|| unknown(volume, snapshot))?;
        tracing::debug!(%volume, %snapshot, "restore a snapshot");
        let work = Work::Restore {
            snapshot: snapshot.clone(),
        };
        let job = self.begin(volume, work, |_| Ok(()))?;
        self.twice(call, &job, in_order, |call| {
            self.restore(call, &job, &subject, snapshot)
        })?;
        self.volume(volume)
    }

    /// The snapshots of a volume, by name.
    ///
    /// # Errors
    /// [`ControlPlaneError::Unknown`] volume, [`ControlPlaneError::Store`], [`ControlPlaneError::DamagedRow`].
    pub fn snapshots(&self, volume: &VolumeId) -> Result<Vec<SnapshotRecord>, ControlPlaneError> {
        self.volume(volume)?;
        self.read("list snapshots", |connection| {
            snapshot_table::list(connection, volume)
        })
    }

    fn snapshot(
        &self,
        volume: &VolumeId,
        snapshot: &SnapshotId,
    ) -> Result<Option<SnapshotRecord>, ControlPlaneError> {
        self.read("read a snapshot", |connection| {
            snapshot_table::get(connection, volume, snapshot)
        })
    }

    /// Driver and key, where the pool keeps snapshots of such a volume.
    fn subject(&self, call: &Call, record: VolumeRecord) -> Result<Subject, ControlPlaneError> {
        let driver = self.driver_of(call, &record)?;
        if !driver.capabilities().snapshot_offline.contains(&record.format) {
            return Err(ControlPlaneError::Unsupported {
                problem: format!("keeps no snapshots of {} volumes", record.format),
                pool: record.pool,
            });
        }
        let key = self.unseal(&record)?;
        Ok(Subject { record, driver, key })
    }

    /// A snapshot inside the disk that no row knows is not ours: taking it would change nothing and look like success, and
    /// undoing that would remove it. It is found before the job is written down.
    fn refuse_unrecorded(
        &self,
        call: &Call,
        record: &VolumeRecord,
        snapshot: &SnapshotId,
    ) -> Result<(), ControlPlaneError> {
        if record.format != DiskFormat::Qcow2 {
            return Ok(());
        }
        let action = format!("look at the snapshots of volume {}", record.id);
        let looked = self.on_host(call, record, &action, |at| {
            let look =
                InspectDisk::new(at.location, record.format, record.encryption).base_in(at.base_directory());
            match run(at.endpoint, call, &action, &look.into())? {
                HostAnswer::Disk(facts) => Ok(facts.snapshots.contains(snapshot)),
                _ => Err(odd_answer(at.endpoint, &action)),
            }
        });
        let found = match looked {
            // Whether there is a disk all the same is the driver's to say.
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => false,
            looked => looked?,
        };
        // An attachment that could not be ended after the look would be in the way.
        self.driver_of(call, record)?;
        if found {
            return Err(ControlPlaneError::ForeignSnapshot {
                volume: record.id.clone(),
                snapshot: snapshot.clone(),
            });
        }
        Ok(())
    }

    fn snapshot_in_pool(
        &self,
        call: &Call,
        subject: &Subject,
        snapshot: &SnapshotId,
        action: SnapshotAction,
    ) -> Result<Volume, ControlPlaneError> {
        let verb = match action {
            SnapshotAction::Create => "take",
            SnapshotAction::Restore => "restore",
            SnapshotAction::Delete => "remove",
        };
        let (pool, volume) = (&subject.record.pool, &subject.record.id);
        let request = SnapshotVolume::new(&subject.record.disk, snapshot, action, subject.key.for_driver());
        subject
            .driver
            .snapshot(&self.context(call), &request)
            .map_err(pool::failed(
                pool,
                format!("{verb} snapshot {snapshot} of volume {volume}"),
            ))
    }

    fn remove_snapshot(
        &self,
        call: &Call,
        job: &Job,
        subject: &Subject,
        snapshot: &SnapshotId,
    ) -> Result<(), ControlPlaneError> {
        self.snapshot_in_pool(call, subject, snapshot, SnapshotAction::Delete)?;
        self.end(job, |transaction| {
            snapshot_table::remove(transaction, &subject.record, snapshot)
        })
    }

    fn restore(
        &self,
        call: &Call,
        job: &Job,
        subject: &Subject,
        snapshot: &SnapshotId,
    ) -> Result<(), ControlPlaneError> {
        let record = &subject.record;
        let restored = self.snapshot_in_pool(call, subject, snapshot, SnapshotAction::Restore)?;
        volume::agrees(record, &restored, restored.guest)?;
        self.end(job, |transaction| {
            volume_table::set_sizes(transaction, &record.id, restored.guest, restored.device)
        })
    }

    /// Runs work that can be finished by running it again, and runs it again when it failed in the middle. The job of work that
    /// changed nothing is taken out only when the volume was in order before.
    fn twice(
        &self,
        call: &Call,
        job: &Job,
        in_order: bool,
        work: impl Fn(&Call) -> Result<(), ControlPlaneError>,
    ) -> Result<(), ControlPlaneError> {
        let Err(error) = work(call) else { return Ok(()) };
        if in_order && error.changed_nothing() {
            return Err(self.settle_failed(job, error, |_| self.end(job, |_| Ok(()))));
        }
        match work(&closing_call()) {
            Ok(()) => Ok(()),
            Err(again) => Err(self.settle_failed(job, error, |_| Err(again))),
        }
    }

    /// Undoes a snapshot that a dead process was taking.
    pub(crate) fn undo_snapshot(
        &self,
        call: &Call,
        job: &Job,
        record: VolumeRecord,
        snapshot: &SnapshotId,
    ) -> Result<(), ControlPlaneError> {
        let subject = self.subject(call, record)?;
        self.snapshot_in_pool(call, &subject, snapshot, SnapshotAction::Delete)?;
        self.end(job, |_| Ok(()))
    }

    /// Finishes the removal of a snapshot that a dead process began.
    pub(crate) fn finish_removal(
        &self,
        call: &Call,
        job: &Job,
        record: VolumeRecord,
        snapshot: &SnapshotId,
    ) -> Result<(), ControlPlaneError> {
        let subject = self.subject(call, record)?;
        self.remove_snapshot(call, job, &subject, snapshot)
    }

    /// Finishes a restore that a dead process began.
    pub(crate) fn finish_restore(
        &self,
        call: &Call,
        job: &Job,
        record: VolumeRecord,
        snapshot: &SnapshotId,
    ) -> Result<(), ControlPlaneError> {
        let subject = self.subject(call, record)?;
        self.restore(call, job, &subject, snapshot)
    }
}
