use rusqlite::{Connection, Row, Transaction};
use strongroom_passphrase_store::sqlite::InTransaction;
use strongroom_passphrase_store::{Owner, PassphraseStore, SealedRecord};
use strongroom_types::{DeviceSize, GuestSize, VolumeId};

use crate::row::{self, Failure, RowName, is_constraint};
use crate::{ControlPlaneError, JobKind, VolumeRecord, VolumeState};

const COLUMNS: &str =
    "SELECT v.id, v.offering, v.pool, v.format, v.guest, v.device, v.encryption, v.passphrase,
    j.kind, j.failure IS NOT NULL FROM volumes v LEFT JOIN jobs j ON j.volume = v.id";

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
    })
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

/// Records a volume with its sealed passphrase. The device size is left out: the volume is not made yet.
pub(crate) fn allocate(
    transaction: &Transaction<'_>,
    record: &VolumeRecord,
    sealed: Option<&SealedRecord>,
) -> Result<(), Failure> {
    if let Some(sealed) = sealed {
        InTransaction::new(transaction).insert_for(sealed, &Owner::volume(&record.id))?;
    }
    let row = (
        record.id.as_str(),
        record.offering.as_str(),
        record.pool.as_str(),
        record.format.as_str(),
        row::stored(record.guest.get()),
        record.encryption.map(|e| e.as_str()),
        sealed.map(|s| s.id.as_str()),
    );
    if get(transaction, &record.id)?.is_some() {
        return Err(taken(&record.id).into());
    }
    match transaction.execute(
        "INSERT INTO volumes (id, offering, pool, format, guest, encryption, passphrase) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        row,
    ) {
        Err(e) if is_constraint(&e) => Err(RowName { table: "volumes", id: record.id.as_str() }.damaged(e).into()),
        done => done.map(drop).map_err(Failure::from),
    }
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

/// Removes a volume with all that belongs to it: its job, snapshots, header backups and attachments, its key and what referred
/// to the key.
pub(crate) fn forget(transaction: &Transaction<'_>, id: &VolumeId) -> Result<(), Failure> {
    let passphrase = get(transaction, id)?.and_then(|v| v.passphrase);
    for table in ["jobs", "attachments", "snapshots", "header_backups"] {
        transaction.execute(&format!("DELETE FROM {table} WHERE volume = ?1"), [id.as_str()])?;
    }
    transaction.execute("DELETE FROM volumes WHERE id = ?1", [id.as_str()])?;
    if let Some(passphrase) = passphrase {
        let store = InTransaction::new(transaction);
        for owner in store.references(&passphrase)? {
            store.remove_reference(&passphrase, &owner)?;
        }
        store.remove(&passphrase)?;
    }
    Ok(())
}
