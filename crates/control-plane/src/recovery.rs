use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use strongroom_endpoint_selector::SourceImage;
use strongroom_storage_pool::PoolDriver;
use strongroom_types::{Call, PoolId, VmId, VolumeId};

use crate::error::chained;
use crate::job::{Job, Work};
use crate::{
    ControlPlane, ControlPlaneError, Erasure, HeaderBackupRecord, JobKind, VolumeRecord, attachment,
    job_table, pool,
};

/// What a job that is settled came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settled {
    Finished,
    Undone,
    /// A delete is finished.
    Erased(Erasure),
}

/// What became of something that a dead process left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It is done.
    Finished,
    /// It is as if it had never begun.
    Undone,
    /// It could be neither finished nor undone, for this reason. The next start tries again.
    Failed(String),
}

/// What a dead process worked on. It prints as `volume v1` or `virtual machine m1`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Subject {
    /// A volume.
    Volume(VolumeId),
    /// A virtual machine.
    Vm(VmId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(id) => write!(f, "volume {id}"),
            Self::Vm(id) => write!(f, "virtual machine {id}"),
        }
    }
}

/// Something that a dead process left, and what became of it. It prints as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// The volume or the virtual machine.
    pub subject: Subject,
    /// The volume whose next or former disk this is; `None` for a volume proper.
    pub disk_of: Option<VolumeId>,
    /// The job; `None` for an attachment that had to be ended.
    pub job: Option<JobKind>,
    /// What became of it.
    pub outcome: Outcome,
    /// Of a delete that is finished: what was destroyed and what was left, by the dead process and now.
    pub erasure: Option<Erasure>,
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.subject)?;
        if let Some(volume) = &self.disk_of {
            write!(f, ", which stands for another disk of volume {volume}")?;
        }
        match self.job {
            Some(job) => write!(f, ": an earlier process began to {job}; this ")?,
            None => write!(f, ": an earlier process left it attached; this ")?,
        }
        match &self.outcome {
            Outcome::Finished => f.write_str("is finished now")?,
            Outcome::Undone => f.write_str("is undone now")?,
            Outcome::Failed(reason) => write!(
                f,
                "could be neither finished nor undone, and the next start tries again: {reason}"
            )?,
        }
        match &self.erasure {
            Some(erasure) if !erasure.left.is_empty() => {
                write!(f, "; not destroyed: {}", erasure.left.join("; "))
            }
            _ => Ok(()),
        }
    }
}

/// The pools of unfinished work, opened and swept once each; of those that failed, why.
type Swept = BTreeMap<PoolId, Result<Arc<dyn PoolDriver>, String>>;

/// Why a pool cannot be swept, as a fragment that follows its name.
fn without_pool(error: &ControlPlaneError) -> String {
    match error {
        ControlPlaneError::Pool { action, source, .. } => chained(format!("cannot {action}"), Some(source)),
        _ => format!("cannot be used: {}", error.chain()),
    }
}

/// What a piece of work was about.
struct Of {
    subject: Subject,
    disk_of: Option<VolumeId>,
    job: Option<JobKind>,
}

impl Of {
    fn volume(record: &VolumeRecord, job: Option<JobKind>) -> Self {
        Self {
            subject: Subject::Volume(record.id.clone()),
            disk_of: record.disk_of.clone(),
            job,
        }
    }
}

impl ControlPlane {
    /// Finishes or undoes what earlier processes left: first what their drivers had under way in the pools, then their
    /// attachments, then the jobs of virtual machines, then those of volumes, the oldest first.
    ///
    /// Starting a virtual machine is finished where its guest runs and undone where it does not; so is giving it a disk. Switching it off and
    /// taking a disk from it are finished; a guest that was only asked to go down, or does not let go of a disk, goes on.
    ///
    /// Making a volume, a snapshot, an export or a header backup is undone, and so is making another disk for a volume, which then has
    /// the one that it had. Removing, restoring and overwriting is finished. A resize or flatten is finished where that is possible;
    /// else the volume is recorded as it is. What fails is in the answer, stays in the database and hinders nothing else. Only pools
    /// with unfinished work are touched, and those that an earlier version of this crate added, which it did not
    /// [prepare](PoolDriver::prepare). Removals of templates that did not end go on; one that fails is in the log.
    ///
    /// Required: no other process works on the database or the pools, and no other work of this control plane is running.
    ///
    /// # Errors
    /// [`Store`](ControlPlaneError::Store), [`DamagedRow`](ControlPlaneError::DamagedRow),
    /// [`Interrupted`](ControlPlaneError::Interrupted); what was not reached is left for the next time.
    pub fn recover(&self, call: &Call) -> Result<Vec<Recovered>, ControlPlaneError> {
        let mut swept = Swept::new();
        let mut recovered = Vec::new();
        for (volume, host) in self.read("list attachments", attachment::list)? {
            let record = self.volume(&volume)?;
            let ended = self
                .swept(call, &mut swept, &record)
                .and_then(|driver| self.detach(call, driver.as_ref(), &record, &host));
            self.take_stock(
                call,
                &mut recovered,
                Of::volume(&record, None),
                ended.map(|()| Settled::Finished),
            )?;
        }
        self.recover_vms(call, |vm, job, settled| {
            let of = Of {
                subject: Subject::Vm(vm.id.clone()),
                disk_of: None,
                job: Some(job),
            };
            self.take_stock(call, &mut recovered, of, settled)
        })?;
        for job in self.read("list jobs", job_table::list)? {
            let record = self.volume(&job.volume)?;
            let _claim = self.claims.take(&job.volume)?;
            let settled = self
                .swept(call, &mut swept, &record)
                .and_then(|driver| self.settle(call, driver.as_ref(), &job, record.clone()));
            if let Err(error) = &settled
                && call.check().is_ok()
            {
                self.note_failure(&job, error)?;
            }
            let of = Of::volume(&record, Some(job.work.kind()));
            self.take_stock(call, &mut recovered, of, settled)?;
        }
        self.prepare_old_pools(call)?;
        self.finish_template_removals(call)?;
        // A process that died right after its last transaction did not get to this.
        if let Err(error) = self.store.database().purge() {
            tracing::warn!(error = %ControlPlaneError::Store(error).chain(), "the log of the database is not truncated");
        }
        Ok(recovered)
    }

    /// Adds what became of one thing; ends when the caller asked to stop.
    fn take_stock(
        &self,
        call: &Call,
        recovered: &mut Vec<Recovered>,
        of: Of,
        settled: Result<Settled, ControlPlaneError>,
    ) -> Result<(), ControlPlaneError> {
        let mut erasure = None;
        let outcome = match settled {
            Ok(Settled::Erased(erased)) => {
                erasure = Some(erased);
                Outcome::Finished
            }
            Ok(Settled::Finished) => Outcome::Finished,
            Ok(Settled::Undone) => Outcome::Undone,
            Err(error) => {
                call.check().map_err(|source| ControlPlaneError::Interrupted {
                    action: "all that an earlier process left was finished",
                    source,
                })?;
                Outcome::Failed(error.chain())
            }
        };
        let one = Recovered {
            subject: of.subject,
            disk_of: of.disk_of,
            job: of.job,
            outcome,
            erasure,
        };
        tracing::debug!("{one}");
        recovered.push(one);
        Ok(())
    }

    /// The driver of the volume's pool, after it has removed what it had under way.
    fn swept(
        &self,
        call: &Call,
        swept: &mut Swept,
        record: &VolumeRecord,
    ) -> Result<Arc<dyn PoolDriver>, ControlPlaneError> {
        let pool = &record.pool;
        let sweep = || {
            let driver = self.driver(pool)?;
            driver
                .recover(&self.context(call))
                .map_err(pool::failed(pool, "remove what earlier work left"))?;
            Ok::<_, ControlPlaneError>(driver)
        };
        swept
            .entry(pool.clone())
            .or_insert_with(|| sweep().map_err(|error| without_pool(&error)))
            .clone()
            .map_err(|problem| ControlPlaneError::Unsupported {
                pool: pool.clone(),
                problem,
            })
    }

    /// Finishes or undoes a job.
    pub(crate) fn settle(
        &self,
        call: &Call,
        driver: &dyn PoolDriver,
        job: &Job,
        record: VolumeRecord,
    ) -> Result<Settled, ControlPlaneError> {
        if let Work::Grow { .. } | Work::Flatten = job.work
            && let Some(guest) = self.in_guest(&record.id)?
        {
            return self.finish_live(call, job, &record, &guest);
        }
        match &job.work {
            Work::Create | Work::Import | Work::Clone | Work::Reinstall | Work::Move => {
                self.undo_create(call, &record, Some(driver))?;
                Ok(Settled::Undone)
            }
            Work::Grow { to } | Work::Shrink { to } => self.finish_resize(call, driver, job, &record, *to),
            Work::Flatten => self.finish_flatten(call, driver, job, &record),
            Work::Export { export, host, path } => {
                self.undo_export(call, job, export, host, Path::new(path))?;
                Ok(Settled::Undone)
            }
            Work::TakeSnapshot { snapshot } => {
                self.undo_snapshot(call, job, record, snapshot)?;
                Ok(Settled::Undone)
            }
            Work::RemoveSnapshot { snapshot } => {
                self.finish_removal(call, job, record, snapshot)?;
                Ok(Settled::Finished)
            }
            Work::Restore { snapshot } => {
                self.finish_restore(call, job, record, snapshot)?;
                Ok(Settled::Finished)
            }
            Work::ReplaceContent { path, format } => {
                let source = SourceImage::new(Path::new(path), *format);
                self.overwrite(call, job, &record, &source)?;
                Ok(Settled::Finished)
            }
            Work::BackUpHeader { host, path } => {
                let backup = HeaderBackupRecord {
                    volume: record.id.clone(),
                    host: host.clone(),
                    path: path.into(),
                };
                self.undo_backup(call, job, &record, &backup)?;
                Ok(Settled::Undone)
            }
            Work::Delete => {
                let erasure = self.finish_delete(call, &record, job.clone())?;
                Ok(Settled::Erased(erasure))
            }
        }
    }
}
