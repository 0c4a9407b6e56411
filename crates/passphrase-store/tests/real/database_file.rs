//! Which files are taken for a database, and which are refused.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use strongroom_passphrase_store::sqlite::{Database, SqliteStore};
use strongroom_passphrase_store::{PassphraseStore, StoreError};

use crate::{record, sqlite};

#[track_caller]
fn is_no_plain_file(path: &Path, expected: &str) {
    let refused = Database::open(path).unwrap_err();
    assert!(
        matches!(&refused, StoreError::NotAPlainFile { found, .. } if *found == expected),
        "{refused:?}"
    );
}

#[test]
fn what_is_no_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    is_no_plain_file(directory.path(), "no regular file");
    let fifo = directory.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    is_no_plain_file(&fifo, "no regular file");
    for path in [directory.path().join("missing/keys.db"), "".into(), "/".into()] {
        let refused = Database::open(&path).unwrap_err();
        assert!(
            matches!(&refused, StoreError::File { path: named, .. } if *named == path),
            "{refused:?}"
        );
    }
}

#[test]
fn a_symlink_is_refused_and_nothing_is_made_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    drop(sqlite(directory.path()));
    symlink("keys.db", at("link.db")).unwrap();
    symlink("elsewhere.db", at("dangling.db")).unwrap();
    is_no_plain_file(&at("link.db"), "a symlink");
    is_no_plain_file(&at("link.db/"), "a symlink");
    is_no_plain_file(&at("dangling.db"), "a symlink");
    assert!(!at("elsewhere.db").exists());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
}

#[test]
fn a_directory_may_be_reached_by_a_symlink() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    fs::create_dir(&state).unwrap();
    symlink("state", directory.path().join("current")).unwrap();
    let store = sqlite(&directory.path().join("current"));
    let real = fs::canonicalize(&state).unwrap().join("keys.db");
    assert_eq!(store.database().path(), real);
    store.insert(&record("a")).unwrap();
    assert_eq!(sqlite(&state).ids().unwrap(), [record("a").id]);
}

#[test]
fn a_file_with_a_second_name_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(sqlite(directory.path()));
    let (path, second) = (
        directory.path().join("keys.db"),
        directory.path().join("second.db"),
    );
    fs::hard_link(&path, &second).unwrap();
    is_no_plain_file(&path, "a file with several names");
    is_no_plain_file(&second, "a file with several names");
    fs::remove_file(&second).unwrap();
    Database::open(&path).unwrap();
}

#[test]
fn a_file_of_another_user_is_refused() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test gives a file to another user: run it as root"
    );
    let directory = tempfile::tempdir().unwrap();
    drop(sqlite(directory.path()));
    let path = directory.path().join("keys.db");
    chown(&path, Some(65534), None).unwrap();
    let refused = Database::open(&path).unwrap_err();
    assert!(
        matches!(&refused, StoreError::WrongOwner { owner: 65534, .. }),
        "{refused:?}"
    );
}

#[test]
fn names_that_mean_something_to_sqlite_are_names_of_files() {
    let directory = tempfile::tempdir().unwrap();
    for name in [
        ":memory:",
        "file:keys.db?mode=memory",
        "keys.db?immutable=1",
        "%6b",
        "a'b\nc",
    ] {
        let path = directory.path().join(name);
        let store = SqliteStore::new(Database::open(&path).unwrap());
        store.insert(&record("a")).unwrap();
        drop(store);
        assert_ne!(path.metadata().unwrap().len(), 0, "{name}");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600, "{name}");
        let again = SqliteStore::new(Database::open(&path).unwrap());
        assert_eq!(again.ids().unwrap(), [record("a").id], "{name}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 5);
}
