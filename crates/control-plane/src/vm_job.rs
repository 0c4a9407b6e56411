//! Work on a virtual machine, written down until it is finished or undone.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Row, Transaction};
use serde::{Deserialize, Serialize};
use strongroom_types::{DiskTarget, JobId, VmId};

use crate::row::{self, Failure, RowName};
use crate::{ControlPlane, ControlPlaneError, JobKind, VmError};

/// The work, with all that finishing or undoing it takes beside the record of the machine. The disk that is attached or detached is
/// in that record from the beginning to the end of the job, and so is the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum VmWork {
    Start,
    Stop {
        power_off: bool,
        /// A disk that could be neither attached nor detached: the machine does not have it when it is stopped.
        without: Option<DiskTarget>,
    },
    Attach {
        target: DiskTarget,
    },
    Detach {
        target: DiskTarget,
    },
}

impl VmWork {
    pub(crate) fn kind(&self) -> JobKind {
        match self {
            Self::Start => JobKind::StartVm,
            Self::Stop { .. } => JobKind::StopVm,
            Self::Attach { .. } => JobKind::AttachDisk,
            Self::Detach { .. } => JobKind::DetachDisk,
        }
    }

    /// Takes over what the stop of a machine has to settle of work that failed.
    fn settles(&mut self, failed: Self) {
        if let Self::Stop { without, .. } = self {
            *without = match failed {
                Self::Attach { target } | Self::Detach { target } => Some(target),
                Self::Stop { without, .. } => without,
                Self::Start => None,
            };
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VmJob {
    pub(crate) id: JobId,
    pub(crate) vm: VmId,
    pub(crate) work: VmWork,
    /// Why it neither ended nor could be undone.
    pub(crate) failure: Option<String>,
}

type Stored = (String, String, String, Option<String>);

const COLUMNS: &str = "SELECT id, vm, arguments, failure FROM vm_jobs";

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn job((id, vm, arguments, failure): Stored) -> Result<VmJob, Failure> {
    let row = RowName {
        table: "vm_jobs",
        id: &id,
    };
    Ok(VmJob {
        vm: row.parse("vm", &vm)?,
        work: row.json("arguments", &arguments)?,
        failure,
        id: row.parse("id", &id)?,
    })
}

/// Every job, the oldest first.
pub(crate) fn list(connection: &Connection) -> Result<Vec<VmJob>, Failure> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} ORDER BY begun, id"))?;
    let rows: Vec<_> = statement
        .query_map([], stored)?
        .collect::<rusqlite::Result<_>>()?;
    rows.into_iter().map(job).collect()
}

fn of_vm(connection: &Connection, vm: &VmId) -> Result<Option<VmJob>, Failure> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE vm = ?1"))?;
    let row = statement.query_row([vm.as_str()], stored).optional()?;
    row.map(job).transpose()
}

fn insert(transaction: &Transaction<'_>, job: &VmJob) -> Result<(), Failure> {
    let name = RowName {
        table: "vm_jobs",
        id: job.id.as_str(),
    };
    let arguments = serde_json::to_string(&job.work).map_err(|e| name.damaged(e))?;
    let begun = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    transaction.execute(
        "INSERT INTO vm_jobs (id, vm, kind, arguments, begun) VALUES (?1, ?2, ?3, ?4, ?5)",
        (
            job.id.as_str(),
            job.vm.as_str(),
            job.work.kind().as_str(),
            arguments,
            row::stored(begun),
        ),
    )?;
    Ok(())
}

fn remove(transaction: &Transaction<'_>, job: &VmJob) -> Result<(), Failure> {
    transaction.execute("DELETE FROM vm_jobs WHERE id = ?1", [job.id.as_str()])?;
    Ok(())
}

fn refusal(job: VmJob) -> ControlPlaneError {
    VmError::Unfinished {
        job: job.work.kind(),
        vm: job.vm,
        failure: job.failure,
    }
    .into()
}

impl ControlPlane {
    /// Writes a job down before its work begins, with whatever else belongs into the same transaction. Refused when the machine has a
    /// job, unless that failed and this is to stop the machine, which settles everything.
    pub(crate) fn begin_vm(
        &self,
        vm: &VmId,
        work: VmWork,
        also: impl FnOnce(&Transaction<'_>) -> Result<(), Failure>,
    ) -> Result<VmJob, ControlPlaneError> {
        tracing::debug!(%vm, job = work.kind().as_str(), "begin");
        let mut job = VmJob {
            id: JobId::random(),
            vm: vm.clone(),
            work,
            failure: None,
        };
        self.transact("record a job", |transaction| {
            if let Some(there) = of_vm(transaction, vm)? {
                if there.failure.is_none() || !matches!(job.work, VmWork::Stop { .. }) {
                    return Err(refusal(there).into());
                }
                remove(transaction, &there)?;
                job.work.settles(there.work);
            }
            also(transaction)?;
            insert(transaction, &job)
        })?;
        Ok(job)
    }

    /// Takes the job out, with whatever else its end changes.
    pub(crate) fn end_vm(
        &self,
        job: &VmJob,
        also: impl FnOnce(&Transaction<'_>) -> Result<(), Failure>,
    ) -> Result<(), ControlPlaneError> {
        self.transact("record the end of a job", |transaction| {
            also(transaction)?;
            remove(transaction, job)
        })?;
        tracing::debug!(vm = %job.vm, job = job.work.kind().as_str(), "end");
        Ok(())
    }

    /// Notes why a job neither ended nor could be undone. The next start tries again.
    pub(crate) fn note_vm_failure(
        &self,
        job: &VmJob,
        error: &ControlPlaneError,
    ) -> Result<(), ControlPlaneError> {
        let failure = error.chain();
        tracing::debug!(vm = %job.vm, job = job.work.kind().as_str(), %failure, "left unfinished");
        self.transact("record the failure of a job", |transaction| {
            transaction.execute(
                "UPDATE vm_jobs SET failure = ?2 WHERE id = ?1",
                (job.id.as_str(), failure),
            )?;
            Ok(())
        })
    }

    /// The error of work that failed after its job was written down. `settle` brings things in order and takes the job out; when it
    /// fails too, the job stays.
    pub(crate) fn settle_failed_vm(
        &self,
        job: &VmJob,
        error: ControlPlaneError,
        settle: impl FnOnce() -> Result<(), ControlPlaneError>,
    ) -> ControlPlaneError {
        tracing::debug!(vm = %job.vm, job = job.work.kind().as_str(), error = %error.chain(), "failed");
        let Err(undo) = settle() else {
            return error;
        };
        let mut text = undo.chain();
        if let Err(database) = self.note_vm_failure(job, &undo) {
            text = format!("{text}; {}", database.chain());
        }
        VmError::NotUndone {
            vm: job.vm.clone(),
            undo: text,
            source: Box::new(error),
        }
        .into()
    }

    /// The refusal of work on a machine that has a job.
    pub(crate) fn unfinished_vm(&self, vm: &VmId) -> ControlPlaneError {
        match self.read("read a job", |connection| of_vm(connection, vm)) {
            Ok(Some(job)) => refusal(job),
            Ok(None) => VmError::Busy { vm: vm.clone() }.into(),
            Err(error) => error,
        }
    }
}
