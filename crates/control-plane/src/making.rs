//! Making a volume, whatever it is to hold: written down first, undone when it fails.

use strongroom_passphrase_store::SealedRecord;
use strongroom_storage_pool::{
    CreateVolume, ErrorKind, OpContext, PoolDriver, PoolError, Volume, VolumeContent,
};
use strongroom_types::{Call, TemplateId};

use crate::job::{Job, Work};
use crate::journal::closing_call;
use crate::key::Key;
use crate::{ControlPlane, ControlPlaneError, VolumeRecord, pool, template_table, volume, volume_table};

/// A volume that is to be made.
pub(crate) struct Plan<'a> {
    pub(crate) driver: &'a dyn PoolDriver,
    /// What it will be, without its device size.
    pub(crate) record: VolumeRecord,
    /// Its key; `None` for a plain volume and for one that shares a key.
    pub(crate) sealed: Option<&'a SealedRecord>,
    pub(crate) work: Work,
    /// The template that must stay until it is made, and of which the pool may keep a copy.
    pub(crate) template: Option<&'a TemplateId>,
    /// The content comes from a disk that has a key as well: then a key that does not open a disk may be that one's.
    pub(crate) copies: bool,
    /// Where the record says that it lies on a template: whether it may stand alone all the same.
    pub(crate) may_stand_alone: bool,
}

/// Has the driver make the disk that a record describes.
pub(crate) fn new_disk(
    cx: &OpContext<'_>,
    driver: &dyn PoolDriver,
    record: &VolumeRecord,
    key: &Key,
    content: VolumeContent<'_>,
    action: impl Into<String>,
) -> Result<Volume, ControlPlaneError> {
    let key = key.for_driver();
    let request = CreateVolume::new(&record.disk, record.guest, record.format, key, content);
    driver
        .create(cx, &request)
        .map_err(pool::failed(&record.pool, action.into()))
}

/// Whether what stands in the way was there before: it is somebody else's and stays.
fn is_foreign(error: &ControlPlaneError) -> bool {
    matches!(
        error.kind(),
        Some(ErrorKind::AlreadyExists | ErrorKind::WrongKey | ErrorKind::WrongDisk)
    )
}

impl ControlPlane {
    /// Writes the plan down with its key, has `make` make the disk with the key as it was stored, and has `finish` record what came
    /// out. `finish` gets the record with what the pool said, and takes the job out as its last step.
    ///
    /// After an error there is no volume, no key of its own and no disk.
    pub(crate) fn bring_about<T>(
        &self,
        call: &Call,
        plan: &Plan<'_>,
        make: impl FnOnce(&Key) -> Result<Volume, ControlPlaneError>,
        finish: impl FnOnce(&Job, &VolumeRecord) -> Result<T, ControlPlaneError>,
    ) -> Result<T, ControlPlaneError> {
        let record = &plan.record;
        self.refuse_foreign(call, plan.driver, record)?;
        let job = self.begin_with(&record.id, plan.work.clone(), plan.template, |transaction| {
            if let Some(template) = plan.template {
                template_table::note_copy(transaction, template, &record.pool)?;
            }
            volume_table::allocate(transaction, record, plan.sealed)
        })?;
        let mut ours = false;
        let done = self.unseal(record).and_then(|key| make(&key)).and_then(|made| {
            ours = true;
            let mut now = record.clone();
            now.device = Some(made.device);
            if plan.may_stand_alone && made.overlay_of.is_none() {
                now.template = None;
            }
            volume::agrees(&now, &made, record.guest)?;
            finish(&job, &now)
        });
        done.map_err(|error| {
            self.settle_failed(&job, error, |error| {
                let call = closing_call();
                let of_source = plan.copies && error.kind() != Some(ErrorKind::AlreadyExists);
                let remove = ours
                    || !is_foreign(error)
                    || (of_source && self.has_nothing(&call, plan.driver, record)?);
                let driver = remove.then_some(plan.driver);
                self.undo_create(&call, record, driver)
            })
        })
    }

    /// Something that the pool has under the name, and that no row knows, is not ours. It is found before the job is written
    /// down, so that undoing a job never removes it.
    fn refuse_foreign(
        &self,
        call: &Call,
        driver: &dyn PoolDriver,
        record: &VolumeRecord,
    ) -> Result<(), ControlPlaneError> {
        let foreign = |source: Option<PoolError>| ControlPlaneError::Foreign {
            pool: record.pool.clone(),
            volume: record.disk.clone(),
            source,
        };
        match driver.get(&self.context(call), &record.disk) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(foreign(None)),
            Err(e) if matches!(e.kind(), ErrorKind::WrongDisk | ErrorKind::AlreadyExists) => {
                Err(foreign(Some(e)))
            }
            Err(e) => Err(pool::failed(
                &record.pool,
                format!("say whether it has a volume {}", record.disk),
            )(e)),
        }
    }

    /// Whether the pool says that nothing has the name. What it began under it, and then found that the source is not what it should
    /// be, is not there to be seen, and is removed.
    fn has_nothing(
        &self,
        call: &Call,
        driver: &dyn PoolDriver,
        record: &VolumeRecord,
    ) -> Result<bool, ControlPlaneError> {
        match driver.get(&self.context(call), &record.disk) {
            Ok(found) => Ok(found.is_none()),
            Err(e) if matches!(e.kind(), ErrorKind::WrongDisk | ErrorKind::AlreadyExists) => Ok(false),
            Err(e) => Err(pool::failed(
                &record.pool,
                format!("say whether it has a volume {}", record.disk),
            )(e)),
        }
    }

    /// Removes what was being made: disk, row, key. Without a driver the disk is left alone, because it is not ours.
    pub(crate) fn undo_create(
        &self,
        call: &Call,
        record: &VolumeRecord,
        driver: Option<&dyn PoolDriver>,
    ) -> Result<(), ControlPlaneError> {
        if let Some(driver) = driver {
            driver
                .delete(&self.context(call), &record.disk)
                .map_err(pool::failed(
                    &record.pool,
                    format!("remove volume {}", record.disk),
                ))?;
        }
        self.transact("forget a volume", |transaction| {
            volume_table::forget(transaction, &record.id)
        })?;
        // What is left of the sealed key in the database's log opened nothing that is there: it may wait for the next start.
        tracing::debug!(volume = %record.id, "undone");
        Ok(())
    }
}
