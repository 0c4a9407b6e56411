use std::fmt;

use strongroom_types::{PassphraseId, VolumeId};

use crate::{Owner, SealedRecord, StoreError};

/// Keeps sealed passphrases and what refers to them. It never sees a passphrase.
///
/// It is not required to be shared between threads, because a store inside a transaction cannot be;
/// [`MemoryStore`](crate::MemoryStore) and [`SqliteStore`](crate::sqlite::SqliteStore) can.
pub trait PassphraseStore: fmt::Debug {
    /// Keeps a record.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when one of that id is there; it stays as it is.
    fn insert(&self, record: &SealedRecord) -> Result<(), StoreError>;

    /// Keeps a record and notes that it opens `owner`: both or neither.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    fn insert_for(&self, record: &SealedRecord, owner: &Owner) -> Result<(), StoreError>;

    /// The record of this id; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::DamagedRow`] when what is there is no record.
    fn get(&self, id: &PassphraseId) -> Result<Option<SealedRecord>, StoreError>;

    /// Removes a record that nothing refers to. One that is not there is fine.
    ///
    /// # Errors
    /// [`StoreError::Referenced`] with everything that refers to it; then it stays.
    fn remove(&self, id: &PassphraseId) -> Result<(), StoreError>;

    /// Notes that the passphrase opens `owner`. Noting it again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such passphrase.
    fn add_reference(&self, id: &PassphraseId, owner: &Owner) -> Result<(), StoreError>;

    /// Forgets that the passphrase opens `owner`. What is not noted is fine.
    ///
    /// # Errors
    /// [`StoreError`] when the store failed.
    fn remove_reference(&self, id: &PassphraseId, owner: &Owner) -> Result<(), StoreError>;

    /// What refers to the passphrase, ordered by kind and then by id.
    ///
    /// # Errors
    /// [`StoreError`] when the store failed.
    fn references(&self, id: &PassphraseId) -> Result<Vec<Owner>, StoreError>;

    /// The ids of all records, in order.
    ///
    /// # Errors
    /// [`StoreError::DamagedRow`], which names the row, when one of them is no id: there is no list that lacks a record.
    fn ids(&self) -> Result<Vec<PassphraseId>, StoreError>;

    /// The ids of the records that were made for this volume, in order. What else they open is in their references.
    ///
    /// # Errors
    /// As [`ids`](Self::ids).
    fn ids_for(&self, volume: &VolumeId) -> Result<Vec<PassphraseId>, StoreError>;
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[deny(clippy::missing_trait_methods)]
        impl<S: PassphraseStore + ?Sized> PassphraseStore for $pointer {
            fn insert(&self, record: &SealedRecord) -> Result<(), StoreError> {
                (**self).insert(record)
            }
            fn insert_for(&self, record: &SealedRecord, owner: &Owner) -> Result<(), StoreError> {
                (**self).insert_for(record, owner)
            }
            fn get(&self, id: &PassphraseId) -> Result<Option<SealedRecord>, StoreError> {
                (**self).get(id)
            }
            fn remove(&self, id: &PassphraseId) -> Result<(), StoreError> {
                (**self).remove(id)
            }
            fn add_reference(&self, id: &PassphraseId, owner: &Owner) -> Result<(), StoreError> {
                (**self).add_reference(id, owner)
            }
            fn remove_reference(&self, id: &PassphraseId, owner: &Owner) -> Result<(), StoreError> {
                (**self).remove_reference(id, owner)
            }
            fn references(&self, id: &PassphraseId) -> Result<Vec<Owner>, StoreError> {
                (**self).references(id)
            }
            fn ids(&self) -> Result<Vec<PassphraseId>, StoreError> {
                (**self).ids()
            }
            fn ids_for(&self, volume: &VolumeId) -> Result<Vec<PassphraseId>, StoreError> {
                (**self).ids_for(volume)
            }
        }
    )+};
}
forward!(&S, Box<S>, std::sync::Arc<S>);
