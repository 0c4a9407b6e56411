//! Seals a passphrase with the `passphrase-store` crate alone, refers to it, unseals it and destroys it.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use strongroom_passphrase_store::sqlite::{Database, SqliteStore};
use strongroom_passphrase_store::{
    FileKek, KeyEncryptionKey, Keyring, Owner, OwnerKind, PassphraseStore, Purpose,
};
use strongroom_types::VolumeId;

/// The error and everything behind it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let (key_file, database) = (directory.path().join("kek"), directory.path().join("keys.db"));
    let kek = FileKek::create(&key_file)?;
    println!("made the key {} in a file of mode 0600", kek.id());

    let store = SqliteStore::new(Database::open(&database)?);
    let keyring = Keyring::new(&store, &kek);
    let volume: VolumeId = "vol-1".parse()?;
    let id = keyring.create(&volume, Purpose::Volume)?;
    let sealed = store.get(&id)?.ok_or("the record is not there")?.sealed;
    println!("sealed a passphrase for {volume}: {} bytes", sealed.len());

    // The next start of the program has the files and nothing else.
    let kek = FileKek::open(&key_file)?;
    let keyring = Keyring::new(&store, &kek);
    let passphrase = keyring.unseal(&id)?;
    println!("unsealed it: {passphrase:?}");
    let log = std::fs::read(directory.path().join("keys.db-wal"))?;
    let in_clear = contains(&log, passphrase.expose_secret());
    println!("it lies in the database in clear: {in_clear}");
    drop(passphrase);

    let other = FileKek::create(directory.path().join("other"))?;
    let Err(wrong_key) = Keyring::new(&store, &other).unseal(&id) else {
        return Err("another key opened it".into());
    };
    println!("another key: {}", chain(&wrong_key));

    // A snapshot outlives its volume, and needs the same passphrase.
    let snapshot = Owner::new(OwnerKind::Snapshot, "snap-1");
    store.add_reference(&id, &snapshot)?;
    store.remove_reference(&id, &Owner::volume(&volume))?;
    let Err(still_needed) = keyring.destroy(&id) else {
        return Err("it was destroyed while a snapshot needed it".into());
    };
    println!("destroying it: {}", chain(&still_needed));

    store.remove_reference(&id, &snapshot)?;
    keyring.destroy(&id)?;
    store.database().purge()?;
    let opens = keyring.unseal(&id).is_ok();
    let log = std::fs::read(directory.path().join("keys.db-wal"))?;
    // The database itself is read when it is closed: closing a file that SQLite has open drops SQLite's locks on it.
    drop(store);
    let remains = contains(&log, &sealed) || contains(&std::fs::read(&database)?, &sealed);
    println!("after the snapshot had gone it was destroyed; the record is left in a file: {remains}");
    if in_clear || remains || opens {
        return Err("a check did not hold".into());
    }
    Ok(())
}
