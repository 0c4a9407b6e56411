use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::StorageError;
use crate::group::{self, GROUP};
use crate::key::Secret;
use crate::volume::Volume;

/// What is being made or removed has a name that no volume has.
const UNFINISHED: &str = ".unfinished-";
/// Whose the service is. No volume has such a name.
const OWNER: &str = ".owner";

/// All volumes of the service.
pub(crate) struct Storage {
    directory: PathBuf,
    volumes: Mutex<BTreeMap<String, Arc<Volume>>>,
    groups: Mutex<()>,
}

impl Storage {
    /// The volumes in a directory. What an earlier service left unfinished there is removed.
    pub(crate) fn open(directory: &Path) -> Result<Self, StorageError> {
        let failed = || StorageError::io(format!("read {}", directory.display()));
        fs::create_dir_all(directory).map_err(failed())?;
        let mut volumes = BTreeMap::new();
        for entry in fs::read_dir(directory).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(UNFINISHED) {
                fs::remove_dir_all(entry.path()).map_err(failed())?;
            } else if !name.starts_with(OWNER) && !name.starts_with(GROUP) {
                volumes.insert(name.clone(), Arc::new(Volume::load(&entry.path(), &name)?));
            }
        }
        group::finish(directory, |name| volumes.get(name).map(Arc::clone))?;
        Ok(Self {
            directory: directory.to_owned(),
            volumes: Mutex::new(volumes),
            groups: Mutex::default(),
        })
    }

    fn volumes(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Volume>>> {
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held by whoever takes a snapshot of a group.
    pub(crate) fn groups(&self) -> MutexGuard<'_, ()> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Volume>> {
        self.volumes().get(name).cloned()
    }

    pub(crate) fn get(&self, name: &str) -> Result<Arc<Volume>, StorageError> {
        self.find(name)
            .ok_or_else(|| StorageError::NotFound(format!("volume {name}")))
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.volumes().keys().cloned().collect()
    }

    /// Writes down whose the service is, for good. The same owner again is fine.
    pub(crate) fn claim(&self, owner: &str) -> Result<(), StorageError> {
        check_name(owner)?;
        let _one_at_a_time = self.volumes();
        let path = self.directory.join(OWNER);
        let failed = || StorageError::io(format!("write {}", path.display()));
        match fs::read_to_string(&path) {
            Ok(there) if there == owner => Ok(()),
            Ok(there) => Err(StorageError::Conflict(format!(
                "this service is that of {there} already"
            ))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let new = self.directory.join(format!("{OWNER}.new"));
                fs::write(&new, owner).map_err(failed())?;
                File::open(&new).and_then(|f| f.sync_all()).map_err(failed())?;
                self.rename(&new, &path)
            }
            Err(e) => Err(failed()(e)),
        }
    }

    /// Makes a volume, or finds the one that was asked for; whether it is new.
    pub(crate) fn create(
        &self,
        name: &str,
        bytes: u64,
        labels: BTreeMap<String, String>,
        secret: Option<&Secret>,
    ) -> Result<(Arc<Volume>, bool), StorageError> {
        check_name(name)?;
        if bytes == 0 || !bytes.is_multiple_of(512) || i64::try_from(bytes).is_err() {
            return Err(StorageError::Invalid(format!(
                "{bytes} bytes is not the size of a volume"
            )));
        }
        let mut volumes = self.volumes();
        if let Some(there) = volumes.get(name) {
            same(there, bytes, secret)?;
            return Ok((Arc::clone(there), false));
        }
        let (unfinished, finished) = (self.unfinished(name), self.directory.join(name));
        let making = || {
            fs::create_dir(&unfinished).map_err(StorageError::io("make a directory"))?;
            Volume::make(&unfinished, name, bytes, labels, secret)?;
            self.rename(&unfinished, &finished)?;
            Volume::load(&finished, name)
        };
        let volume = making().inspect_err(|_| {
            // The failure is what matters; what cannot be removed now is removed at the next start.
            let _ = fs::remove_dir_all(&unfinished);
        })?;
        if let Some(secret) = secret {
            volume.unlock(secret)?;
        }
        let volume = Arc::new(volume);
        volumes.insert(name.to_owned(), Arc::clone(&volume));
        Ok((volume, true))
    }

    /// Removes a volume with its snapshots. One that is not there is fine.
    pub(crate) fn delete(&self, name: &str) -> Result<(), StorageError> {
        let mut volumes = self.volumes();
        let Some(volume) = volumes.get(name) else {
            return Ok(());
        };
        volume.retire()?;
        let unfinished = self.unfinished(name);
        self.rename(&self.directory.join(name), &unfinished)?;
        volumes.remove(name);
        fs::remove_dir_all(&unfinished).map_err(StorageError::io(format!("remove {}", unfinished.display())))
    }

    /// All bytes of the file system, and those that may still be written.
    pub(crate) fn usage(&self) -> Result<(u64, u64), StorageError> {
        let found = rustix::fs::statvfs(&self.directory)
            .map_err(|e| StorageError::io(format!("look at {}", self.directory.display()))(e.into()))?;
        Ok((
            found.f_blocks.saturating_mul(found.f_frsize),
            found.f_bavail.saturating_mul(found.f_frsize),
        ))
    }

    fn unfinished(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{UNFINISHED}{name}"))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), StorageError> {
        let renaming = || {
            fs::rename(from, to)?;
            File::open(&self.directory)?.sync_all()
        };
        renaming().map_err(StorageError::io(format!("rename {}", from.display())))
    }
}

/// Whether the volume that is there is the one that is asked for. Its key is shown again.
fn same(there: &Volume, bytes: u64, secret: Option<&Secret>) -> Result<(), StorageError> {
    let record = there.view()?.record;
    let side = |encrypted| if encrypted { "encrypted" } else { "plain" };
    if record.bytes != bytes || record.key.is_some() != secret.is_some() {
        return Err(StorageError::Conflict(format!(
            "volume {} is there already, {} of {} bytes",
            there.name,
            side(record.key.is_some()),
            record.bytes
        )));
    }
    secret.map_or(Ok(()), |secret| there.unlock(secret))
}

/// Names become names of files: 1 to 80 of `a-z`, `0-9`, `-` and `_`, a letter or digit first.
pub(crate) fn check_name(name: &str) -> Result<(), StorageError> {
    let fine =
        |(at, c): (usize, char)| c.is_ascii_lowercase() || c.is_ascii_digit() || (at > 0 && "-_".contains(c));
    if name.is_empty() || name.len() > 80 || !name.chars().enumerate().all(fine) {
        return Err(StorageError::Invalid(
            "that is not a name: 1 to 80 of a-z, 0-9, - and _".to_owned(),
        ));
    }
    Ok(())
}
