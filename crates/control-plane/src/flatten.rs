use strongroom_storage_pool::{FlattenVolume, PoolDriver, Volume};
use strongroom_types::{Call, VolumeId};

use crate::job::{Job, Work};
use crate::journal::closing_call;
use crate::recovery::Settled;
use crate::{ControlPlane, ControlPlaneError, VolumeRecord, VolumeState, pool, volume, volume_table};

impl ControlPlane {
    /// Makes a volume independent of its template: all that it still reads from there is copied into it, through its cipher. Its content
    /// stays what it was. From then on all of it is encrypted, if it is encrypted at all.
    ///
    /// After an error the volume is as it was, or flattened, and the record says which. A kill leaves what
    /// [`recover`](Self::recover) finishes. Where neither can be known, the volume is in the state
    /// [`Failed`](crate::VolumeState::Failed), and this again settles it.
    ///
    /// # Errors
    /// [`StandsAlone`](ControlPlaneError::StandsAlone), [`SnapshotsInTheWay`](ControlPlaneError::SnapshotsInTheWay), because a
    /// snapshot reads from the template as well, [`Unknown`](ControlPlaneError::Unknown),
    /// [`Unsupported`](ControlPlaneError::Unsupported), [`Unfinished`](ControlPlaneError::Unfinished),
    /// [`Key`](ControlPlaneError::Key), [`Pool`](ControlPlaneError::Pool).
    pub fn flatten_volume(&self, call: &Call, id: &VolumeId) -> Result<VolumeRecord, ControlPlaneError> {
        let _claim = self.claims.take(id)?;
        let record = self.volume(id)?;
        match record.state {
            VolumeState::Ready => {}
            VolumeState::Working(_) | VolumeState::Failed(_)
                if record.state == VolumeState::Failed(crate::JobKind::Flatten) => {}
            VolumeState::Working(_) | VolumeState::Failed(_) => return Err(self.unfinished(id)),
        }
        if record.template.is_none() {
            return Err(ControlPlaneError::StandsAlone { volume: id.clone() });
        }
        self.refuse_losing_snapshots(&record, None, "be flattened")?;
        if let Some(guest) = self.in_guest(id)? {
            return self.flatten_live(call, &record, &guest);
        }
        let driver = self.driver_of(call, &record)?;
        if !driver.capabilities().overlays.contains(&record.format) {
            return Err(ControlPlaneError::Unsupported {
                problem: format!("makes and flattens no {} overlays", record.format),
                pool: record.pool,
            });
        }
        tracing::debug!(volume = %id, "flatten");
        let job = self.begin(id, Work::Flatten, |_| Ok(()))?;
        match self.flatten_and_record(call, driver.as_ref(), &job, &record) {
            Ok(()) => self.volume(id),
            Err(error) => Err(self.settle_failed(&job, error, |_| {
                self.record_as_seen(&closing_call(), driver.as_ref(), &job, &record)
                    .map(drop)
            })),
        }
    }

    fn flatten_and_record(
        &self,
        call: &Call,
        driver: &dyn PoolDriver,
        job: &Job,
        record: &VolumeRecord,
    ) -> Result<(), ControlPlaneError> {
        let key = self.unseal(record)?;
        let request = FlattenVolume::new(&record.disk, key.for_driver());
        let flat = driver
            .flatten(&self.context(call), &request)
            .map_err(pool::failed(
                &record.pool,
                format!("flatten volume {}", record.id),
            ))?;
        let mut alone = record.clone();
        alone.template = None;
        volume::agrees(&alone, &flat, record.guest)?;
        self.record_flatness(job, record, &flat)
    }

    /// Asks the pool whether the volume still lies on its template, and records it.
    pub(crate) fn record_as_seen(
        &self,
        call: &Call,
        driver: &dyn PoolDriver,
        job: &Job,
        record: &VolumeRecord,
    ) -> Result<Volume, ControlPlaneError> {
        let seen = self.look(call, driver, record)?;
        let mut now = record.clone();
        if seen.overlay_of.is_none() {
            now.template = None;
        }
        volume::agrees(&now, &seen, record.guest)?;
        self.record_flatness(job, record, &seen)?;
        Ok(seen)
    }

    fn record_flatness(
        &self,
        job: &Job,
        record: &VolumeRecord,
        seen: &Volume,
    ) -> Result<(), ControlPlaneError> {
        self.end(job, |transaction| {
            volume_table::set_template(transaction, &record.id, seen.overlay_of.as_ref())?;
            volume_table::set_sizes(transaction, &record.id, seen.guest, seen.device)
        })
    }

    /// Finishes a flatten that a dead process began, or records how far it came.
    pub(crate) fn finish_flatten(
        &self,
        call: &Call,
        driver: &dyn PoolDriver,
        job: &Job,
        record: &VolumeRecord,
    ) -> Result<Settled, ControlPlaneError> {
        let Err(error) = self.flatten_and_record(call, driver, job, record) else {
            return Ok(Settled::Finished);
        };
        match self.record_as_seen(call, driver, job, record) {
            Ok(seen) if seen.overlay_of.is_none() => Ok(Settled::Finished),
            Ok(_) => Ok(Settled::Undone),
            Err(_) => Err(error),
        }
    }
}
