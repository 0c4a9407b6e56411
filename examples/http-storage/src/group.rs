use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::StorageError;
use crate::storage::Storage;
use crate::volume::{Held, Volume};

/// A group whose copies are all there, and whose volumes may not all know of them. No volume has such a name.
pub(crate) const GROUP: &str = ".group";

/// A snapshot of several volumes.
#[derive(Debug, Serialize, Deserialize)]
struct Group {
    snapshot: String,
    volumes: Vec<String>,
}

impl Storage {
    /// Keeps what several volumes hold at one instant: while it is copied, nobody writes to any of them.
    ///
    /// All of them have the snapshot afterwards or none, whatever happens meanwhile.
    pub(crate) fn take_group(&self, snapshot: &str, names: &[String]) -> Result<(), StorageError> {
        let _one_at_a_time = self.groups();
        finish(self.directory(), |name| self.find(name))?;
        let mut sorted = names.to_vec();
        sorted.sort();
        sorted.dedup();
        let volumes = sorted.iter().map(|name| self.get(name));
        let volumes = volumes.collect::<Result<Vec<_>, _>>()?;
        // By name, so that no two that hold volumes wait for each other.
        let mut held: Vec<Held<'_>> = volumes.iter().map(|volume| volume.hold()).collect();
        let have = held.iter().filter(|volume| volume.has(snapshot)).count();
        if have == held.len() {
            return Ok(());
        }
        if have > 0 {
            let message = format!(
                "{have} of {} volumes have a snapshot {snapshot} already",
                held.len()
            );
            return Err(StorageError::Conflict(message));
        }
        for volume in &held {
            volume.copy_for(snapshot)?;
        }
        let group = Group {
            snapshot: snapshot.to_owned(),
            volumes: sorted,
        };
        // From here on all of them have it.
        group.save(self.directory())?;
        for volume in &mut held {
            volume.record(snapshot)?;
        }
        remove(self.directory())
    }
}

impl Group {
    fn save(&self, directory: &Path) -> Result<(), StorageError> {
        let (path, new) = (directory.join(GROUP), directory.join(format!("{GROUP}.new")));
        let text = serde_json::to_vec(self).unwrap_or_default();
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(StorageError::io("write down a group"))
    }
}

/// Finishes the group that was stopped in the middle, if there is one.
pub(crate) fn finish<V: AsRef<Volume>>(
    directory: &Path,
    find: impl Fn(&str) -> Option<V>,
) -> Result<(), StorageError> {
    let text = match fs::read(directory.join(GROUP)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(StorageError::io("read a group"))?,
    };
    let group: Group = serde_json::from_slice(&text).map_err(|e| StorageError::Damaged {
        volume: GROUP.to_owned(),
        what: format!("it does not read: {e}"),
    })?;
    // One that was removed since has no need of it.
    for volume in group.volumes.iter().filter_map(|name| find(name)) {
        volume.as_ref().hold().record(&group.snapshot)?;
    }
    remove(directory)
}

fn remove(directory: &Path) -> Result<(), StorageError> {
    fs::remove_file(directory.join(GROUP)).map_err(StorageError::io("end a group"))
}
