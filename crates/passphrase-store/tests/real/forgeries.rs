//! Stores and keys that do not keep to what is required of them.

use strongroom_passphrase_store::{
    KekError, KekId, KeyEncryptionKey, Keyring, KeyringError, MemoryStore, Owner, PassphraseStore, Purpose,
    SealedRecord, StoreError,
};
use strongroom_types::{PassphraseId, VolumeId};
use zeroize::Zeroizing;

use crate::{place, volume};

/// A store that answers every question with the same record.
#[derive(Debug)]
struct Liar(MemoryStore, PassphraseId);

impl PassphraseStore for Liar {
    fn insert(&self, record: &SealedRecord) -> Result<(), StoreError> {
        self.0.insert(record)
    }
    fn insert_for(&self, record: &SealedRecord, owner: &Owner) -> Result<(), StoreError> {
        self.0.insert_for(record, owner)
    }
    fn get(&self, _: &PassphraseId) -> Result<Option<SealedRecord>, StoreError> {
        self.0.get(&self.1)
    }
    fn remove(&self, id: &PassphraseId) -> Result<(), StoreError> {
        self.0.remove(id)
    }
    fn add_reference(&self, id: &PassphraseId, owner: &Owner) -> Result<(), StoreError> {
        self.0.add_reference(id, owner)
    }
    fn remove_reference(&self, id: &PassphraseId, owner: &Owner) -> Result<(), StoreError> {
        self.0.remove_reference(id, owner)
    }
    fn references(&self, id: &PassphraseId) -> Result<Vec<Owner>, StoreError> {
        self.0.references(id)
    }
    fn ids(&self) -> Result<Vec<PassphraseId>, StoreError> {
        self.0.ids()
    }
    fn ids_for(&self, volume: &VolumeId) -> Result<Vec<PassphraseId>, StoreError> {
        self.0.ids_for(volume)
    }
}

#[test]
fn a_store_that_answers_with_another_record_is_found_out() {
    let (_directory, kek) = place();
    let inner = MemoryStore::new();
    let id = Keyring::new(&inner, &kek)
        .create(&volume("vol-1"), Purpose::Volume)
        .unwrap();
    let liar = Liar(inner, id.clone());
    Keyring::new(&liar, &kek).unseal(&id).unwrap();
    let refused = Keyring::new(&liar, &kek)
        .unseal(&"asked-for".parse().unwrap())
        .unwrap_err();
    assert!(
        matches!(
            &refused,
            KeyringError::Kek {
                source: KekError::Unseal,
                ..
            }
        ),
        "{refused:?}"
    );
}

/// A key that seals with one version and hides what it likes under the seal.
#[derive(Debug)]
struct Forger(KekId, Vec<u8>);

impl KeyEncryptionKey for Forger {
    fn id(&self) -> &KekId {
        &self.0
    }
    fn version(&self) -> u32 {
        1
    }
    fn seal(&self, _: &[u8], _: &[u8]) -> Result<Vec<u8>, KekError> {
        Ok(Vec::new())
    }
    fn unseal(&self, _: u32, _: &[u8], _: &[u8]) -> Result<Zeroizing<Vec<u8>>, KekError> {
        Ok(Zeroizing::new(self.1.clone()))
    }
}

#[test]
fn what_is_no_passphrase_under_a_good_seal_is_an_error() {
    let block = |origin: u8, length: u16, text: &[u8]| {
        let mut block = vec![origin];
        block.extend(length.to_be_bytes());
        block.extend(text);
        block.resize(515, 0);
        block
    };
    let forgeries = [
        Vec::new(),
        vec![0, 0],
        block(2, 8, b"12345678"),
        block(0, 0, b""),
        block(0, 7, b"1234567"),
        block(0, 513, &[b'a'; 512]),
        block(0, 9, b"12345678"),
        block(0, 9, b"1234567\n8"),
        block(0, 8, b"12345678")[..11].to_vec(),
    ];
    for forgery in forgeries {
        let kek = Forger("forger".parse().unwrap(), forgery.clone());
        let store = MemoryStore::new();
        let keyring = Keyring::new(&store, &kek);
        let id = keyring.create(&volume("vol-1"), Purpose::Volume).unwrap();
        let refused = keyring.unseal(&id).unwrap_err();
        assert!(
            matches!(&refused, KeyringError::Content { .. }),
            "{forgery:?}: {refused:?}"
        );
    }
}
