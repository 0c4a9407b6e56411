//! What is in the files, before and after.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use strongroom_exec::{CommandSpec, Program};
use strongroom_passphrase_store::sqlite::Database;
use strongroom_passphrase_store::{Keyring, PassphraseStore, Purpose, SealedRecord, StoreError};
use strongroom_secret::Passphrase;
use strongroom_types::PassphraseId;
use zeroize::Zeroizing;

use crate::{owner, place, run, sqlite, volume};

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// All files of the directory, one behind the other, as a child reads them: this process must not close a database that it has open.
fn files(directory: &Path) -> Vec<u8> {
    let cat = Program::find("cat").expect("install the package coreutils");
    let paths = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let done = run(&CommandSpec::new(cat).args(paths).output_limit(64 << 20));
    assert_eq!(done.code, 0, "{}", done.message());
    done.stdout
}

#[test]
fn nothing_but_the_sealed_record_is_in_the_files() {
    const CANARY: &[u8] = b"canary-in-a-strongroom-0123456789";
    let (directory, kek) = place();
    let store = sqlite(directory.path());
    let keyring = Keyring::new(&store, &kek);
    let passphrase = Passphrase::import(Zeroizing::new(CANARY.to_vec())).unwrap();
    let id = keyring
        .keep(&passphrase, &volume("vol-1"), Purpose::Volume)
        .unwrap();
    assert_eq!(keyring.unseal(&id).unwrap().expose_secret(), CANARY);
    let sealed = store.get(&id).unwrap().unwrap().sealed;
    let assert_sealed = || {
        let files = files(directory.path());
        assert!(
            contains(&files, &sealed[..200]),
            "the record is not where it is looked for"
        );
        for needle in [
            &CANARY[..16],
            &hex::encode(CANARY).as_bytes()[..32],
            // In base64, from each of the three places where a group may begin.
            b"Y2FuYXJ5LWluLWEt",
            b"YW5hcnktaW4tYS1z",
            b"bmFyeS1pbi1hLXN0",
        ] {
            assert!(!contains(&files, needle), "{}", String::from_utf8_lossy(needle));
        }
    };
    assert_sealed();
    drop(store);
    assert_sealed();
}

/// Removes and adds records in an order that splits and joins pages, so that remains could be anywhere in the file.
#[test]
fn after_a_purge_no_file_has_a_piece_of_a_destroyed_record() {
    let (directory, kek) = place();
    let store = sqlite(directory.path());
    let keyring = Keyring::new(&store, &kek);
    let mut kept: Vec<PassphraseId> = Vec::new();
    let mut gone = Vec::new();
    for round in 0..600_usize {
        let volume = volume(&format!("vol-{round}"));
        let id = keyring.create(&volume, Purpose::Volume).unwrap();
        store.remove_reference(&id, &owner(volume.as_str())).unwrap();
        kept.push(id);
        if round % 5 > 1 {
            let id = kept.remove(round * 7919 % kept.len());
            gone.push(store.get(&id).unwrap().unwrap());
            keyring.destroy(&id).unwrap();
        }
    }
    const PIECE: usize = 16;
    let before = files(directory.path());
    let found: HashSet<&[u8]> = before.windows(PIECE).collect();
    let in_the_log = |record: &&SealedRecord| found.contains(&record.sealed[300..300 + PIECE]);
    assert_ne!(gone.iter().filter(in_the_log).count(), 0);

    store.database().purge().unwrap();
    let after = files(directory.path());
    let found: HashSet<&[u8]> = after.windows(PIECE).collect();
    for record in &gone {
        assert!(!record.sealed.windows(PIECE).any(|piece| found.contains(piece)));
        assert!(!found.contains(&record.id.as_str().as_bytes()[..PIECE]));
    }
    for id in &kept {
        keyring.unseal(id).unwrap();
    }
    let wal = directory.path().join("keys.db-wal");
    assert_eq!(wal.metadata().unwrap().len(), 0);
}

#[test]
fn a_purge_that_another_reader_prevents_is_an_error() {
    let (directory, kek) = place();
    let store = sqlite(directory.path());
    Keyring::new(&store, &kek)
        .create(&volume("vol-1"), Purpose::Volume)
        .unwrap();
    let mut other = Database::open(directory.path().join("keys.db")).unwrap();
    let reading = other.connection_mut().transaction().unwrap();
    let _: u32 = reading
        .query_row("SELECT count(*) FROM passphrases", [], |row| row.get(0))
        .unwrap();
    Keyring::new(&store, &kek)
        .create(&volume("vol-2"), Purpose::Volume)
        .unwrap();
    store
        .database()
        .connection()
        .busy_timeout(std::time::Duration::ZERO)
        .unwrap();
    let refused = store.database().purge().unwrap_err();
    assert!(matches!(&refused, StoreError::NotPurged), "{refused:?}");
    drop(reading);
    store.database().purge().unwrap();
}
