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
    tenant: &'a str,
}

impl<'a> Keyring<'a> {
    /// This store under this key.
    #[must_use]
    pub fn new(store: &'a dyn PassphraseStore, kek: &'a dyn KeyEncryptionKey) -> Self {
        let tenant = "";
        Self { store, kek, tenant }
    }

    /// The same for one of several parties that share the store and the key. What it makes is this tenant's, and it does not unseal or
    /// destroy what is another's. A keyring that was made without is a tenant of its own, with the empty name.
    #[must_use]
    pub fn for_tenant(self, tenant: &'a str) -> Self {
        Self { tenant, ..self }
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
        let record = self.seal(passphrase, volume, purpose)?;
        self.store
            .insert_for(&record, &Owner::volume(volume))
            .map_err(KeyringError::Store)?;
        Ok(record.id)
    }

    /// Makes a passphrase for a volume and seals it, without the store: for who puts the record there later, such as into a
    /// transaction that is not to be open while the key-encryption key works, with [`PassphraseStore::insert_for`]. It opens nothing
    /// before it is there.
    ///
    /// # Errors
    /// [`KeyringError::Generate`], [`KeyringError::Kek`].
    pub fn seal_new(&self, volume: &VolumeId, purpose: Purpose) -> Result<SealedRecord, KeyringError> {
        let passphrase = Passphrase::generate().map_err(KeyringError::Generate)?;
        self.seal(&passphrase, volume, purpose)
    }

    fn seal(
        &self,
        passphrase: &Passphrase,
        volume: &VolumeId,
        purpose: Purpose,
    ) -> Result<SealedRecord, KeyringError> {
        let id = PassphraseId::random();
        let (kek, version) = (self.kek.id().clone(), self.kek.version());
        let additional = aad::of(&id, self.tenant, volume, purpose, &kek, version);
        let sealed = self
            .kek
            .seal(&block(passphrase), &additional)
            .map_err(|source| KeyringError::Kek {
                id: id.clone(),
                source,
            })?;
        Ok(SealedRecord::new(
            id,
            self.tenant.to_owned(),
            volume.clone(),
            purpose,
            kek,
            version,
            sealed,
        ))
    }

    /// The passphrase itself.
    ///
    /// # Errors
    /// [`KeyringError`]: a record that is missing, damaged, exchanged, of another key or of another tenant is an error.
    pub fn unseal(&self, id: &PassphraseId) -> Result<Passphrase, KeyringError> {
        let record = self
            .store
            .get(id)
            .and_then(|found| found.ok_or_else(|| StoreError::NotFound { id: id.clone() }))
            .map_err(KeyringError::Store)?;
        self.own(&record)?;
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
            self.tenant,
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
    /// [`StoreError::Referenced`] inside [`KeyringError::Store`] when something still needs it; [`KeyringError::WrongTenant`]. A damaged
    /// record is an error too, because it does not say whose it is; [`PassphraseStore::remove`] removes it.
    pub fn destroy(&self, id: &PassphraseId) -> Result<(), KeyringError> {
        if let Some(record) = self.store.get(id).map_err(KeyringError::Store)? {
            self.own(&record)?;
        }
        self.store.remove(id).map_err(KeyringError::Store)
    }

    fn own(&self, record: &SealedRecord) -> Result<(), KeyringError> {
        if record.tenant == self.tenant {
            Ok(())
        } else {
            Err(KeyringError::WrongTenant {
                id: record.id.clone(),
            })
        }
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
