use strongroom_secret::{Origin, Passphrase};
use strongroom_types::{PassphraseId, VolumeId};
use zeroize::Zeroizing;

use crate::{KeyEncryptionKey, KeyringError, Owner, PassphraseStore, Purpose, SealedRecord, StoreError, aad};

/// What is sealed: origin, length, text, zeros. All passphrases have this size under the seal.
const BLOCK: usize = 3 + Passphrase::MAX;

/// A store and the key that seals what it keeps: makes, seals, unseals and destroys passphrases.
#[derive(Debug, Clone, Copy)]
pub struct Keyring<'a> {
    store: &'a dyn PassphraseStore,
    kek: &'a dyn KeyEncryptionKey,
}

impl<'a> Keyring<'a> {
    /// This store under this key.
    #[must_use]
    pub fn new(store: &'a dyn PassphraseStore, kek: &'a dyn KeyEncryptionKey) -> Self {
        Self { store, kek }
    }

    /// Makes a passphrase for a volume, seals and stores it, and notes that the volume refers to it. The record and the reference
    /// are there both or neither.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn create(&self, volume: &VolumeId, purpose: Purpose) -> Result<PassphraseId, KeyringError> {
        let passphrase = Passphrase::generate().map_err(KeyringError::Generate)?;
        self.keep(&passphrase, volume, purpose)
    }

    /// Seals and stores a passphrase that is there already, and notes that the volume refers to it, as
    /// [`create`](Self::create) does.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn keep(
        &self,
        passphrase: &Passphrase,
        volume: &VolumeId,
        purpose: Purpose,
    ) -> Result<PassphraseId, KeyringError> {
        let id = PassphraseId::random();
        let (kek, version) = (self.kek.id().clone(), self.kek.version());
        let additional = aad::of(&id, "", volume, purpose, &kek, version);
        let sealed = self
            .kek
            .seal(&block(passphrase), &additional)
            .map_err(|source| KeyringError::Kek {
                id: id.clone(),
                source,
            })?;
        let record = SealedRecord::new(
            id.clone(),
            String::new(),
            volume.clone(),
            purpose,
            kek,
            version,
            sealed,
        );
        self.store
            .insert_for(&record, &Owner::volume(volume))
            .map_err(KeyringError::Store)?;
        Ok(id)
    }

    /// The passphrase itself.
    ///
    /// # Errors
    /// [`KeyringError`]: a record that is missing, damaged, exchanged or of another key is an error.
    pub fn unseal(&self, id: &PassphraseId) -> Result<Passphrase, KeyringError> {
        let record = self
            .store
            .get(id)
            .and_then(|found| found.ok_or_else(|| StoreError::NotFound { id: id.clone() }))
            .map_err(KeyringError::Store)?;
        if &record.kek != self.kek.id() {
            let (sealed_by, have) = (record.kek, self.kek.id().clone());
            return Err(KeyringError::WrongKek {
                id: id.clone(),
                sealed_by,
                have,
            });
        }
        let additional = aad::of(
            id,
            &record.tenant,
            &record.volume,
            record.purpose,
            &record.kek,
            record.kek_version,
        );
        let block = self
            .kek
            .unseal(record.kek_version, &record.sealed, &additional)
            .map_err(|source| KeyringError::Kek {
                id: id.clone(),
                source,
            })?;
        unblock(id, &block)
    }

    /// Destroys a passphrase that nothing refers to. One that is not there is fine.
    ///
    /// # Errors
    /// [`StoreError::Referenced`] inside [`KeyringError::Store`] when something still needs it.
    pub fn destroy(&self, id: &PassphraseId) -> Result<(), KeyringError> {
        self.store.remove(id).map_err(KeyringError::Store)
    }
}

fn block(passphrase: &Passphrase) -> Zeroizing<Vec<u8>> {
    let text = passphrase.expose_secret();
    let mut block = Zeroizing::new(Vec::with_capacity(BLOCK));
    block.push(match passphrase.origin() {
        Origin::Generated => 0,
        Origin::Imported => 1,
    });
    // A passphrase has at most 512 bytes.
    block.extend(u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
    block.extend_from_slice(text);
    block.resize(BLOCK, 0);
    block
}

fn unblock(id: &PassphraseId, block: &[u8]) -> Result<Passphrase, KeyringError> {
    let damaged = || KeyringError::Content {
        id: id.clone(),
        source: None,
    };
    if block.len() != BLOCK {
        return Err(damaged());
    }
    let (&[origin, high, low], rest) = block.split_first_chunk::<3>().ok_or_else(damaged)?;
    let origin = match origin {
        0 => Origin::Generated,
        1 => Origin::Imported,
        _ => return Err(damaged()),
    };
    let text = rest
        .get(..usize::from(u16::from_be_bytes([high, low])))
        .ok_or_else(damaged)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    bytes.extend_from_slice(text);
    Passphrase::restore(bytes, origin).map_err(|e| KeyringError::Content {
        id: id.clone(),
        source: Some(e),
    })
}
