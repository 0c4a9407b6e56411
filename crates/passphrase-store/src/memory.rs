use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use strongroom_types::{PassphraseId, VolumeId};

use crate::{Owner, PassphraseStore, SealedRecord, StoreError};

type Kept = (SealedRecord, BTreeSet<Owner>);

/// A store in memory, for tests. It behaves as the one in SQLite does; one suite runs against both.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<BTreeMap<PassphraseId, Kept>>);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<PassphraseId, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, record: &SealedRecord, owners: BTreeSet<Owner>) -> Result<(), StoreError> {
        match self.entries().entry(record.id.clone()) {
            Entry::Occupied(_) => Err(StoreError::Exists {
                id: record.id.clone(),
            }),
            Entry::Vacant(vacant) => {
                vacant.insert((record.clone(), owners));
                Ok(())
            }
        }
    }
}

impl PassphraseStore for MemoryStore {
    fn insert(&self, record: &SealedRecord) -> Result<(), StoreError> {
        self.add(record, BTreeSet::new())
    }

    fn insert_for(&self, record: &SealedRecord, owner: &Owner) -> Result<(), StoreError> {
        self.add(record, BTreeSet::from([owner.clone()]))
    }

    fn get(&self, id: &PassphraseId) -> Result<Option<SealedRecord>, StoreError> {
        Ok(self.entries().get(id).map(|(record, _)| record.clone()))
    }

    fn remove(&self, id: &PassphraseId) -> Result<(), StoreError> {
        let mut entries = self.entries();
        match entries.get(id) {
            Some((_, owners)) if !owners.is_empty() => Err(StoreError::Referenced {
                id: id.clone(),
                references: owners.iter().cloned().collect(),
            }),
            _ => {
                entries.remove(id);
                Ok(())
            }
        }
    }

    fn add_reference(&self, id: &PassphraseId, owner: &Owner) -> Result<(), StoreError> {
        match self.entries().get_mut(id) {
            Some((_, owners)) => {
                owners.insert(owner.clone());
                Ok(())
            }
            None => Err(StoreError::NotFound { id: id.clone() }),
        }
    }

    fn remove_reference(&self, id: &PassphraseId, owner: &Owner) -> Result<(), StoreError> {
        if let Some((_, owners)) = self.entries().get_mut(id) {
            owners.remove(owner);
        }
        Ok(())
    }

    fn references(&self, id: &PassphraseId) -> Result<Vec<Owner>, StoreError> {
        Ok(self
            .entries()
            .get(id)
            .map(|(_, owners)| owners.iter().cloned().collect())
            .unwrap_or_default())
    }

    fn ids(&self) -> Result<Vec<PassphraseId>, StoreError> {
        Ok(self.entries().keys().cloned().collect())
    }

    fn ids_for(&self, volume: &VolumeId) -> Result<Vec<PassphraseId>, StoreError> {
        Ok(self
            .entries()
            .values()
            .filter(|(record, _)| record.volume == *volume)
            .map(|(record, _)| record.id.clone())
            .collect())
    }
}
