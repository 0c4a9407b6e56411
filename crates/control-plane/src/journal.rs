//! How a job begins, ends, and fails.

use std::time::Duration;

use rusqlite::Transaction;
use strongroom_types::{Call, TemplateId, VolumeId};

use crate::job::{Job, Work};
use crate::row::Failure;
use crate::{ControlPlane, ControlPlaneError, job_table};

/// How long bringing things back in order may take when the caller has already asked to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// The call for bringing things back in order: the caller's own may be cancelled or over, which is often why it is needed.
pub(crate) fn closing_call() -> Call {
    Call::new().with_timeout(PATIENCE)
}

impl ControlPlane {
    /// Writes a job down before its work begins, with whatever else belongs into the same transaction. Refused when the
    /// volume has a job that this work does not settle. The same work goes on from the step that it had.
    pub(crate) fn begin(
        &self,
        volume: &VolumeId,
        work: Work,
        also: impl FnOnce(&Transaction<'_>) -> Result<(), Failure>,
    ) -> Result<Job, ControlPlaneError> {
        self.begin_with(volume, work, None, also)
    }

    /// The same for work that makes a disk from a template, which stays as long as the job is there.
    pub(crate) fn begin_with(
        &self,
        volume: &VolumeId,
        work: Work,
        template: Option<&TemplateId>,
        also: impl FnOnce(&Transaction<'_>) -> Result<(), Failure>,
    ) -> Result<Job, ControlPlaneError> {
        tracing::debug!(%volume, job = work.kind().as_str(), "begin");
        let mut job = Job::new(volume, work);
        self.transact("record a job", |transaction| {
            if let Some(there) = job_table::of_volume(transaction, volume)? {
                if there.failure.is_none() || !job.work.settles(there.work.kind()) {
                    return Err(refusal(&there).into());
                }
                if there.work == job.work {
                    job.step = there.step;
                    job.erasure = there.erasure;
                }
                job_table::remove(transaction, &there.id)?;
            }
            also(transaction)?;
            job_table::insert(transaction, &job, template)
        })?;
        Ok(job)
    }

    /// Takes the job out, with whatever else its end changes.
    pub(crate) fn end(
        &self,
        job: &Job,
        also: impl FnOnce(&Transaction<'_>) -> Result<(), Failure>,
    ) -> Result<(), ControlPlaneError> {
        self.transact("record the end of a job", |transaction| {
            also(transaction)?;
            job_table::remove(transaction, &job.id)
        })?;
        tracing::debug!(volume = %job.volume, job = job.work.kind().as_str(), "end");
        Ok(())
    }

    /// Notes why a job neither ended nor could be undone. The next start tries again.
    pub(crate) fn note_failure(&self, job: &Job, error: &ControlPlaneError) -> Result<(), ControlPlaneError> {
        let failure = error.chain();
        tracing::debug!(volume = %job.volume, job = job.work.kind().as_str(), %failure, "left unfinished");
        self.transact("record the failure of a job", |transaction| {
            job_table::set_failure(transaction, &job.id, &failure)
        })
    }

    /// The error of work that failed after its job was written down: what is done about it, and what the caller is told.
    ///
    /// `settle` brings things in order and takes the job out. When it fails too, the job stays.
    pub(crate) fn settle_failed(
        &self,
        job: &Job,
        error: ControlPlaneError,
        settle: impl FnOnce(&ControlPlaneError) -> Result<(), ControlPlaneError>,
    ) -> ControlPlaneError {
        tracing::debug!(volume = %job.volume, job = job.work.kind().as_str(), error = %error.chain(), "failed");
        let Err(undo) = settle(&error) else {
            return error;
        };
        let mut text = undo.chain();
        if let Err(database) = self.note_failure(job, &undo) {
            text = format!("{text}; {}", database.chain());
        }
        ControlPlaneError::NotUndone {
            volume: job.volume.clone(),
            undo: text,
            source: Box::new(error),
        }
    }

    /// The refusal of work on a volume that has a job.
    pub(crate) fn unfinished(&self, volume: &VolumeId) -> ControlPlaneError {
        let job = self.read("read a job", |connection| {
            job_table::of_volume(connection, volume)
        });
        match job {
            Ok(Some(job)) => refusal(&job),
            Ok(None) => ControlPlaneError::Busy {
                volume: volume.clone(),
            },
            Err(error) => error,
        }
    }
}

fn refusal(job: &Job) -> ControlPlaneError {
    ControlPlaneError::Unfinished {
        volume: job.volume.clone(),
        job: job.work.kind(),
        failure: job.failure.clone(),
    }
}
