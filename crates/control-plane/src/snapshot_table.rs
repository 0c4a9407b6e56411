use rusqlite::{Connection, Row, Transaction};
use strongroom_passphrase_store::sqlite::InTransaction;
use strongroom_passphrase_store::{Owner, OwnerKind, PassphraseStore};
use strongroom_types::{SnapshotId, VolumeId};

use crate::row::{self, Failure, RowName};
use crate::{SnapshotRecord, VolumeRecord};

type Stored = (String, String, i64);

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn record((volume, id, guest): Stored) -> Result<SnapshotRecord, Failure> {
    let row = RowName {
        table: "snapshots",
        id: &id,
    };
    Ok(SnapshotRecord {
        volume: row.parse("volume", &volume)?,
        guest: row.size("guest", guest)?,
        id: row.parse("id", &id)?,
    })
}

/// A snapshot as an owner of the key that opens it.
fn owner(volume: &VolumeId, id: &SnapshotId) -> Owner {
    Owner::new(OwnerKind::Snapshot, format!("{volume}/{id}"))
}

pub(crate) fn list(connection: &Connection, volume: &VolumeId) -> Result<Vec<SnapshotRecord>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT volume, id, guest FROM snapshots WHERE volume = ?1 ORDER BY id")?;
    let rows: Vec<_> = statement
        .query_map([volume.as_str()], stored)?
        .collect::<rusqlite::Result<_>>()?;
    rows.into_iter().map(record).collect()
}

pub(crate) fn get(
    connection: &Connection,
    volume: &VolumeId,
    id: &SnapshotId,
) -> Result<Option<SnapshotRecord>, Failure> {
    Ok(list(connection, volume)?.into_iter().find(|s| s.id == *id))
}

/// The snapshots of a volume as owners of its key.
pub(crate) fn owners(connection: &Connection, volume: &VolumeId) -> Result<Vec<Owner>, Failure> {
    let snapshots = list(connection, volume)?;
    Ok(snapshots.iter().map(|s| owner(volume, &s.id)).collect())
}

/// Forgets every snapshot of a volume whose disk is replaced, and that its key is needed for them.
pub(crate) fn remove_all(transaction: &Transaction<'_>, volume: &VolumeRecord) -> Result<(), Failure> {
    for snapshot in list(transaction, &volume.id)? {
        remove(transaction, volume, &snapshot.id)?;
    }
    Ok(())
}

/// Records a snapshot of the volume as it is, and that the volume's key opens it.
pub(crate) fn insert(
    transaction: &Transaction<'_>,
    volume: &VolumeRecord,
    id: &SnapshotId,
) -> Result<(), Failure> {
    let passphrase = volume.passphrase.as_ref();
    transaction.execute(
        "INSERT INTO snapshots (volume, id, guest, passphrase) VALUES (?1, ?2, ?3, ?4)",
        (
            volume.id.as_str(),
            id.as_str(),
            row::stored(volume.guest.get()),
            passphrase.map(|p| p.as_str()),
        ),
    )?;
    if let Some(passphrase) = passphrase {
        InTransaction::new(transaction).add_reference(passphrase, &owner(&volume.id, id))?;
    }
    Ok(())
}

/// Removes a snapshot, and that the volume's key is needed for it.
pub(crate) fn remove(
    transaction: &Transaction<'_>,
    volume: &VolumeRecord,
    id: &SnapshotId,
) -> Result<(), Failure> {
    transaction.execute(
        "DELETE FROM snapshots WHERE volume = ?1 AND id = ?2",
        (volume.id.as_str(), id.as_str()),
    )?;
    if let Some(passphrase) = &volume.passphrase {
        InTransaction::new(transaction).remove_reference(passphrase, &owner(&volume.id, id))?;
    }
    Ok(())
}
