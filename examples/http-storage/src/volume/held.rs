use std::sync::MutexGuard;

use super::{BLOCKS, State, Volume, copy, snapshot_path};
use crate::StorageError;

impl Volume {
    /// Holds everybody who reads or writes, until what is returned is dropped.
    pub(crate) fn hold(&self) -> Held<'_> {
        Held {
            volume: self,
            state: self.state(),
        }
    }
}

/// A volume that nobody reads or writes meanwhile.
pub(crate) struct Held<'v> {
    volume: &'v Volume,
    state: MutexGuard<'v, State>,
}

impl Held<'_> {
    pub(crate) fn has(&self, snapshot: &str) -> bool {
        self.state.record.snapshots.contains_key(snapshot)
    }

    /// Copies what the volume holds. It is no snapshot until it is recorded.
    pub(crate) fn copy_for(&self, snapshot: &str) -> Result<(), StorageError> {
        let directory = &self.volume.directory;
        copy(&directory.join(BLOCKS), &snapshot_path(directory, snapshot))
    }

    /// Makes what was copied a snapshot. One that is there stays as it is, and a volume that was made since has none.
    pub(crate) fn record(&mut self, snapshot: &str) -> Result<(), StorageError> {
        if !snapshot_path(&self.volume.directory, snapshot).exists() {
            return Ok(());
        }
        let mut record = self.state.record.clone();
        let bytes = record.bytes;
        record.snapshots.entry(snapshot.to_owned()).or_insert(bytes);
        record.save(&self.volume.directory)?;
        self.state.record = record;
        Ok(())
    }
}
