use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;
use strongroom_secret::PassphraseError;
use strongroom_types::PassphraseId;

use crate::printable::Printable;
use crate::{KekId, Owner};

/// Why a key-encryption key could not be used. It holds no key material.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KekError {
    /// Not the name of a key.
    #[error(
        "the name of a key-encryption key has 1 to 128 printable characters without spaces; this has {length}"
    )]
    Id {
        /// How long it is.
        length: usize,
    },
    /// The file cannot be read or made.
    #[error("cannot use the key file {path:?}")]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file is there already.
    #[error("{path:?} is there already; a key file is never replaced, because what it sealed would be lost")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It is a symlink, directory, device, or has a second name.
    #[error("{path:?} is {found}; a key file is a regular file with one name")]
    NotAPlainFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Others could read or write it.
    #[error("others may use the key file {path:?} (mode {mode:04o}); make it private: chmod 600 {path:?}")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error(
        "the key file {path:?} belongs to user {owner}; it must belong to the user that runs this, or to root"
    )]
    WrongOwner {
        /// The file.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// It is not a key file, or it was damaged.
    #[error("{path:?} is no key file or is damaged: {problem}; restore it from its copy")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
    /// Sealed by another version than this key has.
    #[error("sealed by version {sealed_by} of the key, which has version {have}")]
    Version {
        /// The version that sealed.
        sealed_by: u32,
        /// The version at hand.
        have: u32,
    },
    /// The sealed bytes do not open: changed, swapped, or sealed by another key.
    #[error("the seal does not open: the record was changed or exchanged, or another key sealed it")]
    Unseal,
    /// The key refused or its service failed.
    #[error("the key-encryption key cannot be used: {reason}")]
    Unavailable {
        /// The reason.
        reason: String,
    },
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No such record.
    #[error("there is no passphrase {id} in the store")]
    NotFound {
        /// Its name.
        id: PassphraseId,
    },
    /// A record of this name is there.
    #[error("a passphrase {id} is in the store already and stays")]
    Exists {
        /// Its name.
        id: PassphraseId,
    },
    /// Something still needs the passphrase.
    #[error("passphrase {id} is still needed by {}", list(.references))]
    Referenced {
        /// Its name.
        id: PassphraseId,
        /// What refers to it; nothing when it is another component's table that does.
        references: Vec<Owner>,
    },
    /// A row says what no row may say.
    #[error("the record of passphrase {} is damaged: {}", Printable(.id), Printable(.problem))]
    DamagedRow {
        /// The name as it stands there.
        id: String,
        /// What is wrong.
        problem: String,
    },
    /// The database was written by a newer program.
    #[error(
        "{component} was written by a newer version: it has schema {found}, this program knows {known}; use the newer program"
    )]
    Newer {
        /// Which tables.
        component: String,
        /// The version in the database.
        found: u32,
        /// The version that is known.
        known: u32,
    },
    /// The database file is damaged.
    #[error("the database {path:?} is damaged: {}; restore it from a copy", Printable(.problem))]
    DamagedFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The database file may be used by others.
    #[error("others may use the database {path:?} (mode {mode:04o}); make it private: chmod 600 {path:?}")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is a symlink, directory, device, or has a second name.
    #[error("{path:?} is {found}; a database is a regular file with one name")]
    NotAPlainFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The database file belongs to somebody else.
    #[error(
        "the database {path:?} belongs to user {owner}; it must belong to the user that runs this, or to root"
    )]
    WrongOwner {
        /// The file.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },
    /// The database file cannot be made or read.
    #[error("cannot use the database {path:?}")]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The disk is full.
    #[error(
        "no space left for the database while trying to {action}; what is in it was not changed; make room"
    )]
    Full {
        /// What was to be done.
        action: &'static str,
    },
    /// SQLite does not do what the store promises, such as keeping a write-ahead log on this file system.
    #[error("the database cannot have {name} = {wanted}, it stays at {found}; put it on a local file system")]
    Setting {
        /// The setting, as SQLite's `PRAGMA` names it.
        name: &'static str,
        /// What it has to be.
        wanted: &'static str,
        /// What it is.
        found: String,
    },
    /// Another connection is in the way, of this process or another. A transaction that reads before it writes and did not begin as
    /// [`Database::transaction`](crate::sqlite::Database::transaction) does meets this without having waited.
    #[error(
        "another process uses the database, so that it could not {action}; try again, and begin a transaction that writes as an immediate one"
    )]
    Busy {
        /// What was to be done.
        action: &'static str,
    },
    /// The log still has what was deleted, because another connection reads it.
    #[error(
        "another process reads the database, so that what was deleted is still in its log; purge again when that process is done"
    )]
    NotPurged,
    /// SQLite failed.
    #[error("the database failed to {action}")]
    Database {
        /// What was to be done.
        action: &'static str,
        /// The reason.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// A failure of SQLite as an error of the store, also for statements of one's own on the store's database: a full disk is
    /// [`Full`](Self::Full), a locked database [`Busy`](Self::Busy), and anything else [`Database`](Self::Database). `action` is what
    /// was to be done, as an infinitive.
    #[must_use]
    pub fn from_sqlite(action: &'static str, source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { action },
            Some(ErrorCode::DatabaseBusy) => Self::Busy { action },
            _ => Self::Database { action, source },
        }
    }
}

fn list(owners: &[Owner]) -> String {
    if owners.is_empty() {
        return "a row of another table of the database".to_owned();
    }
    owners
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Why a passphrase could not be made, sealed or unsealed. A missing key and one that does not open are errors, never "not
/// encrypted".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// The store failed, or does not have it.
    #[error("the passphrase store refused")]
    Store(#[source] StoreError),
    /// The key-encryption key failed.
    #[error("passphrase {id} cannot be sealed or unsealed")]
    Kek {
        /// Its name.
        id: PassphraseId,
        /// The reason.
        source: KekError,
    },
    /// Another key sealed the record.
    #[error(
        "passphrase {id} was sealed by the key {sealed_by}, and {have} is at hand; use the key file that belongs to this store"
    )]
    WrongKek {
        /// Its name.
        id: PassphraseId,
        /// The key that sealed it.
        sealed_by: KekId,
        /// The key at hand.
        have: KekId,
    },
    /// The record belongs to another tenant than the keyring.
    #[error("passphrase {id} belongs to another tenant")]
    WrongTenant {
        /// Its name.
        id: PassphraseId,
    },
    /// What came out is no passphrase.
    #[error("passphrase {id} is damaged under its seal")]
    Content {
        /// Its name.
        id: PassphraseId,
        /// What is wrong, if it is the text.
        source: Option<PassphraseError>,
    },
    /// A passphrase could not be made.
    #[error("cannot make a passphrase")]
    Generate(#[source] PassphraseError),
}
