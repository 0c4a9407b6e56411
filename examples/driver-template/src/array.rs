//! FILL IN 1: your storage. This file stands for the client of its API: replace all of it.
//!
//! What is here is a toy that keeps each disk as a file. What a driver needs of a storage is what its methods offer: disks by name,
//! of an exact size and blank when they are new; a note beside each; a place where a host finds them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why the storage did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ArrayError {
    /// There is a disk of this name, of another size.
    #[error("there is a disk {name} of {bytes} bytes")]
    Exists {
        /// Its name.
        name: String,
        /// Its size.
        bytes: u64,
    },
    /// There is a disk of this name that somebody else made.
    #[error("there is a disk {0} that was not made here")]
    Foreign(String),
    /// The storage is somebody else's.
    #[error("the storage is that of {0} already")]
    Taken(String),
    /// There is no such disk.
    #[error("there is no disk {0}")]
    NotFound(String),
    /// So much is not left.
    #[error("there are only {0} bytes left")]
    Full(u64),
    /// Disks are only made larger.
    #[error("the disk has {0} bytes and is only made larger")]
    Smaller(u64),
    /// The operating system reported a failure.
    #[error("cannot {doing}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The failure.
        source: io::Error,
    },
}

fn failed(doing: &'static str) -> impl FnOnce(io::Error) -> ArrayError {
    move |source| ArrayError::Io { doing, source }
}

/// A disk of the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lun {
    /// Its size.
    pub bytes: u64,
    /// What it takes of the storage.
    pub allocated: u64,
    /// What the driver wanted to remember.
    pub note: String,
}

/// A storage with this much room, in a directory that hosts reach by the same path.
#[derive(Debug)]
pub struct Array {
    directory: PathBuf,
    capacity: u64,
    mapped: Mutex<BTreeSet<(String, String)>>,
}

impl Array {
    /// The storage in this directory, which is there.
    #[must_use]
    pub fn new(directory: PathBuf, capacity: u64) -> Self {
        Self {
            directory,
            capacity,
            mapped: Mutex::default(),
        }
    }

    fn mapped(&self) -> MutexGuard<'_, BTreeSet<(String, String)>> {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn disk(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.disk"))
    }

    fn note(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.note"))
    }

    /// Writes down whose the storage is, for good. The same owner again is fine.
    pub fn claim(&self, owner: &str) -> Result<(), ArrayError> {
        let path = self.directory.join("owner");
        match fs::read_to_string(&path) {
            Ok(there) if there == owner => Ok(()),
            Ok(there) => Err(ArrayError::Taken(there)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::write(&path, owner).map_err(failed("write the owner"))
            }
            Err(e) => Err(failed("read the owner")(e)),
        }
    }

    /// Makes a blank disk. One of this name and size that is there already is fine and keeps its note.
    pub fn allocate(&self, name: &str, bytes: u64, note: &str) -> Result<Lun, ArrayError> {
        if let Some(lun) = self.find(name)? {
            return match lun.bytes {
                there if there == bytes => Ok(lun),
                there => Err(ArrayError::Exists {
                    name: name.to_owned(),
                    bytes: there,
                }),
            };
        }
        let free = self.free()?;
        if bytes > free {
            return Err(ArrayError::Full(free));
        }
        // The note comes first, so that a disk without one is never ours: it stays as it is.
        let (disk, foreign) = (self.disk(name), || ArrayError::Foreign(name.to_owned()));
        if fs::symlink_metadata(&disk).is_ok() {
            return Err(foreign());
        }
        self.put_note(name, note)?;
        let making = || {
            let file = File::create_new(&disk)?;
            file.set_len(bytes)?;
            file.sync_all()
        };
        making().map_err(failed("make a disk"))?;
        self.existing(name)
    }

    /// The disk of this name, if there is one.
    pub fn find(&self, name: &str) -> Result<Option<Lun>, ArrayError> {
        let note = match fs::read_to_string(self.note(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // A storage that went away is not a storage without this disk.
                fs::metadata(&self.directory).map_err(failed("reach the storage"))?;
                return Ok(None);
            }
            read => read.map_err(failed("read a note"))?,
        };
        let file = match fs::metadata(self.disk(name)) {
            // The note of one that was never made.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            looked => looked.map_err(failed("look at a disk"))?,
        };
        Ok(Some(Lun {
            bytes: file.len(),
            allocated: file.blocks() * 512,
            note,
        }))
    }

    fn existing(&self, name: &str) -> Result<Lun, ArrayError> {
        self.find(name)?
            .ok_or_else(|| ArrayError::NotFound(name.to_owned()))
    }

    /// Puts another note in place of the one that is there.
    pub fn write_note(&self, name: &str, note: &str) -> Result<Lun, ArrayError> {
        self.put_note(name, note)?;
        self.existing(name)
    }

    fn put_note(&self, name: &str, note: &str) -> Result<(), ArrayError> {
        let new = self.directory.join(format!("{name}.note-new"));
        let writing = || {
            let mut file = File::create(&new)?;
            file.write_all(note.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, self.note(name))?;
            File::open(&self.directory)?.sync_all()
        };
        writing().map_err(failed("write a note"))
    }

    /// Makes a disk larger. The size that it has is fine.
    pub fn grow(&self, name: &str, bytes: u64) -> Result<Lun, ArrayError> {
        let (lun, free) = (self.existing(name)?, self.free()?);
        let more = bytes
            .checked_sub(lun.bytes)
            .ok_or(ArrayError::Smaller(lun.bytes))?;
        if more > free {
            return Err(ArrayError::Full(free));
        }
        let growing = || File::options().write(true).open(self.disk(name))?.set_len(bytes);
        growing().map_err(failed("make a disk larger"))?;
        self.existing(name)
    }

    /// Removes a disk. One that is not there is fine, and one without a note stays: it is somebody else's.
    pub fn remove(&self, name: &str) -> Result<(), ArrayError> {
        let note = self.note(name);
        if !note.try_exists().map_err(failed("look at a note"))? {
            // A storage that went away is not a storage without this disk.
            return fs::metadata(&self.directory)
                .map(drop)
                .map_err(failed("reach the storage"));
        }
        self.mapped().retain(|(disk, _)| disk != name);
        for path in [self.disk(name), note] {
            match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("remove a disk")(e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes a disk reachable from a host, and says where it is there. Again is fine.
    pub fn map(&self, name: &str, host: &str) -> Result<PathBuf, ArrayError> {
        self.existing(name)?;
        self.mapped().insert((name.to_owned(), host.to_owned()));
        Ok(self.disk(name))
    }

    /// Whether a host reaches the disk.
    pub fn is_mapped(&self, name: &str, host: &str) -> bool {
        self.mapped().contains(&(name.to_owned(), host.to_owned()))
    }

    /// Ends that. A disk that is not mapped, or not there, is fine.
    pub fn unmap(&self, name: &str, host: &str) -> Result<(), ArrayError> {
        self.mapped().remove(&(name.to_owned(), host.to_owned()));
        Ok(())
    }

    /// All bytes of the storage.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The bytes that no disk has.
    pub fn free(&self) -> Result<u64, ArrayError> {
        let mut taken = 0;
        for entry in fs::read_dir(&self.directory).map_err(failed("reach the storage"))? {
            let entry = entry.map_err(failed("reach the storage"))?;
            if entry.path().extension().is_none_or(|e| e != "disk") {
                continue;
            }
            match entry.metadata() {
                Ok(disk) => taken += disk.len(),
                // Another call removes it just now.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(failed("look at a disk")(e)),
            }
        }
        Ok(self.capacity.saturating_sub(taken))
    }
}
