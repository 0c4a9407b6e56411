use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::StorageError;
use crate::key::WrappedKey;
use crate::limits::Limits;

const NAME: &str = "record.json";

/// What the service knows of a volume, as it lies beside the volume's blocks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) bytes: u64,
    /// `None` for a volume that is not encrypted here.
    pub(crate) key: Option<WrappedKey>,
    /// Whatever the client wants to remember.
    pub(crate) labels: BTreeMap<String, String>,
    /// The snapshots, and the size that the volume had.
    pub(crate) snapshots: BTreeMap<String, u64>,
    /// The snapshot whose restore was begun. While this says one, the blocks are not to be trusted.
    pub(crate) restoring: Option<String>,
    #[serde(default)]
    pub(crate) limits: Limits,
}

impl Record {
    pub(crate) fn load(directory: &Path) -> Result<Self, StorageError> {
        let path = directory.join(NAME);
        let text = fs::read(&path).map_err(StorageError::io(format!("read {}", path.display())))?;
        serde_json::from_slice(&text).map_err(|e| StorageError::Damaged {
            volume: directory.file_name().unwrap_or_default().to_string_lossy().into(),
            what: format!("its record does not read: {e}"),
        })
    }

    /// The old record or the new one is there, whatever happens meanwhile.
    pub(crate) fn save(&self, directory: &Path) -> Result<(), StorageError> {
        let (path, new) = (directory.join(NAME), directory.join("record.new"));
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(StorageError::io(format!("write {}", path.display())))
    }
}
