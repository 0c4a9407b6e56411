use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use super::migrate;
use super::migration::refuse_newer;
use crate::StoreError;

/// The tables of the store. Steps are only ever added.
const STEPS: [&str; 1] = ["
    CREATE TABLE passphrases (
        id TEXT PRIMARY KEY,
        tenant TEXT NOT NULL,
        volume TEXT NOT NULL,
        purpose TEXT NOT NULL,
        kek TEXT NOT NULL,
        kek_version INTEGER NOT NULL,
        sealed BLOB NOT NULL
    ) STRICT;
    CREATE TABLE passphrase_references (
        passphrase TEXT NOT NULL REFERENCES passphrases (id) ON DELETE RESTRICT,
        owner_kind TEXT NOT NULL,
        owner TEXT NOT NULL,
        PRIMARY KEY (passphrase, owner_kind, owner)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX passphrases_by_volume ON passphrases (volume);
"];

const COMPONENT: &str = "passphrase-store";

/// What the promises of the store rest on. SQLite answers with what it does, which need not be what it was asked.
const SETTINGS: [(&str, &str, &str); 6] = [
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", "2"),
    ("foreign_keys", "ON", "1"),
    ("secure_delete", "ON", "1"),
    ("trusted_schema", "OFF", "0"),
    // What SQLite sorts or sets aside goes to no other directory.
    ("temp_store", "MEMORY", "2"),
];

fn configure(connection: &Connection) -> Result<(), StoreError> {
    let failed = |e| super::store::failed("set up its connection", e);
    for (name, value, answer) in SETTINGS {
        connection
            .execute_batch(&format!("PRAGMA {name} = {value}"))
            .map_err(failed)?;
        let found = connection
            .query_row(&format!("PRAGMA {name}"), [], |row| match row.get(0)? {
                Value::Integer(number) => Ok(number.to_string()),
                Value::Text(text) => Ok(text),
                other => Ok(format!("{other:?}")),
            })
            .map_err(failed)?;
        if found != answer {
            return Err(StoreError::Setting {
                name,
                wanted: value,
                found,
            });
        }
    }
    Ok(())
}

/// How long a statement waits for another process.
const PATIENCE: Duration = Duration::from_secs(10);

/// A database file with the tables of the store, to which other components add theirs.
///
/// Write-ahead log, `synchronous=FULL`, foreign keys enforced, deleted content overwritten, no temporary files.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    path: PathBuf,
}

impl Database {
    /// Opens the file, makes it with mode 0600 when it is not there, checks it, and brings the store's tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Mode`] when others may use the file, [`StoreError::DamagedFile`], [`StoreError::Newer`],
    /// [`StoreError::File`], [`StoreError::Full`], [`StoreError::Setting`], [`StoreError::Database`]. A database that is damaged or
    /// newer is left as it is.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        let io = |source: io::Error| StoreError::File {
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        drop(file);
        if !metadata.is_file() {
            return Err(StoreError::DamagedFile {
                path,
                problem: "it is no regular file".to_owned(),
            });
        }
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(StoreError::Mode { path, mode });
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let damaged = |e: rusqlite::Error| match e.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                StoreError::DamagedFile {
                    path: path.clone(),
                    problem: e.to_string(),
                }
            }
            _ => super::store::failed("open", e),
        };
        let mut connection = Connection::open_with_flags(&path, flags).map_err(damaged)?;
        connection.busy_timeout(PATIENCE).map_err(damaged)?;
        let found: String = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(damaged)?;
        if found != "ok" {
            return Err(StoreError::DamagedFile { path, problem: found });
        }
        refuse_newer(&connection, COMPONENT, STEPS.len())?;
        configure(&connection)?;
        migrate(&mut connection, COMPONENT, &STEPS)?;
        Ok(Self { connection, path })
    }

    /// The connection, for the tables of other components.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The connection, for transactions and migrations.
    #[must_use]
    pub fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes what was deleted out of the write-ahead log as well: afterwards no file of the database has it. What the disk
    /// below keeps of overwritten blocks is beyond it.
    ///
    /// # Errors
    /// [`StoreError::Database`], also when another process reads just now.
    pub fn purge(&self) -> Result<(), StoreError> {
        let busy: i64 = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(|e| super::store::failed("truncate its log", e))?;
        if busy != 0 {
            let source = rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                Some("another process is reading".to_owned()),
            );
            return Err(super::store::failed("truncate its log", source));
        }
        Ok(())
    }
}
