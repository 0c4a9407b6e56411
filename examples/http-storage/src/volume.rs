mod held;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aes_gcm::Aes256Gcm;

use crate::StorageError;
use crate::blocks::Blocks;
use crate::key::{Secret, WrappedKey};
use crate::limits::{Limits, Pace};
use crate::record::Record;
use crate::sparse;

pub(crate) use self::held::Held;

const BLOCKS: &str = "blocks";

/// How long a host's last close may be under way before the volume counts as open.
const CLOSING: Duration = Duration::from_secs(2);

/// A volume in a directory of its own.
pub(crate) struct Volume {
    pub(crate) name: String,
    directory: PathBuf,
    state: Mutex<State>,
    closed: Condvar,
}

struct State {
    record: Record,
    blocks: Blocks,
    /// In memory from the moment somebody shows the passphrase until the service ends.
    cipher: Option<Aes256Gcm>,
    exports: BTreeSet<String>,
    open: usize,
    gone: bool,
    pace: Pace,
}

/// What there is to tell of a volume.
pub(crate) struct View {
    pub(crate) record: Record,
    pub(crate) allocated: u64,
}

impl Volume {
    /// Makes a volume in a directory that is there and empty. When this returns it was opened with its passphrase, as it lies on disk.
    pub(crate) fn make(
        directory: &Path,
        name: &str,
        bytes: u64,
        labels: BTreeMap<String, String>,
        secret: Option<&Secret>,
    ) -> Result<(), StorageError> {
        let key = secret.map(|s| WrappedKey::generate(name, s)).transpose()?;
        let record = Record {
            bytes,
            key,
            labels,
            snapshots: BTreeMap::new(),
            restoring: None,
            limits: Limits::default(),
        };
        let file = open(&directory.join(BLOCKS), true)?;
        let sealed = record.key.is_some();
        let blocks = Blocks::new(file, bytes, sealed).map_err(StorageError::io("make the file of blocks"))?;
        blocks
            .sync()
            .map_err(StorageError::io("write the file of blocks"))?;
        record.save(directory)?;
        let stored = Record::load(directory)?;
        match (&stored.key, secret) {
            (Some(key), Some(secret)) => key.open(name, secret).map(drop),
            _ => Ok(()),
        }
    }

    /// The volume in this directory. What was stopped in the middle of a restore is restored now.
    pub(crate) fn load(directory: &Path, name: &str) -> Result<Self, StorageError> {
        let mut record = Record::load(directory)?;
        if let Some(snapshot) = record.restoring.take() {
            copy(&snapshot_path(directory, &snapshot), &directory.join(BLOCKS))?;
            record.save(directory)?;
        }
        let file = open(&directory.join(BLOCKS), false)?;
        let blocks = Blocks::new(file, record.bytes, record.key.is_some())
            .map_err(StorageError::io("open the file of blocks"))?;
        Ok(Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
            state: Mutex::new(State {
                record,
                blocks,
                cipher: None,
                exports: BTreeSet::new(),
                open: 0,
                gone: false,
                pace: Pace::default(),
            }),
            closed: Condvar::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state once no host has the volume open.
    fn at_rest(&self) -> Result<MutexGuard<'_, State>, StorageError> {
        let (state, _) = self
            .closed
            .wait_timeout_while(self.state(), CLOSING, |s| s.open > 0)
            .unwrap_or_else(PoisonError::into_inner);
        if state.open > 0 {
            return Err(StorageError::Busy(self.name.clone()));
        }
        Ok(state)
    }

    pub(crate) fn view(&self) -> Result<View, StorageError> {
        let state = self.state();
        let allocated = state.blocks.allocated();
        Ok(View {
            record: state.record.clone(),
            allocated: allocated.map_err(StorageError::io("look at the file of blocks"))?,
        })
    }

    /// Proves the passphrase and keeps the key in memory.
    pub(crate) fn unlock(&self, secret: &Secret) -> Result<(), StorageError> {
        let mut state = self.state();
        let Some(key) = &state.record.key else {
            return Err(StorageError::Conflict(format!(
                "volume {} is not encrypted",
                self.name
            )));
        };
        state.cipher = Some(key.open(&self.name, secret)?);
        Ok(())
    }

    pub(crate) fn label(&self, labels: BTreeMap<String, String>) -> Result<(), StorageError> {
        let mut state = self.state();
        let record = Record {
            labels,
            ..state.record.clone()
        };
        record.save(&self.directory)?;
        state.record = record;
        Ok(())
    }

    /// From now on the volume is this fast at most.
    pub(crate) fn limit(&self, limits: Limits) -> Result<(), StorageError> {
        if !limits.is_possible() {
            let message = "a limit of zero lets nothing through; leave it out for none";
            return Err(StorageError::Invalid(message.to_owned()));
        }
        let mut state = self.state();
        let record = Record {
            limits,
            ..state.record.clone()
        };
        record.save(&self.directory)?;
        state.record = record;
        Ok(())
    }

    /// How long an operation of this length has to wait for its turn.
    pub(crate) fn turn(&self, length: usize) -> Duration {
        let mut state = self.state();
        let limits = state.record.limits;
        state.pace.turn(Instant::now(), limits, length)
    }

    /// Makes the volume larger. The size that it has is fine.
    pub(crate) fn grow(&self, bytes: u64) -> Result<(), StorageError> {
        let mut state = self.state();
        let (now, sealed) = (state.record.bytes, state.record.key.is_some());
        if bytes < now {
            return Err(StorageError::Invalid(format!(
                "volume {} has {now} bytes and is only made larger",
                self.name
            )));
        }
        let record = Record {
            bytes,
            ..state.record.clone()
        };
        let file = open(&self.directory.join(BLOCKS), false)?;
        state.blocks =
            Blocks::new(file, bytes, sealed).map_err(StorageError::io("make the file of blocks larger"))?;
        record.save(&self.directory)?;
        state.record = record;
        Ok(())
    }

    pub(crate) fn export(&self, host: &str) -> Result<(), StorageError> {
        let mut state = self.state();
        if state.record.key.is_some() && state.cipher.is_none() {
            return Err(StorageError::Locked(self.name.clone()));
        }
        state.exports.insert(host.to_owned());
        Ok(())
    }

    pub(crate) fn end_export(&self, host: &str) -> Result<(), StorageError> {
        if !self.state().exports.contains(host) {
            return Ok(());
        }
        self.at_rest()?.exports.remove(host);
        Ok(())
    }

    /// Keeps what the volume holds now under a name. One that is there stays as it is.
    pub(crate) fn take_snapshot(&self, snapshot: &str) -> Result<(), StorageError> {
        let mut state = self.at_rest()?;
        if state.record.snapshots.contains_key(snapshot) {
            return Ok(());
        }
        copy(
            &self.directory.join(BLOCKS),
            &snapshot_path(&self.directory, snapshot),
        )?;
        let mut record = state.record.clone();
        record.snapshots.insert(snapshot.to_owned(), record.bytes);
        record.save(&self.directory)?;
        state.record = record;
        Ok(())
    }

    pub(crate) fn remove_snapshot(&self, snapshot: &str) -> Result<(), StorageError> {
        let mut state = self.state();
        let mut record = state.record.clone();
        if record.snapshots.remove(snapshot).is_some() {
            record.save(&self.directory)?;
            state.record = record;
        }
        let path = snapshot_path(&self.directory, snapshot);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(StorageError::io(format!("remove {}", path.display()))(e))
            }
            _ => Ok(()),
        }
    }

    /// Brings back content and size of the time of a snapshot.
    pub(crate) fn restore(&self, snapshot: &str) -> Result<(), StorageError> {
        let mut state = self.at_rest()?;
        let Some(&bytes) = state.record.snapshots.get(snapshot) else {
            return Err(StorageError::NotFound(format!(
                "snapshot {snapshot} of volume {}",
                self.name
            )));
        };
        let mut record = Record {
            bytes,
            restoring: Some(snapshot.to_owned()),
            ..state.record.clone()
        };
        record.save(&self.directory)?;
        copy(
            &snapshot_path(&self.directory, snapshot),
            &self.directory.join(BLOCKS),
        )?;
        let file = open(&self.directory.join(BLOCKS), false)?;
        state.blocks = Blocks::new(file, bytes, record.key.is_some())
            .map_err(StorageError::io("open the file of blocks"))?;
        record.restoring = None;
        record.save(&self.directory)?;
        state.record = record;
        Ok(())
    }

    /// Lets nobody open the volume any more.
    pub(crate) fn retire(&self) -> Result<(), StorageError> {
        let mut state = self.at_rest()?;
        state.exports.clear();
        state.cipher = None;
        state.gone = true;
        Ok(())
    }

    /// The size, while a host may see the volume.
    pub(crate) fn exported_size(&self) -> Option<u64> {
        let state = self.state();
        (!state.exports.is_empty()).then_some(state.record.bytes)
    }

    pub(crate) fn open(&self) -> io::Result<()> {
        let mut state = self.state();
        if state.gone || state.exports.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.open += 1;
        Ok(())
    }

    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.open = state.open.saturating_sub(1);
        self.closed.notify_all();
    }

    pub(crate) fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let state = self.state();
        state.blocks.read(state.cipher.as_ref(), offset, length)
    }

    pub(crate) fn write(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        let state = self.state();
        state.blocks.write(state.cipher.as_ref(), offset, data)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.state().blocks.sync()
    }
}

fn snapshot_path(directory: &Path, snapshot: &str) -> PathBuf {
    directory.join(format!("snapshot-{snapshot}"))
}

fn open(path: &Path, new: bool) -> Result<File, StorageError> {
    File::options()
        .read(true)
        .write(true)
        .create_new(new)
        .open(path)
        .map_err(StorageError::io(format!("open {}", path.display())))
}

fn copy(from: &Path, to: &Path) -> Result<(), StorageError> {
    sparse::copy(from, to).map_err(StorageError::io(format!(
        "copy {} to {}",
        from.display(),
        to.display()
    )))
}
