//! An endpoint that works in memory, for the tests of drivers and of whatever is built on them.

mod disk;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::RandomState;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use strongroom_types::{ByteSize, DeviceSize, DiskFormat, GuestSize, HostFacts};

use self::disk::FakeDisk;
use crate::{DirectoryFacts, DiskLocation, EndpointError, HostCommand, Protection};

/// What a test wants to be the answer.
type Fault = Box<dyn FnMut(&HostCommand<'_>) -> Option<EndpointError> + Send>;

#[derive(Default)]
struct State {
    disks: BTreeMap<PathBuf, FakeDisk>,
    /// Files that are no disks: header backups.
    files: BTreeSet<PathBuf>,
    images: BTreeMap<PathBuf, ByteSize>,
    directories: BTreeMap<PathBuf, DirectoryFacts>,
    commands: Vec<String>,
}

/// A host that keeps its disks in memory. It follows the documented behaviour of every command, records their names, and
/// fails on request.
///
/// Of a key it keeps a fingerprint, which is different in every endpoint and opens nothing. Images are not read: their path
/// is the content. One that was not [added](Self::add_image) is taken to be there and as large as the disk. Every directory
/// is there, with 900 GiB free, unless a test [says otherwise](Self::set_directory). What a host can do is in its facts and is
/// not enforced: that is the selector's part.
pub struct MemoryEndpoint {
    facts: HostFacts,
    fingerprints: RandomState,
    state: Mutex<State>,
    fault: Mutex<Option<Fault>>,
    lost_answer: Mutex<Option<Fault>>,
}

impl fmt::Debug for MemoryEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryEndpoint")
            .field("host", &self.facts.id)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryEndpoint {
    /// A host with these facts and no disks.
    #[must_use]
    pub fn new(facts: HostFacts) -> Self {
        Self {
            facts,
            fingerprints: RandomState::new(),
            state: Mutex::default(),
            fault: Mutex::default(),
            lost_answer: Mutex::default(),
        }
    }

    /// Before each command `fault` is asked; when it gives an error, that is the answer and nothing is done.
    pub fn fail_when(&self, fault: impl FnMut(&HostCommand<'_>) -> Option<EndpointError> + Send + 'static) {
        *lock(&self.fault) = Some(Box::new(fault));
    }

    /// After each command that was done `fault` is asked; when it gives an error, that is the answer all the same: the host died,
    /// or the call ended, before it could say so.
    pub fn fail_after(&self, fault: impl FnMut(&HostCommand<'_>) -> Option<EndpointError> + Send + 'static) {
        *lock(&self.lost_answer) = Some(Box::new(fault));
    }

    /// The names of the commands so far, those that failed included.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        lock(&self.state).commands.clone()
    }

    /// The paths of the disks that are there.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        lock(&self.state).disks.keys().cloned().collect()
    }

    /// Puts a blank file of this size there, in place of what has the name.
    pub fn add_blank(&self, path: impl Into<PathBuf>, size: GuestSize) {
        let path = path.into();
        self.add(path.clone(), DiskLocation::file(path), size);
    }

    /// Puts a blank block device of this size there, in place of what has the name.
    pub fn add_blank_device(&self, path: impl Into<PathBuf>, size: GuestSize) {
        let path = path.into();
        self.add(path.clone(), DiskLocation::block(path), size);
    }

    fn add(&self, path: PathBuf, location: DiskLocation, size: GuestSize) {
        // A plain raw disk has no header, so that its size is always a device size.
        if let Ok(disk) = FakeDisk::new("add", location, DiskFormat::Raw, size, Protection::Plain, None) {
            lock(&self.state).disks.insert(path, disk);
        }
    }

    /// Makes a block device larger, as its storage does, and says whether it did: not a file, and never smaller. A raw disk on it
    /// is then larger for its guest too.
    pub fn grow_device(&self, path: &Path, to: DeviceSize) -> bool {
        let mut state = lock(&self.state);
        state.disks.get_mut(path).is_some_and(|disk| disk.set_device(to))
    }

    /// Takes a disk away, whatever it is, as its storage does with a device that was removed or is not attached any more. Says
    /// whether it was there.
    pub fn remove(&self, path: &Path) -> bool {
        lock(&self.state).disks.remove(path).is_some()
    }

    /// Says how large a plain image is for a guest.
    pub fn add_image(&self, path: impl Into<PathBuf>, size: ByteSize) {
        lock(&self.state).images.insert(path.into(), size);
    }

    /// Says what [`OpenDirectory`](crate::OpenDirectory) finds at the path of these facts: a full, a read-only or another file
    /// system.
    pub fn set_directory(&self, facts: DirectoryFacts) {
        lock(&self.state).directories.insert(facts.path.clone(), facts);
    }

    fn directory(state: &State, path: &Path) -> DirectoryFacts {
        state.directories.get(path).cloned().unwrap_or_else(|| {
            let (total, free) = (ByteSize::gib(1000), ByteSize::gib(900));
            DirectoryFacts::new(path.to_owned(), 1, "memory".to_owned(), total, free, true)
        })
    }
}
