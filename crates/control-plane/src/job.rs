use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use strongroom_types::{Call, DiskFormat, GuestSize, HostId, JobId, SnapshotId, VolumeId};

use crate::job_table;
use crate::{ControlPlane, ControlPlaneError};

/// What kind of work a job is. It prints as what was begun, such as `create it`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobKind {
    /// Making a volume.
    Create,
    /// Making a volume larger.
    Grow,
    /// Taking a snapshot.
    TakeSnapshot,
    /// Removing a snapshot.
    RemoveSnapshot,
    /// Bringing a volume back to a snapshot.
    Restore,
    /// Overwriting a volume with an image.
    ReplaceContent,
    /// Copying a LUKS header into a file.
    BackUpHeader,
    /// Removing a volume for ever.
    Delete,
}

impl JobKind {
    const ALL: [Self; 8] = [
        Self::Create,
        Self::Grow,
        Self::TakeSnapshot,
        Self::RemoveSnapshot,
        Self::Restore,
        Self::ReplaceContent,
        Self::BackUpHeader,
        Self::Delete,
    ];

    /// The word that is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Grow => "grow",
            Self::TakeSnapshot => "take-snapshot",
            Self::RemoveSnapshot => "remove-snapshot",
            Self::Restore => "restore",
            Self::ReplaceContent => "replace-content",
            Self::BackUpHeader => "back-up-header",
            Self::Delete => "delete",
        }
    }

    /// What a volume is doing meanwhile.
    pub(crate) const fn participle(self) -> &'static str {
        match self {
            Self::Create => "creating",
            Self::Grow => "growing",
            Self::TakeSnapshot => "taking snapshot",
            Self::RemoveSnapshot => "removing snapshot",
            Self::Restore => "restoring",
            Self::ReplaceContent => "replacing content",
            Self::BackUpHeader => "backing up header",
            Self::Delete => "deleting",
        }
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Create => "create it",
            Self::Grow => "grow it",
            Self::TakeSnapshot => "take a snapshot",
            Self::RemoveSnapshot => "remove a snapshot",
            Self::Restore => "restore a snapshot",
            Self::ReplaceContent => "replace its content",
            Self::BackUpHeader => "back up its header",
            Self::Delete => "delete it",
        })
    }
}

impl FromStr for JobKind {
    type Err = String;
    /// # Errors
    /// The unknown word, in a sentence.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|k| k.as_str() == text)
            .ok_or_else(|| format!("unknown kind of job {text:?}"))
    }
}

/// The work of a job, with all that finishing or undoing it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    Create,
    Grow { to: GuestSize },
    TakeSnapshot { snapshot: SnapshotId },
    RemoveSnapshot { snapshot: SnapshotId },
    Restore { snapshot: SnapshotId },
    ReplaceContent { path: OsString, format: DiskFormat },
    BackUpHeader { host: HostId, path: OsString },
    Delete,
}

impl Work {
    pub(crate) fn kind(&self) -> JobKind {
        match self {
            Self::Create => JobKind::Create,
            Self::Grow { .. } => JobKind::Grow,
            Self::TakeSnapshot { .. } => JobKind::TakeSnapshot,
            Self::RemoveSnapshot { .. } => JobKind::RemoveSnapshot,
            Self::Restore { .. } => JobKind::Restore,
            Self::ReplaceContent { .. } => JobKind::ReplaceContent,
            Self::BackUpHeader { .. } => JobKind::BackUpHeader,
            Self::Delete => JobKind::Delete,
        }
    }

    /// Whether this work also settles a failed job of that kind: a delete settles everything, a restore whatever left the
    /// content in between.
    fn settles(&self, failed: JobKind) -> bool {
        match self {
            Self::Delete => true,
            Self::Restore { .. } => matches!(failed, JobKind::Restore | JobKind::ReplaceContent),
            _ => false,
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// It is written down.
    Begun,
    /// Of a delete: the disk's keyslots are gone.
    KeyslotsErased,
    /// Of a delete: the header backups are gone.
    BackupsRemoved,
    /// Of a delete: the disk is gone.
    DiskRemoved,
}

impl Step {
    const ALL: [Self; 4] = [
        Self::Begun,
        Self::KeyslotsErased,
        Self::BackupsRemoved,
        Self::DiskRemoved,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::KeyslotsErased => "keyslots-erased",
            Self::BackupsRemoved => "backups-removed",
            Self::DiskRemoved => "disk-removed",
        }
    }
}

impl FromStr for Step {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| format!("unknown step {text:?}"))
    }
}

/// A piece of work that is written down until it is finished or undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) volume: VolumeId,
    pub(crate) work: Work,
    pub(crate) step: Step,
    /// Why it neither ended nor could be undone.
    pub(crate) failure: Option<String>,
}

/// How long bringing things back in order may take when the caller has already asked to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// The call for bringing things back in order: the caller's own may be cancelled or over, which is often why it is needed.
pub(crate) fn closing_call() -> Call {
    Call::new().with_timeout(PATIENCE)
}

impl ControlPlane {
    /// Writes a job down before its work begins, with whatever else belongs into the same transaction. Refused when the
    /// volume has a job that this work does not settle.
    pub(crate) fn begin(
        &self,
        volume: &VolumeId,
        work: Work,
        also: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<(), crate::row::Failure>,
    ) -> Result<Job, ControlPlaneError> {
        tracing::debug!(%volume, job = work.kind().as_str(), "begin");
        let job = Job {
            id: JobId::random(),
            volume: volume.clone(),
            work,
            step: Step::Begun,
            failure: None,
        };
        self.transact("record a job", |transaction| {
            if let Some(there) = job_table::of_volume(transaction, volume)? {
                if there.failure.is_none() || !job.work.settles(there.work.kind()) {
                    return Err(refusal(&there).into());
                }
                job_table::remove(transaction, &there.id)?;
            }
            also(transaction)?;
            job_table::insert(transaction, &job)
        })?;
        Ok(job)
    }

    /// Takes the job out, with whatever else its end changes.
    pub(crate) fn end(
        &self,
        job: &Job,
        also: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<(), crate::row::Failure>,
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
        let job = self.read("read a job", |connection| job_table::of_volume(connection, volume));
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
