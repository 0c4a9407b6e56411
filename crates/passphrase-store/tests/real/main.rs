//! The store with real files and a real database.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test says no"
)]

mod both_stores;
mod database;
mod database_file;
mod erasure;
mod forgeries;
mod full_disk;
mod key_file;
mod sealing;
mod transactions;
mod vector;

use std::path::Path;

use strongroom_exec::{CommandSpec, Completed, Runner, SystemRunner, Watch};
use strongroom_passphrase_store::sqlite::{Database, SqliteStore};
use strongroom_passphrase_store::{FileKek, Owner, Purpose, SealedRecord};
use strongroom_types::{PassphraseId, VolumeId};
use tempfile::TempDir;

fn run(command: &CommandSpec<'_>) -> Completed {
    SystemRunner::new().run(command, &Watch::nobody()).unwrap()
}

fn volume(name: &str) -> VolumeId {
    name.parse().unwrap()
}

fn owner(name: &str) -> Owner {
    Owner::volume(&volume(name))
}

fn sqlite(directory: &Path) -> SqliteStore {
    SqliteStore::new(Database::open(directory.join("keys.db")).unwrap())
}

/// A directory with a key file and no database yet.
fn place() -> (TempDir, FileKek) {
    let directory = tempfile::tempdir().unwrap();
    let kek = FileKek::create(directory.path().join("kek")).unwrap();
    (directory, kek)
}

/// A record that no key sealed, for tests that never open one.
fn record(id: &str) -> SealedRecord {
    let id: PassphraseId = id.parse().unwrap();
    SealedRecord::new(
        id,
        "tenant".to_owned(),
        volume("vol-1"),
        Purpose::Volume,
        "some-kek".parse().unwrap(),
        7,
        b"sealed".to_vec(),
    )
}
