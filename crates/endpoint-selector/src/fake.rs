//! An endpoint that works in memory, for the tests of drivers and of whatever is built on them.

mod content;
mod create;
mod device;
mod directory;
mod disk;
mod machine;
mod machine_disk;
mod machine_image;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::RandomState;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use strongroom_types::{ByteSize, DiskFormat, GuestSize, HostFacts, InstallationId, PoolId, VmId};

use self::device::FakeDevice;
use self::disk::FakeDisk;
use self::machine::FakeMachine;
use crate::{DirectoryFacts, DiskLocation, EndpointError, HostCommand, Protection};

/// What a test wants to be the answer.
type Fault = Box<dyn FnMut(&HostCommand<'_>) -> Option<EndpointError> + Send>;

#[derive(Default)]
struct State {
    fingerprints: RandomState,
    disks: BTreeMap<PathBuf, FakeDisk>,
    /// The disk on each is among the disks.
    devices: BTreeMap<PathBuf, FakeDevice>,
    /// Where disks were that were deleted.
    gone: BTreeSet<PathBuf>,
    /// Files that are no disks: header backups.
    files: BTreeSet<PathBuf>,
    images: BTreeMap<PathBuf, ByteSize>,
    directories: BTreeMap<PathBuf, DirectoryFacts>,
    /// Which pool a directory of a file system was marked for.
    marks: BTreeMap<(PathBuf, u64), (PoolId, Option<InstallationId>)>,
    /// The virtual machines that run.
    machines: BTreeMap<VmId, FakeMachine>,
    commands: Vec<String>,
}

/// A host that keeps its disks in memory. It follows the documented behaviour of every command, records their names, and
/// fails on request.
///
/// Of a key it keeps a fingerprint, which is different in every endpoint and opens nothing. Images are not read: their path
/// is the content, so that a [digest](crate::DigestContent) is the same for the same content and is not its SHA-256. An image that
/// was not [added](Self::add_image) is taken to be there and as large as the disk; one that is a disk here is that disk. Every directory
/// is there, unmarked and with 900 GiB free, unless a test [says otherwise](Self::set_directory). What a host can do is in its facts
/// and is not enforced: that is the selector's part.
///
/// Its virtual machines have no guests: they have disks, which are then in use, and a state. They go down at once when they are asked. They
/// are not saved and not moved, have no agent, and keep no checkpoints.
pub struct MemoryEndpoint {
    facts: HostFacts,
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
        let (path, location) = (path.into(), DiskLocation::file);
        // A plain raw disk has no header, so that its size is always a device size.
        if let Ok(disk) = FakeDisk::new(
            "add",
            location(&path),
            DiskFormat::Raw,
            size,
            Protection::Plain,
            None,
        ) {
            lock(&self.state).disks.insert(path, disk);
        }
    }

    /// Takes a disk away, whatever it is, as its storage does with a device that was removed or is not attached any more. Says
    /// whether it was there.
    pub fn remove(&self, path: &Path) -> bool {
        let mut state = lock(&self.state);
        state.devices.remove(path);
        state.disks.remove(path).is_some()
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

    /// The bytes of a disk as whoever sees the storage sees them: magic numbers and noise where it is encrypted. `image` says what is
    /// in the images that were copied onto it. `None` when there is no disk.
    #[must_use]
    pub fn stored(&self, path: &Path, image: impl Fn(&Path) -> Vec<u8>) -> Option<Vec<u8>> {
        Some(lock(&self.state).disks.get(path)?.stored(&image))
    }
}
