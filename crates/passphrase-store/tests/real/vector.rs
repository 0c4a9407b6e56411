//! The format as `docs/sealed-records.md` writes it down, with a record that another implementation sealed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use strongroom_passphrase_store::{FileKek, Keyring, MemoryStore, PassphraseStore, Purpose, SealedRecord};
use strongroom_secret::{Origin, Passphrase};
use zeroize::Zeroizing;

use crate::{place, volume};

const PAGE: &str = include_str!("../../../../docs/sealed-records.md");

/// The blocks of text of the page: the key file, then the sealed bytes.
fn blocks() -> (&'static str, Vec<u8>) {
    let mut blocks = PAGE
        .split("```text\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let (key, sealed) = (blocks.next().unwrap(), blocks.next().unwrap());
    (key, hex::decode(sealed.replace('\n', "")).unwrap())
}

#[test]
fn the_record_of_the_page_opens_with_the_key_of_the_page() {
    let (key, sealed) = blocks();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kek");
    fs::write(&path, key).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let kek = FileKek::open(&path).unwrap();

    let id = "key-1".parse().unwrap();
    let name = "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf".parse().unwrap();
    let store = MemoryStore::new();
    let record = SealedRecord::new(
        id,
        String::new(),
        volume("vol-1"),
        Purpose::Volume,
        name,
        1,
        sealed,
    );
    store.insert(&record).unwrap();
    let passphrase = Keyring::new(&store, &kek).unseal(&record.id).unwrap();
    assert_eq!(passphrase.expose_secret(), b"correct horse battery staple");
    assert_eq!(passphrase.origin(), Origin::Imported);
}

#[test]
fn files_and_records_have_the_sizes_of_the_page_whatever_the_passphrase() {
    let (directory, kek) = place();
    let (key, sealed) = blocks();
    assert_eq!(
        directory.path().join("kek").metadata().unwrap().len(),
        key.len() as u64
    );
    assert_eq!((key.len(), sealed.len()), (145, 607));
    let store = MemoryStore::new();
    let keyring = Keyring::new(&store, &kek);
    for length in [8, 64, 512] {
        let passphrase = Passphrase::import(Zeroizing::new(vec![b'a'; length])).unwrap();
        let id = keyring
            .keep(&passphrase, &volume("vol-1"), Purpose::Backup)
            .unwrap();
        assert_eq!(store.get(&id).unwrap().unwrap().sealed.len(), 607, "{length}");
    }
}
