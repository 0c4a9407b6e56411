use std::fmt::Display;
use std::str::FromStr;

use rusqlite::{Connection, Row, Transaction};
use strongroom_passphrase_store::sqlite::InTransaction;
use strongroom_passphrase_store::{Owner, PassphraseStore, SealedRecord};
use strongroom_types::{DeviceSize, GuestSize, PassphraseId, PoolId, TemplateId, VolumeId};

use crate::row::{self, Failure, RowName, is_constraint};
use crate::{
    ControlPlaneError, JobKind, VolumeRecord, VolumeState, export_table, header_backup, snapshot_table,
};

const COLUMNS: &str =
    "SELECT v.id, v.offering, v.pool, v.format, v.guest, v.device, v.encryption, v.passphrase,
    j.kind, j.failure IS NOT NULL, v.disk, v.template, v.disk_of,
    (SELECT json_group_array(other) FROM (
        SELECT o.id AS other FROM volumes o WHERE o.passphrase = v.passphrase AND o.id <> v.id
        UNION SELECT v.shares_key_with WHERE v.shares_key_with IS NOT NULL
        ORDER BY other))
    FROM volumes v LEFT JOIN jobs j ON j.volume = v.id";

struct Stored {
    id: String,
    offering: String,
    pool: String,
    format: String,
    guest: i64,
    device: Option<i64>,
    encryption: Option<String>,
    passphrase: Option<String>,
    job: Option<String>,
    failed: bool,
    disk: String,
    template: Option<String>,
    disk_of: Option<String>,
    shares: String,
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        id: row.get(0)?,
        offering: row.get(1)?,
        pool: row.get(2)?,
        format: row.get(3)?,
        guest: row.get(4)?,
        device: row.get(5)?,
        encryption: row.get(6)?,
        passphrase: row.get(7)?,
        job: row.get(8)?,
        failed: row.get(9)?,
        disk: row.get(10)?,
        template: row.get(11)?,
        disk_of: row.get(12)?,
        shares: row.get(13)?,
    })
}

fn record(stored: &Stored) -> Result<VolumeRecord, Failure> {
    let row = RowName {
        table: "volumes",
        id: &stored.id,
    };
    let job: Option<JobKind> = stored
        .job
        .as_deref()
        .map(|kind| row.parse("job", kind))
        .transpose()?;
    let state = match job {
        None => VolumeState::Ready,
        Some(job) if stored.failed => VolumeState::Failed(job),
        Some(job) => VolumeState::Working(job),
    };
    let device: Option<DeviceSize> = stored.device.map(|bytes| row.size("device", bytes)).transpose()?;
    if state == VolumeState::Ready && device.is_none() {
        return Err(row.damaged("it has no job and was never made").into());
    }
    let encryption = stored.encryption.as_deref();
    let passphrase = stored.passphrase.as_deref();
    Ok(VolumeRecord {
        id: row.parse("id", &stored.id)?,
        offering: row.parse("offering", &stored.offering)?,
        pool: row.parse("pool", &stored.pool)?,
        state,
        guest: row.size("guest", stored.guest)?,
        device,
        format: row.parse("format", &stored.format)?,
        encryption: encryption.map(|e| row.parse("encryption", e)).transpose()?,
        passphrase: passphrase.map(|p| row.parse("passphrase", p)).transpose()?,
        disk: row.parse("disk", &stored.disk)?,
        template: optional(row, "template", stored.template.as_deref())?,
        shares_key_with: row.json("shares_key_with", &stored.shares)?,
        disk_of: optional(row, "disk_of", stored.disk_of.as_deref())?,
    })
}

fn optional<T>(row: RowName<'_>, column: &str, text: Option<&str>) -> Result<Option<T>, Failure>
where
    T: FromStr,
    T::Err: Display,
{
    Ok(text.map(|text| row.parse(column, text)).transpose()?)
}

pub(crate) fn list(connection: &Connection) -> Result<Vec<VolumeRecord>, Failure> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} ORDER BY v.id"))?;
    let rows: Vec<_> = statement
        .query_map([], stored)?
        .collect::<rusqlite::Result<_>>()?;
    rows.iter().map(record).collect()
}

pub(crate) fn get(connection: &Connection, id: &VolumeId) -> Result<Option<VolumeRecord>, Failure> {
    let mut statement = connection.prepare_cached(&format!("{COLUMNS} WHERE v.id = ?1"))?;
    let mut rows = statement.query([id.as_str()])?;
    match rows.next()? {
        Some(row) => record(&stored(row)?).map(Some),
        None => Ok(None),
    }
}

/// Records a volume. Its device size is left out: it is not made yet. The key of an encrypted one is sealed here, or it is that of
/// the volume with which it shares its key.
pub(crate) fn allocate(
    transaction: &Transaction<'_>,
    record: &VolumeRecord,
    sealed: Option<&SealedRecord>,
) -> Result<(), Failure> {
    let store = InTransaction::new(transaction);
    match (sealed, &record.passphrase) {
        (Some(sealed), _) => store.insert_for(sealed, &Owner::volume(&record.id))?,
        (None, Some(shared)) => store.add_reference(shared, &Owner::volume(&record.id))?,
        (None, None) => {}
    }
    let row = (
        record.id.as_str(),
        record.offering.as_str(),
        record.pool.as_str(),
        record.disk.as_str(),
        record.format.as_str(),
        row::stored(record.guest.get()),
        record.encryption.map(|e| e.as_str()),
        record.passphrase.as_ref().map(|p| p.as_str()),
        record.shares_key_with.first().map(|v| v.as_str()),
        record.template.as_ref().map(|t| t.as_str()),
        record.disk_of.as_ref().map(|v| v.as_str()),
    );
    if get(transaction, &record.id)?.is_some() {
        return Err(taken(&record.id).into());
    }
    match transaction.execute(
        "INSERT INTO volumes (id, offering, pool, disk, format, guest, encryption, passphrase, shares_key_with, template, disk_of)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        row,
    ) {
        Err(e) if is_constraint(&e) => Err(RowName { table: "volumes", id: record.id.as_str() }.damaged(e).into()),
        done => done.map(drop).map_err(Failure::from),
    }
}

/// A name for a new disk of a volume in a pool that no other disk there has: the volume's id, or a random one where that is in use.
pub(crate) fn free_disk_name(
    connection: &Connection,
    pool: &PoolId,
    volume: &VolumeId,
) -> Result<VolumeId, Failure> {
    let used: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM volumes WHERE pool = ?1 AND disk = ?2)",
        (pool.as_str(), volume.as_str()),
        |row| row.get(0),
    )?;
    Ok(if used { VolumeId::random() } else { volume.clone() })
}

/// The error for an id that a volume has.
pub(crate) fn taken(id: &VolumeId) -> ControlPlaneError {
    ControlPlaneError::Taken {
        what: "volume",
        id: id.to_string(),
    }
}

/// Records what the storage says of the volume's sizes.
pub(crate) fn set_sizes(
    transaction: &Transaction<'_>,
    id: &VolumeId,
    guest: GuestSize,
    device: DeviceSize,
) -> Result<(), Failure> {
    transaction.execute(
        "UPDATE volumes SET guest = ?2, device = ?3 WHERE id = ?1",
        (id.as_str(), row::stored(guest.get()), row::stored(device.get())),
    )?;
    Ok(())
}

/// Records what came out when the volume was made.
pub(crate) fn set_made(transaction: &Transaction<'_>, made: &VolumeRecord) -> Result<(), Failure> {
    set_template(transaction, &made.id, made.template.as_ref())?;
    match made.device {
        Some(device) => set_sizes(transaction, &made.id, made.guest, device),
        None => Ok(()),
    }
}

/// Records on which template the volume lies, if any.
pub(crate) fn set_template(
    transaction: &Transaction<'_>,
    id: &VolumeId,
    template: Option<&TemplateId>,
) -> Result<(), Failure> {
    transaction.execute(
        "UPDATE volumes SET template = ?2 WHERE id = ?1",
        (id.as_str(), template.map(|t| t.as_str())),
    )?;
    Ok(())
}

/// Whether a sealed key is there.
pub(crate) fn has_key(connection: &Connection, passphrase: &PassphraseId) -> Result<bool, Failure> {
    Ok(connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM passphrases WHERE id = ?1)",
        [passphrase.as_str()],
        |row| row.get(0),
    )?)
}

/// Removes a volume with all that belongs to it: its job, snapshots, header backups and attachments, and what in it refers to its
/// key. The key goes too, unless another volume shares it.
pub(crate) fn forget(transaction: &Transaction<'_>, id: &VolumeId) -> Result<(), Failure> {
    let passphrase = get(transaction, id)?.and_then(|v| v.passphrase);
    let mut owners = vec![Owner::volume(id)];
    owners.extend(snapshot_table::owners(transaction, id)?);
    owners.extend(header_backup::owners(transaction, id)?);
    for table in ["jobs", "attachments", "snapshots", "header_backups"] {
        transaction.execute(&format!("DELETE FROM {table} WHERE volume = ?1"), [id.as_str()])?;
    }
    transaction.execute("DELETE FROM volumes WHERE id = ?1", [id.as_str()])?;
    export_table::volume_is_gone(transaction, id)?;
    if let Some(passphrase) = passphrase {
        let store = InTransaction::new(transaction);
        for owner in &owners {
            store.remove_reference(&passphrase, owner)?;
        }
        if store.references(&passphrase)?.is_empty() {
            store.remove(&passphrase)?;
        }
    }
    Ok(())
}
