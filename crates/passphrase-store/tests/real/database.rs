//! Database files that are made, and those that are refused.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;

use strongroom_passphrase_store::sqlite::{Database, SqliteStore};
use strongroom_passphrase_store::{PassphraseStore, StoreError};

use crate::{owner, record, sqlite, volume};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().mode() & 0o7777
}

#[test]
fn the_database_and_its_log_are_private() {
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite(directory.path());
    store.insert(&record("a")).unwrap();
    let mut names: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["keys.db", "keys.db-shm", "keys.db-wal"]);
    for name in names {
        assert_eq!(mode(&directory.path().join(&name)), 0o600, "{name:?}");
    }
    assert_eq!(store.database().path(), directory.path().join("keys.db"));
}

#[test]
fn a_database_that_others_may_use_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    drop(sqlite(directory.path()));
    for bits in [0o644, 0o660, 0o601] {
        fs::set_permissions(&path, Permissions::from_mode(bits)).unwrap();
        let refused = Database::open(&path).unwrap_err();
        assert!(
            matches!(&refused, StoreError::Mode { mode, .. } if *mode == bits),
            "{refused}"
        );
        assert!(
            refused.to_string().ends_with(&format!("chmod 600 {path:?}")),
            "{refused}"
        );
    }
}

#[test]
fn a_newer_database_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let store = sqlite(directory.path());
    store.insert(&record("a")).unwrap();
    store
        .database()
        .connection()
        .execute_batch(
            "UPDATE schema_versions SET version = 99 WHERE component = 'passphrase-store';
             PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE;",
        )
        .unwrap();
    drop(store);
    let before = (fs::read(&path).unwrap(), path.metadata().unwrap().mtime_nsec());
    let refused = Database::open(&path).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Newer { component, found: 99, known: 1 } if component == "passphrase-store"),
        "{refused:?}"
    );
    assert_eq!(
        refused.to_string(),
        "passphrase-store was written by a newer version: it has schema 99, this program knows 1; \
         use the newer program"
    );
    let after = (fs::read(&path).unwrap(), path.metadata().unwrap().mtime_nsec());
    assert!(before == after, "the file was changed");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let content = b"a text that somebody wrote, longer than the first 16 bytes of a database. ".repeat(50);
    fs::write(&path, &content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let refused = Database::open(&path).unwrap_err();
    assert!(matches!(&refused, StoreError::DamagedFile { .. }), "{refused:?}");
    assert!(
        refused.to_string().ends_with("restore it from a copy"),
        "{refused}"
    );
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[test]
fn a_database_with_damaged_pages_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    let store = sqlite(directory.path());
    for number in 0..100 {
        store
            .insert_for(&record(&format!("p-{number}")), &owner("vol-1"))
            .unwrap();
    }
    drop(store);
    let length = path.metadata().unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for page in 1..length / 4096 {
        file.write_all_at(&[0xff; 64], page * 4096).unwrap();
    }
    drop(file);
    let refused = Database::open(&path).unwrap_err();
    assert!(matches!(&refused, StoreError::DamagedFile { .. }), "{refused:?}");

    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(length / 2).unwrap();
    let refused = Database::open(&path).unwrap_err();
    assert!(matches!(&refused, StoreError::DamagedFile { .. }), "{refused:?}");
}

#[test]
fn a_database_that_cannot_get_its_write_ahead_log_is_refused() {
    // A program that reads without a log keeps SQLite from beginning one.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.db");
    drop(sqlite(directory.path()));
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader
        .execute_batch("PRAGMA journal_mode = DELETE; BEGIN; SELECT * FROM passphrases;")
        .unwrap();
    let refused = Database::open(&path).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Setting { .. } | StoreError::Busy { .. }),
        "{refused:?}"
    );
}

#[test]
fn a_row_that_says_what_no_row_may_say_is_an_error_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite(directory.path());
    let id = record("odd").id;
    for (change, problem) in [
        ("purpose = 'other'", "unknown purpose \"other\""),
        ("volume = 'Not An Id'", "volume: "),
        ("kek = ''", "kek: "),
        ("kek_version = -1", "kek_version -1"),
        ("kek_version = 4294967296", "kek_version 4294967296"),
        ("tenant = CAST(x'ff' AS TEXT)", "a column is no text"),
    ] {
        store.insert(&record("odd")).unwrap();
        store
            .database()
            .connection()
            .execute(&format!("UPDATE passphrases SET {change}"), [])
            .unwrap();
        let refused = store.get(&id).unwrap_err();
        assert!(
            matches!(&refused, StoreError::DamagedRow { id, .. } if id == "odd"),
            "{change}: {refused:?}"
        );
        let said = refused.to_string();
        assert!(
            said.starts_with(&format!("the record of passphrase odd is damaged: {problem}")),
            "{said}"
        );
        store.remove(&id).unwrap();
    }
    store.insert_for(&record("odd"), &owner("vol-1")).unwrap();
    store
        .database()
        .connection()
        .execute("UPDATE passphrase_references SET owner_kind = 'cat'", [])
        .unwrap();
    let refused = store.remove(&id).unwrap_err();
    assert!(matches!(&refused, StoreError::DamagedRow { .. }), "{refused:?}");
    assert_eq!(store.ids().unwrap(), [id]);
}

#[test]
fn a_list_of_ids_is_whole_or_an_error_that_names_the_row() {
    let directory = tempfile::tempdir().unwrap();
    let store = sqlite(directory.path());
    store.insert(&record("sound")).unwrap();
    let change = |sql: &str| store.database().connection().execute(sql, []).unwrap();
    for (odd, named, problem) in [
        ("CAST(x'61ff' AS TEXT)", "a\u{fffd}", "it is no text"),
        ("'a' || char(10) || 'ok: all is well'", "a\\nok: all is well", ""),
    ] {
        change(&format!(
            "INSERT INTO passphrases (rowid, id, tenant, volume, purpose, kek, kek_version, sealed)
             VALUES (77, {odd}, '', 'vol-1', 'volume', 'kek', 1, x'00')"
        ));
        for refused in [
            store.ids().unwrap_err(),
            store.ids_for(&volume("vol-1")).unwrap_err(),
        ] {
            assert!(matches!(&refused, StoreError::DamagedRow { .. }), "{refused:?}");
            let said = format!(
                "the record of passphrase {named} is damaged: id in row 77 of passphrases: {problem}"
            );
            assert!(refused.to_string().starts_with(&said), "{refused}");
            assert!(!refused.to_string().contains('\n'), "{refused}");
        }
        assert_eq!(store.ids_for(&volume("vol-2")).unwrap(), []);
        change("DELETE FROM passphrases WHERE rowid = 77");
    }
    assert_eq!(store.ids().unwrap(), [record("sound").id]);
}

#[test]
fn a_database_is_opened_again_with_all_that_was_kept() {
    let directory = tempfile::tempdir().unwrap();
    sqlite(directory.path())
        .insert_for(&record("a"), &owner("vol-1"))
        .unwrap();
    let again = SqliteStore::new(Database::open(directory.path().join("keys.db")).unwrap());
    assert_eq!(again.get(&record("a").id).unwrap().unwrap(), record("a"));
    assert_eq!(again.references(&record("a").id).unwrap(), [owner("vol-1")]);
}
