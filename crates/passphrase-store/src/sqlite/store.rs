use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::ffi::{
    SQLITE_CONSTRAINT_FOREIGNKEY, SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_TRIGGER,
    SQLITE_CONSTRAINT_UNIQUE,
};
use rusqlite::{Connection, OptionalExtension, Params, Row, Transaction};
use strongroom_types::{ParseIdError, PassphraseId, VolumeId};

use super::Database;
use crate::{Owner, PassphraseStore, SealedRecord, StoreError};

/// The store in a database of its own, for use from several threads.
#[derive(Debug)]
pub struct SqliteStore(Mutex<Database>);

impl SqliteStore {
    /// The store in this database.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self(Mutex::new(database))
    }

    /// The database, while nobody else uses it.
    ///
    /// Every method of the store takes the same lock for its length: a thread that calls one while it holds this guard waits for
    /// itself, for ever. Within the guard, the store is [`InTransaction`]. A [`purge`](Database::purge) that another process keeps
    /// from its work holds the lock as long as it waits, which is up to 10 seconds.
    pub fn database(&self) -> MutexGuard<'_, Database> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store inside somebody's transaction: what is done through it is done when the transaction is committed, together with
/// whatever else is done there.
///
/// The transaction has to be an immediate one, as [`Database::transaction`] begins it. Any other that reads before it writes fails with
/// [`StoreError::Busy`] and without waiting when another process has written in between, and has to be begun anew.
///
/// It cannot outlive the transaction:
///
/// ```compile_fail,E0505
/// # use strongroom_passphrase_store::{PassphraseStore, StoreError, sqlite::InTransaction};
/// fn too_late(transaction: rusqlite::Transaction<'_>) -> Result<(), StoreError> {
///     let store = InTransaction::new(&transaction);
///     transaction.commit().unwrap();
///     store.ids().map(drop)
/// }
/// ```
#[derive(Clone, Copy)]
pub struct InTransaction<'t>(&'t Transaction<'t>);

impl<'t> InTransaction<'t> {
    /// The store inside this transaction.
    #[must_use]
    pub fn new(transaction: &'t Transaction<'t>) -> Self {
        Self(transaction)
    }
}

impl fmt::Debug for InTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InTransaction(..)")
    }
}

/// Whether it is a row of this key that is there already.
fn taken(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|e| {
        matches!(
            e.extended_code,
            SQLITE_CONSTRAINT_PRIMARYKEY | SQLITE_CONSTRAINT_UNIQUE
        )
    })
}

/// Whether it is a foreign key that is in the way.
fn referred(error: &rusqlite::Error) -> bool {
    // A RESTRICT is carried out by a trigger and says so.
    error.sqlite_error().is_some_and(|e| {
        matches!(
            e.extended_code,
            SQLITE_CONSTRAINT_FOREIGNKEY | SQLITE_CONSTRAINT_TRIGGER
        )
    })
}

/// Whether a column does not hold what it must, which only somebody else can have written.
fn misfit(error: &rusqlite::Error) -> Option<String> {
    match error {
        rusqlite::Error::InvalidColumnType(_, name, _) => Some(format!("{name} has the wrong type")),
        rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::Utf8Error(..) => {
            Some("a column is no text".to_owned())
        }
        _ => None,
    }
}

fn insert(connection: &Connection, record: &SealedRecord) -> Result<(), StoreError> {
    let SealedRecord {
        id,
        tenant,
        volume,
        purpose,
        kek,
        kek_version,
        sealed,
    } = record;
    let row = (
        id.as_str(),
        tenant,
        volume.as_str(),
        purpose.as_str(),
        kek.as_str(),
        kek_version,
        sealed,
    );
    match connection
        .prepare_cached("INSERT INTO passphrases VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
        .and_then(|mut statement| statement.execute(row))
    {
        Ok(_) => Ok(()),
        Err(e) if taken(&e) => Err(StoreError::Exists { id: id.clone() }),
        Err(e) => Err(StoreError::from_sqlite("keep a passphrase", e)),
    }
}

/// Both or neither, inside somebody's transaction as well as outside of one.
fn insert_for(connection: &Connection, record: &SealedRecord, owner: &Owner) -> Result<(), StoreError> {
    let act = |statement| {
        connection
            .execute_batch(statement)
            .map_err(|e| StoreError::from_sqlite("keep a passphrase", e))
    };
    act("SAVEPOINT passphrase")?;
    let done = insert(connection, record)
        .and_then(|()| add_reference(connection, &record.id, owner))
        .and_then(|()| act("RELEASE passphrase"));
    if done.is_err() {
        // Where SQLite has undone the whole transaction by itself, there is no savepoint to go back to.
        drop(act("ROLLBACK TO passphrase; RELEASE passphrase"));
    }
    done
}

/// A row as it stands there. What it says is checked afterwards, so that an error can name the row.
type Stored = (String, String, String, String, i64, Vec<u8>);

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
    ))
}

fn get(connection: &Connection, id: &PassphraseId) -> Result<Option<SealedRecord>, StoreError> {
    let damaged = |problem: String| StoreError::DamagedRow {
        id: id.to_string(),
        problem,
    };
    let found = connection
        .prepare_cached(
            "SELECT tenant, volume, purpose, kek, kek_version, sealed FROM passphrases WHERE id = ?1",
        )
        .and_then(|mut statement| statement.query_row([id.as_str()], stored).optional())
        .map_err(|e| misfit(&e).map_or_else(|| StoreError::from_sqlite("read a passphrase", e), damaged))?;
    let Some((tenant, volume, purpose, kek, version, sealed)) = found else {
        return Ok(None);
    };
    let volume = volume.parse().map_err(|e| damaged(format!("volume: {e}")))?;
    let purpose = purpose
        .parse()
        .map_err(|p| damaged(format!("unknown purpose {p:?}")))?;
    let kek = kek.parse().map_err(|e| damaged(format!("kek: {e}")))?;
    let version = u32::try_from(version).map_err(|_| damaged(format!("kek_version {version}")))?;
    Ok(Some(SealedRecord::new(
        id.clone(),
        tenant,
        volume,
        purpose,
        kek,
        version,
        sealed,
    )))
}

fn remove(connection: &Connection, id: &PassphraseId) -> Result<(), StoreError> {
    match connection.execute("DELETE FROM passphrases WHERE id = ?1", [id.as_str()]) {
        Ok(_) => Ok(()),
        Err(e) if referred(&e) => Err(StoreError::Referenced {
            id: id.clone(),
            references: references(connection, id)?,
        }),
        Err(e) => Err(StoreError::from_sqlite("remove a passphrase", e)),
    }
}

fn add_reference(connection: &Connection, id: &PassphraseId, owner: &Owner) -> Result<(), StoreError> {
    match connection.execute(
        "INSERT INTO passphrase_references VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        (id.as_str(), owner.kind.as_str(), &owner.id),
    ) {
        Ok(_) => Ok(()),
        Err(e) if referred(&e) => Err(StoreError::NotFound { id: id.clone() }),
        Err(e) => Err(StoreError::from_sqlite("note a reference", e)),
    }
}

fn remove_reference(connection: &Connection, id: &PassphraseId, owner: &Owner) -> Result<(), StoreError> {
    connection
        .execute(
            "DELETE FROM passphrase_references WHERE passphrase = ?1 AND owner_kind = ?2 AND owner = ?3",
            (id.as_str(), owner.kind.as_str(), &owner.id),
        )
        .map(drop)
        .map_err(|e| StoreError::from_sqlite("forget a reference", e))
}

fn references(connection: &Connection, id: &PassphraseId) -> Result<Vec<Owner>, StoreError> {
    let rows: Vec<(String, String)> = connection
        .prepare_cached(
            "SELECT owner_kind, owner FROM passphrase_references WHERE passphrase = ?1 ORDER BY 1, 2",
        )
        .and_then(|mut s| {
            s.query_map([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .map_err(|e| match misfit(&e) {
            Some(problem) => StoreError::DamagedRow {
                id: id.to_string(),
                problem,
            },
            None => StoreError::from_sqlite("read references", e),
        })?;
    rows.into_iter()
        .map(|(kind, owner)| match kind.parse() {
            Ok(kind) => Ok(Owner::new(kind, owner)),
            Err(kind) => {
                let problem = format!("unknown kind of owner {kind:?}");
                Err(StoreError::DamagedRow {
                    id: id.to_string(),
                    problem,
                })
            }
        })
        .collect()
}

/// The ids that a query for `rowid, id` finds. One that is none is named by its row.
fn listed(
    connection: &Connection,
    query: &str,
    parameters: impl Params,
) -> Result<Vec<PassphraseId>, StoreError> {
    let failed = |e| StoreError::from_sqlite("list passphrases", e);
    let mut statement = connection.prepare_cached(query).map_err(failed)?;
    let mut rows = statement.query(parameters).map_err(failed)?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let number: i64 = row.get(0).map_err(failed)?;
        let column = row.get_ref(1).map_err(failed)?;
        let damaged = |problem: String| StoreError::DamagedRow {
            id: String::from_utf8_lossy(column.as_bytes().unwrap_or_default()).into_owned(),
            problem: format!("id in row {number} of passphrases: {problem}"),
        };
        let id = column.as_str().map_err(|_| damaged("it is no text".to_owned()))?;
        ids.push(id.parse().map_err(|e: ParseIdError| damaged(e.to_string()))?);
    }
    Ok(ids)
}

fn ids(connection: &Connection) -> Result<Vec<PassphraseId>, StoreError> {
    listed(connection, "SELECT rowid, id FROM passphrases ORDER BY id", [])
}

fn ids_for(connection: &Connection, volume: &VolumeId) -> Result<Vec<PassphraseId>, StoreError> {
    let query = "SELECT rowid, id FROM passphrases WHERE volume = ?1 ORDER BY id";
    listed(connection, query, [volume.as_str()])
}

macro_rules! backend {
    ($store:ty, |$this:ident| $connection:expr) => {
        impl PassphraseStore for $store {
            fn insert(&self, record: &SealedRecord) -> Result<(), StoreError> {
                let $this = self;
                insert($connection, record)
            }
            fn insert_for(&self, record: &SealedRecord, owner: &Owner) -> Result<(), StoreError> {
                let $this = self;
                insert_for($connection, record, owner)
            }
            fn get(&self, id: &PassphraseId) -> Result<Option<SealedRecord>, StoreError> {
                let $this = self;
                get($connection, id)
            }
            fn remove(&self, id: &PassphraseId) -> Result<(), StoreError> {
                let $this = self;
                remove($connection, id)
            }
            fn add_reference(&self, id: &PassphraseId, owner: &Owner) -> Result<(), StoreError> {
                let $this = self;
                add_reference($connection, id, owner)
            }
            fn remove_reference(&self, id: &PassphraseId, owner: &Owner) -> Result<(), StoreError> {
                let $this = self;
                remove_reference($connection, id, owner)
            }
            fn references(&self, id: &PassphraseId) -> Result<Vec<Owner>, StoreError> {
                let $this = self;
                references($connection, id)
            }
            fn ids(&self) -> Result<Vec<PassphraseId>, StoreError> {
                let $this = self;
                ids($connection)
            }
            fn ids_for(&self, volume: &VolumeId) -> Result<Vec<PassphraseId>, StoreError> {
                let $this = self;
                ids_for($connection, volume)
            }
        }
    };
}
backend!(SqliteStore, |this| this.database().connection());
backend!(InTransaction<'_>, |this| this.0);
