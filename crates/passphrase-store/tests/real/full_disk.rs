//! A disk that fills up under the database.

use std::fs;
use std::path::Path;

use strongroom_exec::{CommandSpec, Program};
use strongroom_passphrase_store::sqlite::{Database, SqliteStore};
use strongroom_passphrase_store::{Keyring, KeyringError, PassphraseStore, Purpose, StoreError};
use tempfile::TempDir;

use crate::{place, run, volume};

/// A small tmpfs of its own, unmounted at the end of the test.
pub(crate) struct FullDisk(TempDir);

impl FullDisk {
    pub(crate) fn with(size: &str) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test mounts a tmpfs of its own: run it as root"
        );
        let mount = Program::find("mount").expect("install the package mount");
        let place = tempfile::tempdir().unwrap();
        let done = run(&CommandSpec::new(mount)
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(place.path()));
        assert_eq!(done.code, 0, "{}", done.message());
        Self(place)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn fill(&self) {
        let full = fs::write(self.path().join("filler"), vec![1; 8 << 20]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        let umount = Program::find("umount").expect("install the package mount");
        let done = run(&CommandSpec::new(umount).arg(self.path()));
        assert!(done.code == 0 || std::thread::panicking(), "{}", done.message());
    }
}

#[test]
fn a_full_disk_is_an_error_that_changes_nothing_and_passes_when_there_is_room() {
    let disk = FullDisk::with("2m");
    let (_directory, kek) = place();
    let path = disk.path().join("keys.db");
    let store = SqliteStore::new(Database::open(&path).unwrap());
    let keyring = Keyring::new(&store, &kek);
    let before = keyring.create(&volume("before"), Purpose::Volume).unwrap();
    disk.fill();
    let mut kept = vec![before];
    let refused = loop {
        match keyring.create(&volume("during"), Purpose::Volume) {
            Ok(id) => kept.push(id),
            Err(e) => break e,
        }
        assert!(kept.len() < 10_000);
    };
    assert!(
        matches!(&refused, KeyringError::Store(StoreError::Full { .. })),
        "{refused:?}"
    );
    kept.sort();
    let all_there = |store: &SqliteStore| {
        assert_eq!(store.ids().unwrap(), kept);
        for id in &kept {
            assert_eq!(store.references(id).unwrap().len(), 1);
            Keyring::new(store, &kek).unseal(id).unwrap();
        }
    };
    all_there(&store);
    disk.make_room();
    let id = keyring.create(&volume("after"), Purpose::Volume).unwrap();
    keyring.unseal(&id).unwrap();
    store.remove_reference(&id, &crate::owner("after")).unwrap();
    keyring.destroy(&id).unwrap();
    store.database().purge().unwrap();
    drop(store);
    all_there(&SqliteStore::new(Database::open(&path).unwrap()));
}

#[test]
fn a_database_that_cannot_be_made_on_a_full_disk_is_made_when_there_is_room() {
    let disk = FullDisk::with("256k");
    disk.fill();
    let path = disk.path().join("keys.db");
    let refused = Database::open(&path).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Full { .. } | StoreError::File { .. }),
        "{refused:?}"
    );
    assert_eq!(
        path.metadata().map_or(0, |m| m.len()),
        0,
        "half a database was left"
    );
    disk.make_room();
    let store = SqliteStore::new(Database::open(&path).unwrap());
    assert_eq!(store.ids().unwrap(), []);
}
