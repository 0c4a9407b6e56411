use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use rusqlite::{Connection, Row, Transaction};
use strongroom_endpoint_selector::FileStamp;
use strongroom_types::{PoolId, TemplateId, VolumeId};

use crate::row::{self, Failure, RowName, is_constraint};
use crate::{ControlPlaneError, TemplateRecord};

const COLUMNS: &str = "SELECT id, path, format, size, sha256, removing, stamp FROM templates";

type Stored = (String, Vec<u8>, String, i64, String, bool, Option<String>);

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

fn record((id, path, format, size, sha256, removing, stamp): Stored) -> Result<TemplateRecord, Failure> {
    let row = RowName {
        table: "templates",
        id: &id,
    };
    if !sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(row.damaged("sha256: it is not in hexadecimal").into());
    }
    Ok(TemplateRecord {
        stamp: stamp.map(|stamp| row.parse("stamp", &stamp)).transpose()?,
        path: PathBuf::from(OsString::from_vec(path)),
        format: row.parse("format", &format)?,
        size: row.size("size", size)?,
        id: row.parse("id", &id)?,
        sha256,
        removing,
    })
}

/// The error for a template that is not there.
pub(crate) fn unknown(id: &TemplateId) -> ControlPlaneError {
    ControlPlaneError::Unknown {
        what: "template",
        id: id.to_string(),
    }
}

/// The error for a name that a template has.
pub(crate) fn taken(id: &TemplateId) -> ControlPlaneError {
    ControlPlaneError::Taken {
        what: "template",
        id: id.to_string(),
    }
}

pub(crate) fn get(connection: &Connection, id: &TemplateId) -> Result<TemplateRecord, Failure> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE id = ?1"))?;
    let mut rows = statement.query([id.as_str()])?;
    match rows.next()? {
        Some(row) => record(stored(row)?),
        None => Err(unknown(id).into()),
    }
}

pub(crate) fn list(connection: &Connection) -> Result<Vec<TemplateRecord>, Failure> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} ORDER BY id"))?;
    let rows: Vec<_> = statement
        .query_map([], stored)?
        .collect::<rusqlite::Result<_>>()?;
    rows.into_iter().map(record).collect()
}

pub(crate) fn insert(transaction: &Transaction<'_>, template: &TemplateRecord) -> Result<(), Failure> {
    let row = (
        template.id.as_str(),
        template.path.as_os_str().as_bytes(),
        template.format.as_str(),
        row::stored(template.size.get()),
        &template.sha256,
        template.stamp.map(|stamp| stamp.to_string()),
    );
    match transaction.execute(
        "INSERT INTO templates (id, path, format, size, sha256, stamp) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        row,
    ) {
        Err(e) if is_constraint(&e) => Err(taken(&template.id).into()),
        done => done.map(drop).map_err(Failure::from),
    }
}

/// Notes which file a template's image is now.
pub(crate) fn set_stamp(
    transaction: &Transaction<'_>,
    template: &TemplateId,
    stamp: Option<FileStamp>,
) -> Result<(), Failure> {
    transaction.execute(
        "UPDATE templates SET stamp = ?2 WHERE id = ?1",
        (template.as_str(), stamp.map(|stamp| stamp.to_string())),
    )?;
    Ok(())
}

/// Notes that a pool may keep a copy of a template from now on. Refused when the template is being removed.
pub(crate) fn note_copy(
    transaction: &Transaction<'_>,
    template: &TemplateId,
    pool: &PoolId,
) -> Result<(), Failure> {
    if get(transaction, template)?.removing {
        return Err(ControlPlaneError::TemplateGoing {
            template: template.clone(),
        }
        .into());
    }
    transaction.execute(
        "INSERT INTO template_copies (template, pool) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        (template.as_str(), pool.as_str()),
    )?;
    Ok(())
}

/// The pools that may keep a copy of a template.
pub(crate) fn copies(connection: &Connection, template: &TemplateId) -> Result<Vec<PoolId>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT pool FROM template_copies WHERE template = ?1 ORDER BY pool")?;
    let pools: Vec<String> = statement
        .query_map([template.as_str()], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let row = RowName {
        table: "template_copies",
        id: template.as_str(),
    };
    pools.iter().map(|pool| Ok(row.parse("pool", pool)?)).collect()
}

pub(crate) fn remove_copy(
    transaction: &Transaction<'_>,
    template: &TemplateId,
    pool: &PoolId,
) -> Result<(), Failure> {
    transaction.execute(
        "DELETE FROM template_copies WHERE template = ?1 AND pool = ?2",
        (template.as_str(), pool.as_str()),
    )?;
    Ok(())
}

/// The volumes that read from a template, and those that are being made from it.
pub(crate) fn dependents(connection: &Connection, template: &TemplateId) -> Result<Vec<VolumeId>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM volumes WHERE template = ?1 UNION SELECT volume FROM jobs WHERE template = ?1 ORDER BY 1",
    )?;
    let volumes: Vec<String> = statement
        .query_map([template.as_str()], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let row = RowName {
        table: "volumes",
        id: template.as_str(),
    };
    volumes
        .iter()
        .map(|volume| Ok(row.parse("template", volume)?))
        .collect()
}

/// Notes that a template is going, unless something depends on it.
pub(crate) fn set_removing(transaction: &Transaction<'_>, template: &TemplateId) -> Result<(), Failure> {
    get(transaction, template)?;
    let volumes = dependents(transaction, template)?;
    if !volumes.is_empty() {
        return Err(ControlPlaneError::TemplateInUse {
            template: template.clone(),
            volumes,
        }
        .into());
    }
    transaction.execute(
        "UPDATE templates SET removing = 1 WHERE id = ?1",
        [template.as_str()],
    )?;
    Ok(())
}

pub(crate) fn remove(transaction: &Transaction<'_>, template: &TemplateId) -> Result<(), Failure> {
    transaction.execute("DELETE FROM templates WHERE id = ?1", [template.as_str()])?;
    Ok(())
}
