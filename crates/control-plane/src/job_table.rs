use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Row, Transaction};
use strongroom_types::{JobId, TemplateId, VolumeId};

use crate::Erasure;
use crate::job::{Job, Work};
use crate::row::{self, Failure, RowName};

const COLUMNS: &str = "SELECT id, volume, kind, step, arguments, failure, erasure FROM jobs";

type Stored = (
    String,
    String,
    String,
    String,
    String,
    Option<String>,
    Option<String>,
);

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
        row.get(6)?,
    ))
}

fn job((id, volume, kind, step, arguments, failure, erasure): Stored) -> Result<Job, Failure> {
    let row = RowName {
        table: "jobs",
        id: &id,
    };
    let work: Work = row.json("arguments", &arguments)?;
    if work.kind().as_str() != kind {
        return Err(row
            .damaged(format!(
                "its kind is {kind}, its arguments are for {}",
                work.kind().as_str()
            ))
            .into());
    }
    Ok(Job {
        volume: row.parse("volume", &volume)?,
        work,
        step: row.parse("step", &step)?,
        erasure: Erasure::from_column(row, erasure.as_deref())?,
        failure,
        id: row.parse("id", &id)?,
    })
}

/// Every job, the oldest first.
pub(crate) fn list(connection: &Connection) -> Result<Vec<Job>, Failure> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} ORDER BY begun, id"))?;
    let rows: Vec<_> = statement
        .query_map([], stored)?
        .collect::<rusqlite::Result<_>>()?;
    rows.into_iter().map(job).collect()
}

/// The job of a volume, if it has one.
pub(crate) fn of_volume(connection: &Connection, volume: &VolumeId) -> Result<Option<Job>, Failure> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE volume = ?1"))?;
    let mut rows = statement.query([volume.as_str()])?;
    match rows.next()? {
        Some(row) => job(stored(row)?).map(Some),
        None => Ok(None),
    }
}

fn name(job: &Job) -> RowName<'_> {
    RowName {
        table: "jobs",
        id: job.id.as_str(),
    }
}

/// Writes a job down. Until it ends, the template that it makes a disk from cannot be removed.
pub(crate) fn insert(
    transaction: &Transaction<'_>,
    job: &Job,
    template: Option<&TemplateId>,
) -> Result<(), Failure> {
    let name = name(job);
    let arguments = serde_json::to_string(&job.work).map_err(|e| name.damaged(e))?;
    let begun = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    transaction.execute(
        "INSERT INTO jobs (id, volume, kind, step, arguments, begun, erasure, template)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            job.id.as_str(),
            job.volume.as_str(),
            job.work.kind().as_str(),
            job.step.as_str(),
            arguments,
            row::stored(begun),
            job.erasure.to_column(name)?,
            template.map(|t| t.as_str()),
        ),
    )?;
    Ok(())
}

/// Records how far a job is, and what it destroyed and left so far.
pub(crate) fn set_step(transaction: &Transaction<'_>, job: &Job) -> Result<(), Failure> {
    let erasure = job.erasure.to_column(name(job))?;
    transaction.execute(
        "UPDATE jobs SET step = ?2, erasure = ?3 WHERE id = ?1",
        (job.id.as_str(), job.step.as_str(), erasure),
    )?;
    Ok(())
}

pub(crate) fn set_failure(transaction: &Transaction<'_>, id: &JobId, failure: &str) -> Result<(), Failure> {
    transaction.execute(
        "UPDATE jobs SET failure = ?2 WHERE id = ?1",
        (id.as_str(), failure),
    )?;
    Ok(())
}

pub(crate) fn remove(transaction: &Transaction<'_>, id: &JobId) -> Result<(), Failure> {
    transaction.execute("DELETE FROM jobs WHERE id = ?1", [id.as_str()])?;
    Ok(())
}
