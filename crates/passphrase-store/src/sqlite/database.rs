use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::migration::refuse_newer;
use super::{database_file, migrate};
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

/// How long a statement waits for another process.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

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

/// Sets one of them. SQLite does not wait by itself for other processes that begin the write-ahead log at the same time.
fn set(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match connection.execute_batch(&format!("PRAGMA {name} = {value}")) {
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < deadline => {
                thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

fn configure(connection: &Connection) -> Result<(), StoreError> {
    let failed = |e| StoreError::from_sqlite("set up its connection", e);
    for (name, value, answer) in SETTINGS {
        set(connection, name, value).map_err(failed)?;
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

/// A database file with the tables of the store, to which other components add theirs.
///
/// Write-ahead log, `synchronous=FULL`, foreign keys enforced, deleted content overwritten, no temporary files. A statement waits up
/// to 10 seconds for another process, and is [`StoreError::Busy`] then.
///
/// Required while it is open: nothing else in this process opens the file and closes it again, be it to copy or to read it. The kernel
/// drops every POSIX lock that a process has on a file when the process closes any descriptor of it. Another process may then take
/// itself for the last user and remove the write-ahead log, and what is kept afterwards is lost. Any number of `Database`s and
/// connections of `rusqlite` is fine, and so is anything that another process does. A copy is made by `VACUUM INTO` on
/// [`connection`](Self::connection), into a directory that is private, because SQLite makes the copy readable for others.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    path: PathBuf,
}

impl Database {
    /// Opens the file, makes it with mode 0600 when it is not there, checks it, and brings the store's tables up to date. It has to be a
    /// regular file with one name, of this user or root, and for nobody else to use. The path is that of a file whatever it says:
    /// `:memory:` and `file:` mean nothing special. A store that is in memory is [`MemoryStore`](crate::MemoryStore).
    ///
    /// # Errors
    /// [`StoreError::NotAPlainFile`], [`StoreError::WrongOwner`], [`StoreError::Mode`] when others may use the file,
    /// [`StoreError::DamagedFile`], [`StoreError::Newer`], [`StoreError::File`], [`StoreError::Full`], [`StoreError::Setting`],
    /// [`StoreError::Busy`], [`StoreError::Database`]. A file that is refused is left as it is. One that was made and then not filled,
    /// because the disk is full, stays as an empty file, which the next `open` takes: another process may have begun to use it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = database_file::locate(path.as_ref()).map_err(|source| StoreError::File {
            path: path.as_ref().to_owned(),
            source,
        })?;
        database_file::create(&path)?;
        database_file::check(&path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let damaged = |e: rusqlite::Error| match e.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::DamagedFile {
                path: path.clone(),
                problem: e.to_string(),
            },
            _ => StoreError::from_sqlite("open", e),
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

    /// Begins a transaction that may write, for the tables of several components and for
    /// [`InTransaction`](super::InTransaction). It is an immediate one: it waits for other writers here, once, and is not refused for
    /// their sake later. Dropped without a commit, it is rolled back.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when another process writes for longer than 10 seconds; [`StoreError::Database`].
    pub fn transaction(&mut self) -> Result<Transaction<'_>, StoreError> {
        self.connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|e| StoreError::from_sqlite("begin a transaction", e))
    }

    /// The connection, for [`migrate`] and for what [`transaction`](Self::transaction) does not do. `transaction()` of this connection
    /// begins a deferred one, which fails with "database is locked" without waiting when it has read, another process has written
    /// since, and it writes then.
    #[must_use]
    pub fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The file, as an absolute path without symlinks.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes what was deleted out of the write-ahead log as well: afterwards no file of the database has it. What the disk
    /// below keeps of overwritten blocks is beyond it. It waits up to 10 seconds for others that read.
    ///
    /// # Errors
    /// [`StoreError::NotPurged`] when somebody still reads; [`StoreError::Database`].
    pub fn purge(&self) -> Result<(), StoreError> {
        let busy: i64 = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
            .map_err(|e| StoreError::from_sqlite("truncate its log", e))?;
        if busy == 0 {
            Ok(())
        } else {
            Err(StoreError::NotPurged)
        }
    }
}
