use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use strongroom_storage_pool::{ErrorKind, PoolError};
use strongroom_types::{Call, DeviceSize, PoolId, VolumeId};

use crate::Label;
use crate::claim::{self, Claim, Fleeting};
use crate::shelf_device::is_one_device;

/// The first line of defence against reading another program's file.
const FORMAT: &str = "strongroom device shelf 2";

/// How long another process may hold a lock before whoever waits is told.
const PATIENCE: Duration = Duration::from_secs(30);

/// Room for more than ten thousand devices.
const LARGEST: u64 = 16 << 20;

/// Which volume has which device, as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: String,
    pool: String,
    assignments: BTreeMap<String, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: PathBuf,
    serial: Option<String>,
    size: u64,
    /// What a host found the device to have, where that is more than the list says.
    grown: Option<u64>,
    label: String,
    check: String,
}

impl Entry {
    fn new(volume: &VolumeId, of: &Assignment) -> Self {
        let mut entry = Self {
            path: of.path.clone(),
            serial: of.serial.clone(),
            size: of.size.get(),
            grown: of.grown.map(DeviceSize::get),
            label: of.label.to_string(),
            check: String::new(),
        };
        entry.check = entry.checksum(volume.as_str());
        entry
    }

    /// Half of the SHA-256 of all that the entry says, and of whose it is: it finds what an editor or a bad medium changed, and stops
    /// nobody who computes it anew.
    fn checksum(&self, volume: &str) -> String {
        let mut hash = Sha256::new();
        let (size, path) = (self.size.to_string(), self.path.as_os_str().as_encoded_bytes());
        let serial = self.serial.as_deref().map(str::as_bytes);
        let grown = self.grown.map(|grown| grown.to_string());
        for field in [
            Some(volume.as_bytes()),
            Some(path),
            serial,
            Some(size.as_bytes()),
            grown.as_deref().map(str::as_bytes),
            Some(self.label.as_bytes()),
        ] {
            // No serial number is another thing than an empty one, and no field runs into the next.
            hash.update(field.map_or(u64::MAX, |field| field.len() as u64).to_be_bytes());
            hash.update(field.unwrap_or_default());
        }
        let digest = hash.finalize();
        digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The device of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) path: PathBuf,
    pub(crate) serial: Option<String>,
    /// What it had when the volume got it, or was last made larger.
    pub(crate) size: DeviceSize,
    /// What a host found it to have since, where that is more than the list says.
    pub(crate) grown: Option<DeviceSize>,
    pub(crate) label: Label,
}

pub(crate) type Assignments = BTreeMap<VolumeId, Assignment>;

/// The file that says which volume has which device. It is replaced as a whole, by one process at a time.
#[derive(Debug)]
pub(crate) struct ShelfFile {
    path: PathBuf,
    pool: PoolId,
}

impl ShelfFile {
    pub(crate) fn new(path: PathBuf, pool: PoolId) -> Self {
        Self { path, pool }
    }

    /// Makes the file if it is not there.
    pub(crate) fn prepare(&self, call: &Call) -> Result<(), PoolError> {
        let used = self.beside(".lock").symlink_metadata().is_ok();
        let _lock = self.lock("prepare", call)?;
        match self.path.symlink_metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound && used => {
                let lock = self.beside(".lock");
                let message = format!(
                    "the file {} is gone, and {} says that there was one: put it back, because a new one would give the devices of \
                     volumes to others; remove the lock if no volume is on these devices",
                    self.path.display(),
                    lock.display()
                );
                Err(PoolError::new(ErrorKind::Io, "prepare", message))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.write("prepare", &Assignments::new()),
            _ => self.read("prepare").map(drop),
        }
    }

    /// What is written. A file that is not there is an error: an empty shelf has one.
    pub(crate) fn read(&self, operation: &'static str) -> Result<Assignments, PoolError> {
        let text = self.text().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                let message = format!(
                    "the file {} is not there; prepare the pool if it is new, otherwise put the file back",
                    self.path.display()
                );
                PoolError::new(ErrorKind::Io, operation, message)
            }
            _ => self.io(operation, e),
        })?;
        let written: Written = serde_json::from_slice(&text)
            .map_err(|e| self.damaged(operation, &format!("is no such file: {e}")))?;
        if written.format != FORMAT {
            return Err(self.damaged(operation, &format!("says that it is {:?}", written.format)));
        }
        if written.pool != self.pool.as_str() {
            let message = format!(
                "the file {} is that of pool {:?}, not {}",
                self.path.display(),
                written.pool,
                self.pool
            );
            return Err(PoolError::new(ErrorKind::AlreadyExists, operation, message));
        }
        self.assignments(operation, written.assignments)
    }

    /// All that is in the file, which is a regular one and no larger than a file of this kind can be.
    fn text(&self) -> io::Result<Vec<u8>> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = claim::regular(File::options().read(true).custom_flags(flags).open(&self.path)?)?;
        let mut text = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut text)?;
        if text.len() as u64 > LARGEST {
            return Err(io::Error::other(format!("it is larger than {LARGEST} bytes")));
        }
        Ok(text)
    }

    fn assignments(
        &self,
        operation: &'static str,
        entries: BTreeMap<String, Entry>,
    ) -> Result<Assignments, PoolError> {
        let mut assignments = Assignments::new();
        for (volume, entry) in entries {
            let wrong = |e: &dyn std::error::Error| self.damaged(operation, &format!("has {volume:?}: {e}"));
            let edited = entry.check != entry.checksum(&volume);
            let id: VolumeId = volume.parse().map_err(|e| wrong(&e))?;
            let assignment = Assignment {
                size: DeviceSize::new(entry.size).map_err(|e| wrong(&e))?,
                grown: entry
                    .grown
                    .map(DeviceSize::new)
                    .transpose()
                    .map_err(|e| wrong(&e))?,
                label: entry.label.parse().map_err(|e| wrong(&e))?,
                path: entry.path,
                serial: entry.serial,
            };
            let mut others = assignments.values();
            if others.any(|other: &Assignment| assignment.is_on(&other.path, other.serial.as_deref())) {
                let path = assignment.path.display();
                return Err(self.damaged(operation, &format!("gives {path} to two volumes")));
            }
            if edited {
                let what = format!("was edited where it has {volume:?}: the checksum is another");
                return Err(self.damaged(operation, &what));
            }
            assignments.insert(id, assignment);
        }
        Ok(assignments)
    }

    /// Changes what is written, while nobody else can. When `change` fails, nothing is.
    pub(crate) fn change<T>(
        &self,
        operation: &'static str,
        call: &Call,
        change: impl FnOnce(&mut Assignments) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        // A shelf that was never prepared gets no lock, by which a later prepare would take it for one whose file is lost.
        self.read(operation)?;
        let _lock = self.lock(operation, call)?;
        let before = self.read(operation)?;
        let mut after = before.clone();
        let answer = change(&mut after)?;
        if after != before {
            self.write(operation, &after)?;
        }
        Ok(answer)
    }

    /// Writes a file beside, syncs it, and gives it the name.
    fn write(&self, operation: &'static str, assignments: &Assignments) -> Result<(), PoolError> {
        let written = Written {
            format: FORMAT.to_owned(),
            pool: self.pool.to_string(),
            assignments: assignments
                .iter()
                .map(|(id, a)| (id.to_string(), Entry::new(id, a)))
                .collect(),
        };
        let io = |e: io::Error| self.io(operation, e);
        let mut text = serde_json::to_vec_pretty(&written).map_err(|e| io(e.into()))?;
        text.push(b'\n');
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let mut beside = tempfile::NamedTempFile::new_in(directory).map_err(io)?;
        beside.write_all(&text).map_err(io)?;
        beside.as_file().sync_all().map_err(io)?;
        beside.persist(&self.path).map_err(|e| io(e.error))?;
        File::open(directory).and_then(|d| d.sync_all()).map_err(io)
    }

    /// Waits until no other thread or process changes the file. The lock goes with the answer.
    fn lock(&self, operation: &'static str, call: &Call) -> Result<File, PoolError> {
        claim::locked(operation, call, &self.beside(".lock"), PATIENCE, |e| {
            self.io(operation, e)
        })
    }

    /// Keeps every other thread and process from working on a volume, until the answer is dropped.
    pub(crate) fn claim(
        &self,
        operation: &'static str,
        call: &Call,
        volume: &VolumeId,
    ) -> Result<Claim, PoolError> {
        let path = self.beside(&format!(".{volume}.lock"));
        let file = claim::locked(operation, call, &path, PATIENCE, |e| self.io(operation, e))?;
        Ok(Claim::new(Fleeting { file, path }))
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ending);
        path.into()
    }

    fn io(&self, operation: &'static str, error: io::Error) -> PoolError {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::PermissionDenied
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            _ => ErrorKind::Io,
        };
        let message = format!("the file {} of the shelf", self.path.display());
        PoolError::new(kind, operation, message).with_source(error)
    }

    fn damaged(&self, operation: &'static str, what: &str) -> PoolError {
        let message = format!(
            "the file {} {what}; nothing was changed, put back the one that was there",
            self.path.display()
        );
        PoolError::new(ErrorKind::Io, operation, message)
    }
}

impl Assignment {
    /// Whether this is the device of the assignment, by its path, its serial number or the kernel's number for it.
    pub(crate) fn is_on(&self, path: &Path, serial: Option<&str>) -> bool {
        self.path == path
            || (serial.is_some() && self.serial.as_deref() == serial)
            || is_one_device(&self.path, path)
    }
}
