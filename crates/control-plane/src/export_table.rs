use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Row, Transaction};
use strongroom_types::VolumeId;

use crate::ExportRecord;
use crate::row::{self, Failure, RowName};

const COLUMNS: &str =
    "SELECT id, volume, host, path, format, encrypted, reason, begun, volume_gone FROM exports";

struct Stored {
    id: String,
    volume: String,
    host: String,
    path: Vec<u8>,
    format: String,
    encrypted: bool,
    reason: Option<String>,
    begun: i64,
    gone: bool,
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        id: row.get(0)?,
        volume: row.get(1)?,
        host: row.get(2)?,
        path: row.get(3)?,
        format: row.get(4)?,
        encrypted: row.get(5)?,
        reason: row.get(6)?,
        begun: row.get(7)?,
        gone: row.get(8)?,
    })
}

fn record(stored: Stored) -> Result<ExportRecord, Failure> {
    let row = RowName {
        table: "exports",
        id: &stored.id,
    };
    let seconds = u64::try_from(stored.begun).map_err(|e| row.damaged(format!("begun: {e}")))?;
    Ok(ExportRecord {
        volume: row.parse("volume", &stored.volume)?,
        volume_gone: stored.gone,
        host: row.parse("host", &stored.host)?,
        path: PathBuf::from(OsString::from_vec(stored.path)),
        format: row.parse("format", &stored.format)?,
        encrypted: stored.encrypted,
        declassified: stored.reason,
        begun: UNIX_EPOCH + Duration::from_secs(seconds),
    })
}

/// Writes an export down before it is made.
pub(crate) fn insert(transaction: &Transaction<'_>, id: &str, export: &ExportRecord) -> Result<(), Failure> {
    let begun = export
        .begun
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    transaction.execute(
        "INSERT INTO exports (id, volume, host, path, format, encrypted, reason, begun, made)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0)",
        (
            id,
            export.volume.as_str(),
            export.host.as_str(),
            export.path.as_os_str().as_bytes(),
            export.format.as_str(),
            export.encrypted,
            &export.declassified,
            row::stored(begun),
        ),
    )?;
    Ok(())
}

pub(crate) fn set_made(transaction: &Transaction<'_>, id: &str) -> Result<(), Failure> {
    transaction.execute("UPDATE exports SET made = 1 WHERE id = ?1", [id])?;
    Ok(())
}

/// Forgets an export that was not made.
pub(crate) fn remove(transaction: &Transaction<'_>, id: &str) -> Result<(), Failure> {
    transaction.execute("DELETE FROM exports WHERE id = ?1", [id])?;
    Ok(())
}

/// The record of exports outlives the volume: the files may.
pub(crate) fn volume_is_gone(transaction: &Transaction<'_>, volume: &VolumeId) -> Result<(), Failure> {
    transaction.execute(
        "UPDATE exports SET volume_gone = 1 WHERE volume = ?1",
        [volume.as_str()],
    )?;
    Ok(())
}

/// Every export that was made, the oldest first.
pub(crate) fn list(connection: &Connection) -> Result<Vec<ExportRecord>, Failure> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE made = 1 ORDER BY begun, id"))?;
    let rows: Vec<_> = statement
        .query_map([], stored)?
        .collect::<rusqlite::Result<_>>()?;
    rows.into_iter().map(record).collect()
}

/// Now, as it is recorded.
pub(crate) fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UNIX_EPOCH + Duration::from_secs(since.map_or(0, |since| since.as_secs()))
}
