//! The store and other tables in one database and one transaction.

use std::time::Duration;

use rusqlite::Connection;
use strongroom_passphrase_store::sqlite::{Database, InTransaction, SqliteStore, migrate};
use strongroom_passphrase_store::{Keyring, KeyringError, PassphraseStore, Purpose, StoreError};

use crate::{owner, place, record, volume};

const VOLUMES: [&str; 2] = [
    "CREATE TABLE volumes (id TEXT PRIMARY KEY, passphrase TEXT REFERENCES passphrases (id) ON DELETE RESTRICT) STRICT",
    "ALTER TABLE volumes ADD COLUMN size INTEGER NOT NULL DEFAULT 0",
];

fn count(connection: &Connection, table: &str) -> u32 {
    connection
        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
        .unwrap()
}

#[test]
fn what_is_done_in_a_transaction_is_done_with_it_or_not_at_all() {
    let (directory, kek) = place();
    let mut database = Database::open(directory.path().join("keys.db")).unwrap();
    migrate(database.connection_mut(), "volumes", &VOLUMES).unwrap();
    let mut allocate = |commit: bool| {
        let transaction = database.connection_mut().transaction().unwrap();
        let store = InTransaction::new(&transaction);
        let keyring = Keyring::new(&store, &kek);
        let id = keyring.create(&volume("vol-1"), Purpose::Volume).unwrap();
        let row = ("vol-1", id.as_str());
        transaction
            .execute("INSERT INTO volumes (id, passphrase) VALUES (?1, ?2)", row)
            .unwrap();
        keyring.unseal(&id).unwrap();
        if commit {
            transaction.commit().unwrap();
        } else {
            transaction.rollback().unwrap();
        }
        let counts = ["passphrases", "passphrase_references", "volumes"]
            .map(|table| count(database.connection(), table));
        (id, counts)
    };
    let (undone, counts) = allocate(false);
    assert_eq!(counts, [0, 0, 0]);
    let (done, counts) = allocate(true);
    assert_eq!(counts, [1, 1, 1]);

    let store = SqliteStore::new(database);
    let keyring = Keyring::new(&store, &kek);
    keyring.unseal(&done).unwrap();
    let refused = keyring.unseal(&undone).unwrap_err();
    assert!(
        matches!(&refused, KeyringError::Store(StoreError::NotFound { .. })),
        "{refused:?}"
    );
}

#[test]
fn transactions_of_several_connections_that_read_before_they_write_all_get_their_turn() {
    const CONNECTIONS: usize = 6;
    const EACH: usize = 20;
    let (directory, kek) = place();
    let path = directory.path().join("keys.db");
    migrate(
        Database::open(&path).unwrap().connection_mut(),
        "volumes",
        &VOLUMES,
    )
    .unwrap();
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let (path, kek) = (&path, &kek);
            scope.spawn(move || {
                let mut database = Database::open(path).unwrap();
                for round in 0..EACH {
                    let volume = volume(&format!("vol-{connection}-{round}"));
                    let transaction = database.transaction().unwrap();
                    let before = count(&transaction, "volumes");
                    let store = InTransaction::new(&transaction);
                    let id = Keyring::new(&store, kek)
                        .create(&volume, Purpose::Volume)
                        .unwrap();
                    transaction
                        .execute(
                            "INSERT INTO volumes (id, passphrase) VALUES (?1, ?2)",
                            (volume.as_str(), id.as_str()),
                        )
                        .unwrap();
                    assert_eq!(count(&transaction, "volumes"), before + 1);
                    transaction.commit().unwrap();
                }
            });
        }
    });
    let database = Database::open(&path).unwrap();
    assert_eq!(count(database.connection(), "volumes"), 120);
    assert_eq!(count(database.connection(), "passphrases"), 120);
}

#[test]
fn a_database_that_another_connection_writes_is_busy_and_the_error_says_what_to_do() {
    let (directory, kek) = place();
    let path = directory.path().join("keys.db");
    let (mut one, mut other) = (Database::open(&path).unwrap(), Database::open(&path).unwrap());
    other.connection().busy_timeout(Duration::ZERO).unwrap();
    {
        let writing = one.transaction().unwrap();
        let refused = other.transaction().unwrap_err();
        assert!(matches!(&refused, StoreError::Busy { .. }), "{refused:?}");
        assert_eq!(
            refused.to_string(),
            "another process uses the database, so that it could not begin a transaction; try again, and begin a \
             transaction that writes as an immediate one"
        );
        writing.rollback().unwrap();
    }
    // A deferred transaction that has read cannot write when somebody else has written since, however long it waits.
    other.connection().busy_timeout(Duration::from_secs(600)).unwrap();
    let deferred = other.connection_mut().transaction().unwrap();
    assert_eq!(count(&deferred, "passphrases"), 0);
    let writing = one.transaction().unwrap();
    InTransaction::new(&writing).insert(&record("a")).unwrap();
    writing.commit().unwrap();
    let refused = Keyring::new(&InTransaction::new(&deferred), &kek)
        .create(&volume("vol-1"), Purpose::Volume)
        .unwrap_err();
    assert!(
        matches!(&refused, KeyringError::Store(StoreError::Busy { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_removal_that_is_rolled_back_has_removed_nothing() {
    let (directory, kek) = place();
    let store = crate::sqlite(directory.path());
    let id = Keyring::new(&store, &kek)
        .create(&volume("vol-1"), Purpose::Volume)
        .unwrap();
    {
        let mut database = store.database();
        let transaction = database.connection_mut().transaction().unwrap();
        let inside = InTransaction::new(&transaction);
        inside.remove_reference(&id, &owner("vol-1")).unwrap();
        inside.remove(&id).unwrap();
        assert_eq!(inside.ids().unwrap(), []);
    }
    assert_eq!(store.references(&id).unwrap(), [owner("vol-1")]);
    Keyring::new(&store, &kek).unseal(&id).unwrap();
}

#[test]
fn a_row_of_another_table_keeps_a_passphrase_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::open(directory.path().join("keys.db")).unwrap();
    migrate(database.connection_mut(), "volumes", &VOLUMES).unwrap();
    let store = SqliteStore::new(database);
    let kept = record("kept");
    store.insert(&kept).unwrap();
    store
        .database()
        .connection()
        .execute(
            "INSERT INTO volumes (id, passphrase) VALUES ('vol-1', 'kept')",
            [],
        )
        .unwrap();
    let refused = store.remove(&kept.id).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Referenced { references, .. } if references.is_empty()),
        "{refused:?}"
    );
    assert_eq!(
        refused.to_string(),
        "passphrase kept is still needed by a row of another table of the database"
    );
    assert_eq!(store.get(&kept.id).unwrap().unwrap(), kept);
    // Nor can a volume refer to a passphrase that is not there.
    let orphan = store.database().connection().execute(
        "INSERT INTO volumes (id, passphrase) VALUES ('vol-2', 'missing')",
        [],
    );
    let orphan = orphan.unwrap_err();
    assert_eq!(
        orphan.sqlite_error_code(),
        Some(rusqlite::ErrorCode::ConstraintViolation)
    );
}

#[test]
fn a_record_and_its_reference_are_kept_both_or_neither() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::open(directory.path().join("keys.db")).unwrap();
    database
        .connection()
        .execute_batch(
            "CREATE TRIGGER refuse BEFORE INSERT ON passphrase_references
             BEGIN SELECT RAISE(FAIL, 'the disk has a bad day'); END",
        )
        .unwrap();
    {
        let transaction = database.connection_mut().transaction().unwrap();
        let inside = InTransaction::new(&transaction);
        inside.insert(&record("before")).unwrap();
        inside.insert_for(&record("half"), &owner("vol-1")).unwrap_err();
        transaction.commit().unwrap();
    }
    let store = SqliteStore::new(database);
    store.insert_for(&record("half"), &owner("vol-1")).unwrap_err();
    assert_eq!(store.ids().unwrap(), [record("before").id]);
    assert!(store.database().connection().is_autocommit());
}

#[test]
fn a_migration_that_fails_leaves_the_steps_before_it_and_goes_on_when_repaired() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::open(directory.path().join("keys.db")).unwrap();
    let connection = database.connection_mut();
    let broken = [
        VOLUMES[0],
        "CREATE TABLE half (id TEXT); CREATE TABLE volumes (id TEXT)",
    ];
    let refused = migrate(connection, "volumes", &broken).unwrap_err();
    assert!(matches!(&refused, StoreError::Database { .. }), "{refused:?}");
    assert_eq!(count(connection, "volumes"), 0);
    assert_eq!(
        count(connection, "sqlite_schema WHERE name = 'half'"),
        0,
        "half a step was done"
    );
    migrate(connection, "volumes", &VOLUMES).unwrap();
    migrate(connection, "volumes", &VOLUMES).unwrap();
    assert_eq!(count(connection, "pragma_table_info('volumes')"), 3);
    let refused = migrate(connection, "volumes", &VOLUMES[..1]).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Newer { component, found: 2, known: 1 } if component == "volumes"),
        "{refused:?}"
    );
}
