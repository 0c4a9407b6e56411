//! The store and other tables in one database and one transaction.

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
