use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, Transaction};
use strongroom_endpoint_selector::{
    BackUpHeader, DeleteDisk, DiskLocation, Endpoint, ErrorKind, InspectDisk, Need, SweepStaging,
};
use strongroom_passphrase_store::sqlite::InTransaction;
use strongroom_passphrase_store::{Owner, OwnerKind, PassphraseStore};
use strongroom_types::{Call, DiskFormat, HostId, VolumeId};

use crate::content::absolute;
use crate::host_work::run;
use crate::job::{Job, Work};
use crate::journal::closing_call;
use crate::key::Key;
use crate::row::{Failure, RowName};
use crate::{ControlPlane, ControlPlaneError, VolumeRecord};

/// A copy of a volume's LUKS header in a file on a host. Whoever has it and the passphrase opens the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeaderBackupRecord {
    /// The volume.
    pub volume: VolumeId,
    /// The host that has the file.
    pub host: HostId,
    /// The file.
    pub path: PathBuf,
}

type Stored = (String, String, Vec<u8>);

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn record((volume, host, path): Stored) -> Result<HeaderBackupRecord, Failure> {
    let row = RowName {
        table: "header_backups",
        id: &volume,
    };
    Ok(HeaderBackupRecord {
        host: row.parse("host", &host)?,
        path: PathBuf::from(OsString::from_vec(path)),
        volume: row.parse("volume", &volume)?,
    })
}

fn list(connection: &Connection, volume: &VolumeId) -> Result<Vec<HeaderBackupRecord>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT volume, host, path FROM header_backups WHERE volume = ?1 ORDER BY host, path",
    )?;
    let rows: Vec<_> = statement
        .query_map([volume.as_str()], stored)?
        .collect::<rusqlite::Result<_>>()?;
    rows.into_iter().map(record).collect()
}

/// A header backup as an owner of the key that opens the volume by it.
fn owner(backup: &HeaderBackupRecord) -> Owner {
    Owner::new(
        OwnerKind::HeaderBackup,
        format!("{}:{}", backup.host, backup.path.display()),
    )
}

/// The header backups of a volume as owners of its key.
pub(crate) fn owners(connection: &Connection, volume: &VolumeId) -> Result<Vec<Owner>, Failure> {
    Ok(list(connection, volume)?.iter().map(owner).collect())
}

/// Gives the header backups of a volume to the row that stands for the disk that they belong to.
pub(crate) fn hand_over(
    transaction: &Transaction<'_>,
    from: &VolumeId,
    to: &VolumeId,
) -> Result<(), Failure> {
    transaction.execute(
        "UPDATE header_backups SET volume = ?2 WHERE volume = ?1",
        (from.as_str(), to.as_str()),
    )?;
    Ok(())
}

fn exists(connection: &Connection, backup: &HeaderBackupRecord) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM header_backups WHERE host = ?1 AND path = ?2)",
        (backup.host.as_str(), backup.path.as_os_str().as_bytes()),
        |row| row.get(0),
    )
}

/// The error for a file that is there.
fn taken(backup: &HeaderBackupRecord) -> ControlPlaneError {
    ControlPlaneError::Taken {
        what: "file",
        id: format!("{} on host {}", backup.path.display(), backup.host),
    }
}

fn insert(
    transaction: &Transaction<'_>,
    volume: &VolumeRecord,
    backup: &HeaderBackupRecord,
) -> Result<(), Failure> {
    let passphrase = volume.passphrase.as_ref();
    let row = (
        backup.host.as_str(),
        backup.path.as_os_str().as_bytes(),
        backup.volume.as_str(),
        passphrase.map(|p| p.as_str()),
    );
    if exists(transaction, backup)? {
        return Err(taken(backup).into());
    }
    transaction.execute(
        "INSERT INTO header_backups (host, path, volume, passphrase) VALUES (?1, ?2, ?3, ?4)",
        row,
    )?;
    if let Some(passphrase) = passphrase {
        InTransaction::new(transaction).add_reference(passphrase, &owner(backup))?;
    }
    Ok(())
}

pub(crate) fn remove(
    transaction: &Transaction<'_>,
    volume: &VolumeRecord,
    backup: &HeaderBackupRecord,
) -> Result<(), Failure> {
    transaction.execute(
        "DELETE FROM header_backups WHERE host = ?1 AND path = ?2",
        (backup.host.as_str(), backup.path.as_os_str().as_bytes()),
    )?;
    if let Some(passphrase) = &volume.passphrase {
        InTransaction::new(transaction).remove_reference(passphrase, &owner(backup))?;
    }
    Ok(())
}

impl ControlPlane {
    /// Copies the LUKS header of an encrypted volume into a new file on the host that does it. The file is recorded, counts as
    /// something that needs the volume's key, and is destroyed with the volume.
    ///
    /// After an error there is no such file; one that was there before is not touched. A kill leaves what
    /// [`recover`](Self::recover) undoes.
    ///
    /// # Errors
    /// [`NotEncrypted`](ControlPlaneError::NotEncrypted), [`Taken`](ControlPlaneError::Taken) when the host has a file of that
    /// name, [`Host`](ControlPlaneError::Host) when the host cannot do it, as for a qcow2 volume, whose header lies inside,
    /// and those of [`verify_volume`](Self::verify_volume).
    pub fn back_up_header(
        &self,
        call: &Call,
        id: &VolumeId,
        path: &Path,
    ) -> Result<HeaderBackupRecord, ControlPlaneError> {
        absolute(path)?;
        let _claim = self.claim(id)?;
        let record = self.ready_volume(id)?;
        let key = self.unseal(&record)?;
        if let Key::Plain = key {
            return Err(ControlPlaneError::NotEncrypted { volume: id.clone() });
        }
        let action = format!("back up the header of volume {id}");
        self.on_host(call, &record, &action, |at| {
            let backup = HeaderBackupRecord {
                volume: id.clone(),
                host: at.endpoint.host().id,
                path: path.to_owned(),
            };
            self.refuse_existing(call, at.endpoint, &record, &backup)?;
            let work = Work::BackUpHeader {
                host: backup.host.clone(),
                path: path.as_os_str().to_owned(),
            };
            // The row comes first: whatever becomes of the job, a delete of the volume knows of the file.
            let job = self.begin(id, work, |transaction| insert(transaction, &record, &backup))?;
            let command = BackUpHeader::new(at.disk(&key), path);
            let copied = run(at.endpoint, call, &action, &command.into());
            let copied = copied.and_then(|_| self.end(&job, |_| Ok(())));
            match copied {
                Ok(()) => Ok(backup),
                Err(error) => Err(self.settle_failed(&job, error, |error| {
                    let ours = error.kind() != Some(ErrorKind::AlreadyExists);
                    if ours {
                        delete_file(at.endpoint, &closing_call(), &backup)?;
                    }
                    self.end(&job, |transaction| remove(transaction, &record, &backup))
                })),
            }
        })
    }

    /// The header backups of a volume, by host and path.
    ///
    /// # Errors
    /// [`ControlPlaneError::Unknown`] volume, [`ControlPlaneError::Store`], [`ControlPlaneError::DamagedRow`].
    pub fn header_backups(&self, volume: &VolumeId) -> Result<Vec<HeaderBackupRecord>, ControlPlaneError> {
        self.volume(volume)?;
        self.read("list header backups", |connection| list(connection, volume))
    }

    /// A file that is there before the job is written down is not ours, and undoing the job must not remove it.
    fn refuse_existing(
        &self,
        call: &Call,
        endpoint: &dyn Endpoint,
        record: &VolumeRecord,
        backup: &HeaderBackupRecord,
    ) -> Result<(), ControlPlaneError> {
        let location = DiskLocation::File(backup.path.clone());
        let look = InspectDisk::new(&location, DiskFormat::Raw, record.encryption);
        match run(endpoint, call, "look for an earlier header backup", &look.into()) {
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => Ok(()),
            Err(error) if error.kind() != Some(ErrorKind::WrongDisk) => Err(error),
            Ok(_) | Err(_) => Err(taken(backup)),
        }
    }

    /// Undoes a header backup that a dead process was making.
    pub(crate) fn undo_backup(
        &self,
        call: &Call,
        job: &Job,
        record: &VolumeRecord,
        backup: &HeaderBackupRecord,
    ) -> Result<(), ControlPlaneError> {
        let endpoint = self.select(&Need::any().on(backup.host.clone()), "remove a header backup")?;
        delete_file(endpoint.as_ref(), call, backup)?;
        sweep_beside(endpoint.as_ref(), call, backup)?;
        self.end(job, |transaction| remove(transaction, record, backup))
    }
}

/// Removes the file; one that is not there is fine.
pub(crate) fn delete_file(
    endpoint: &dyn Endpoint,
    call: &Call,
    backup: &HeaderBackupRecord,
) -> Result<(), ControlPlaneError> {
    let action = format!("remove the header backup {}", backup.path.display());
    run(endpoint, call, &action, &DeleteDisk::new(&backup.path).into()).map(drop)
}

/// A copy that was not finished lies beside the file under a name of the host's own, and opens the volume all the same.
fn sweep_beside(
    endpoint: &dyn Endpoint,
    call: &Call,
    backup: &HeaderBackupRecord,
) -> Result<(), ControlPlaneError> {
    let Some(directory) = backup.path.parent() else {
        return Ok(());
    };
    let action = format!("remove unfinished header backups in {}", directory.display());
    match run(endpoint, call, &action, &SweepStaging::new(directory).into()) {
        Err(error) if error.kind() == Some(ErrorKind::NotFound) => Ok(()),
        swept => swept.map(drop),
    }
}
