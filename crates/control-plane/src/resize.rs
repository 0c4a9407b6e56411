use strongroom_storage_pool::{PoolDriver, ResizeVolume, Volume};
use strongroom_types::{Call, GuestSize, VolumeId};

use crate::job::{Job, Work};
use crate::journal::closing_call;
use crate::key::Key;
use crate::recovery::Settled;
use crate::{ControlPlane, ControlPlaneError, VolumeRecord, pool, volume, volume_table};

/// Which way a size goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Grow,
    Shrink,
}

impl ControlPlane {
    /// Makes a volume larger: its guest then sees exactly `to` bytes. Growing to the size that it has changes nothing. A guest that has it
    /// open sees them at once, and goes on; a block device has to be large enough then.
    ///
    /// After an error, and after a kill once [`recover`](Self::recover) has run, the volume has the old size or the new one,
    /// and the record says which.
    ///
    /// # Errors
    /// [`Unknown`](ControlPlaneError::Unknown), [`Smaller`](ControlPlaneError::Smaller),
    /// [`Unsupported`](ControlPlaneError::Unsupported), [`Unfinished`](ControlPlaneError::Unfinished),
    /// [`Key`](ControlPlaneError::Key), [`Pool`](ControlPlaneError::Pool), of a volume that a guest has open
    /// [`Host`](ControlPlaneError::Host) and [`Vm`](ControlPlaneError::Vm).
    pub fn grow_volume(
        &self,
        call: &Call,
        id: &VolumeId,
        to: GuestSize,
    ) -> Result<VolumeRecord, ControlPlaneError> {
        let _claim = self.claims.take(id)?;
        let record = self.ready_volume(id)?;
        if to < record.guest {
            return Err(ControlPlaneError::Smaller {
                volume: id.clone(),
                now: record.guest.get(),
                asked: to.get(),
            });
        }
        if let Some(guest) = self.in_guest(id)?
            && to > record.guest
        {
            return self.grow_live(call, &record, &guest, to);
        }
        self.resize(call, record, to, Way::Grow)
    }

    /// Makes a volume that nobody has open smaller: its guest then sees exactly `to` bytes, and what was behind them is lost. The guest
    /// has made its file systems smaller before. Shrinking to the size that it has changes nothing.
    ///
    /// After an error, and after a kill once [`recover`](Self::recover) has run, the volume has the old size or the new one,
    /// and the record says which.
    ///
    /// # Errors
    /// As for [`grow_volume`](Self::grow_volume), with [`Larger`](ControlPlaneError::Larger) for `Smaller`;
    /// [`SnapshotsInTheWay`](ControlPlaneError::SnapshotsInTheWay).
    pub fn shrink_volume(
        &self,
        call: &Call,
        id: &VolumeId,
        to: GuestSize,
    ) -> Result<VolumeRecord, ControlPlaneError> {
        let _claim = self.claim(id)?;
        let record = self.ready_volume(id)?;
        if to > record.guest {
            return Err(ControlPlaneError::Larger {
                volume: id.clone(),
                now: record.guest.get(),
                asked: to.get(),
            });
        }
        // A snapshot inside the disk has the size of its time, and a tool cannot cut the disk under it.
        self.refuse_losing_snapshots(&record, None, "be shrunk")?;
        self.resize(call, record, to, Way::Shrink)
    }

    fn resize(
        &self,
        call: &Call,
        record: VolumeRecord,
        to: GuestSize,
        way: Way,
    ) -> Result<VolumeRecord, ControlPlaneError> {
        if to == record.guest {
            return Ok(record);
        }
        let driver = self.driver_of(call, &record)?;
        let can = driver.capabilities();
        let (able, problem, work) = match way {
            Way::Grow => (can.grow, "does not grow volumes", Work::Grow { to }),
            Way::Shrink => (can.shrink, "does not shrink volumes", Work::Shrink { to }),
        };
        if !able {
            return Err(ControlPlaneError::Unsupported {
                pool: record.pool,
                problem: problem.to_owned(),
            });
        }
        let key = self.unseal(&record)?;
        tracing::debug!(volume = %record.id, from = record.guest.get(), to = to.get(), "resize");
        let job = self.begin(&record.id, work, |_| Ok(()))?;
        match self.resize_and_record(call, driver.as_ref(), &job, &record, &key, to) {
            Ok(()) => self.volume(&record.id),
            Err(error) => Err(self.settle_failed(&job, error, |error| {
                if error.changed_nothing() {
                    return self.end(&job, |_| Ok(()));
                }
                self.record_real_size(&closing_call(), driver.as_ref(), &job, &record)
                    .map(drop)
            })),
        }
    }

    fn resize_and_record(
        &self,
        call: &Call,
        driver: &dyn PoolDriver,
        job: &Job,
        record: &VolumeRecord,
        key: &Key,
        to: GuestSize,
    ) -> Result<(), ControlPlaneError> {
        let request = ResizeVolume::new(&record.disk, to, key.for_driver());
        let cx = self.context(call);
        let resized = match job.work {
            Work::Shrink { .. } => driver.shrink(&cx, &request),
            _ => driver.grow(&cx, &request),
        };
        let verb = match job.work {
            Work::Shrink { .. } => "shrink",
            _ => "grow",
        };
        let resized = resized.map_err(pool::failed(&record.pool, format!("{verb} volume {}", record.id)))?;
        volume::agrees(record, &resized, to)?;
        self.end(job, |transaction| {
            volume_table::set_sizes(transaction, &record.id, resized.guest, resized.device)
        })
    }

    /// Asks the pool for the size and records it.
    pub(crate) fn record_real_size(
        &self,
        call: &Call,
        driver: &dyn PoolDriver,
        job: &Job,
        record: &VolumeRecord,
    ) -> Result<Volume, ControlPlaneError> {
        let seen = self.look(call, driver, record)?;
        volume::agrees(record, &seen, seen.guest)?;
        self.end(job, |transaction| {
            volume_table::set_sizes(transaction, &record.id, seen.guest, seen.device)
        })?;
        Ok(seen)
    }

    /// What the pool has of a volume that must be there.
    pub(crate) fn look(
        &self,
        call: &Call,
        driver: &dyn PoolDriver,
        record: &VolumeRecord,
    ) -> Result<Volume, ControlPlaneError> {
        driver
            .get(&self.context(call), &record.disk)
            .map_err(pool::failed(
                &record.pool,
                format!("say what it has of volume {}", record.id),
            ))?
            .ok_or_else(|| ControlPlaneError::Mismatch {
                volume: record.id.clone(),
                problem: format!("pool {} has no such volume", record.pool),
            })
    }

    /// Finishes a grow or shrink that a dead process began: the size is what was asked for, or can be made so, or is recorded as it is.
    pub(crate) fn finish_resize(
        &self,
        call: &Call,
        driver: &dyn PoolDriver,
        job: &Job,
        record: &VolumeRecord,
        to: GuestSize,
    ) -> Result<Settled, ControlPlaneError> {
        if self.look(call, driver, record).is_ok_and(|seen| seen.guest == to) {
            self.record_real_size(call, driver, job, record)?;
            return Ok(Settled::Finished);
        }
        let again = self
            .unseal(record)
            .and_then(|key| self.resize_and_record(call, driver, job, record, &key, to));
        match again {
            Ok(()) => Ok(Settled::Finished),
            Err(error) => match self.record_real_size(call, driver, job, record) {
                Ok(seen) if seen.guest == to => Ok(Settled::Finished),
                Ok(_) => Ok(Settled::Undone),
                Err(_) => Err(error),
            },
        }
    }
}
