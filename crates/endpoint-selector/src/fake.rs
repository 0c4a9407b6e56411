//! An endpoint that works in memory, for the tests of drivers and of whatever is built on them.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use strongroom_secret::Passphrase;
use strongroom_types::{
    ByteSize, Call, DiskFormat, EncryptionFormat, Geometry, GuestSize, HostFacts, PayloadOffset,
};

use crate::{
    DirectoryFacts, Disk, DiskFacts, DiskLocation, Endpoint, EndpointError, ErrorKind, HostAnswer,
    HostCommand, Protection, Sameness, SnapshotAction, Verification,
};

/// What the fake keeps of a disk: facts, a fingerprint of the key, and the name of the content.
#[derive(Debug, Clone)]
struct FakeDisk {
    facts: DiskFacts,
    key: Option<u64>,
    content: Option<PathBuf>,
    snapshots: BTreeMap<strongroom_types::SnapshotId, (GuestSize, Option<PathBuf>)>,
}

/// What a test wants to happen instead of the next command.
type Fault = Box<dyn FnMut(&HostCommand<'_>) -> Option<EndpointError> + Send>;

/// A host that keeps its disks in memory. It follows the documented behaviour of every command, records their names, and
/// fails on request.
pub struct MemoryEndpoint {
    facts: HostFacts,
    disks: Mutex<BTreeMap<PathBuf, FakeDisk>>,
    commands: Mutex<Vec<String>>,
    fault: Mutex<Option<Fault>>,
}

impl std::fmt::Debug for MemoryEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryEndpoint")
            .field("host", &self.facts.id)
            .finish_non_exhaustive()
    }
}

fn fingerprint(key: &Passphrase) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.expose_secret().hash(&mut hasher);
    hasher.finish()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl MemoryEndpoint {
    /// A host with these facts and no disks.
    #[must_use]
    pub fn new(facts: HostFacts) -> Self {
        Self {
            facts,
            disks: Mutex::default(),
            commands: Mutex::default(),
            fault: Mutex::new(None),
        }
    }

    /// Before each command `fault` is asked; when it gives an error, that is the answer and nothing is done.
    pub fn fail_when(&self, fault: impl FnMut(&HostCommand<'_>) -> Option<EndpointError> + Send + 'static) {
        *lock(&self.fault) = Some(Box::new(fault));
    }

    /// The names of the commands so far.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        lock(&self.commands).clone()
    }

    /// The paths of the disks that are there.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        lock(&self.disks).keys().cloned().collect()
    }

    /// Puts a blank device or file of this size there.
    pub fn add_blank(&self, path: impl Into<PathBuf>, guest: GuestSize) {
        let path = path.into();
        let disk = new_disk(&path, DiskFormat::Raw, guest, Protection::Plain);
        if let Ok(disk) = disk {
            lock(&self.disks).insert(path, disk);
        }
    }
}

fn payload_offset(format: DiskFormat, encryption: Option<EncryptionFormat>) -> PayloadOffset {
    match (format, encryption) {
        (DiskFormat::Raw, Some(EncryptionFormat::Luks1)) => PayloadOffset::LUKS1_CRYPTSETUP,
        (DiskFormat::Raw, Some(EncryptionFormat::Luks2)) => PayloadOffset::LUKS2_CRYPTSETUP,
        _ => PayloadOffset::NONE,
    }
}

fn new_disk(
    path: &Path,
    format: DiskFormat,
    guest: GuestSize,
    protection: Protection<'_>,
) -> Result<FakeDisk, EndpointError> {
    let offset = payload_offset(format, protection.format());
    let geometry = Geometry::for_guest(guest, offset)
        .map_err(|e| EndpointError::new(ErrorKind::InvalidRequest, "CreateDisk", e.to_string()))?;
    let mut facts = DiskFacts::new(
        DiskLocation::File(path.to_owned()),
        format,
        guest,
        geometry.device(),
    );
    facts.encryption = protection.format();
    facts.payload_offset = offset;
    facts.cipher = protection.format().map(|_| "aes-xts-plain64".to_owned());
    Ok(FakeDisk {
        facts,
        key: protection.key().map(fingerprint),
        content: None,
        snapshots: BTreeMap::new(),
    })
}

impl FakeDisk {
    fn facts(&self) -> DiskFacts {
        let mut facts = self.facts.clone();
        facts.snapshots = self.snapshots.keys().cloned().collect();
        facts
    }

    fn matches(
        &self,
        operation: &'static str,
        format: DiskFormat,
        encryption: Option<EncryptionFormat>,
    ) -> Result<(), EndpointError> {
        if (self.facts.format, self.facts.encryption) == (format, encryption) {
            return Ok(());
        }
        let message = format!("{} is not what was said", self.facts.location);
        Err(EndpointError::new(ErrorKind::WrongDisk, operation, message))
    }

    fn open(&self, operation: &'static str, disk: &Disk<'_>) -> Result<(), EndpointError> {
        self.matches(operation, disk.format, disk.protection.format())?;
        if self.key == disk.protection.key().map(fingerprint) {
            return Ok(());
        }
        let message = format!("the key does not open {}", self.facts.location);
        Err(EndpointError::new(ErrorKind::WrongKey, operation, message))
    }

    fn resize(&mut self, operation: &'static str, to: GuestSize) -> Result<(), EndpointError> {
        let geometry = Geometry::for_guest(to, self.facts.payload_offset)
            .map_err(|e| EndpointError::new(ErrorKind::InvalidRequest, operation, e.to_string()))?;
        self.facts.guest = to;
        self.facts.device = geometry.device();
        Ok(())
    }
}

fn existing<'d>(
    disks: &'d mut BTreeMap<PathBuf, FakeDisk>,
    operation: &'static str,
    path: &Path,
) -> Result<&'d mut FakeDisk, EndpointError> {
    disks.get_mut(path).ok_or_else(|| {
        EndpointError::new(
            ErrorKind::NotFound,
            operation,
            format!("no disk at {}", path.display()),
        )
    })
}

impl Endpoint for MemoryEndpoint {
    fn host(&self) -> HostFacts {
        self.facts.clone()
    }

    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        let name = command.name();
        lock(&self.commands).push(name.to_owned());
        if let Some(error) = lock(&self.fault).as_mut().and_then(|f| f(command)) {
            return Err(error);
        }
        call.check()
            .map_err(|e| EndpointError::new(ErrorKind::Cancelled, name, e.to_string()))?;
        let mut disks = lock(&self.disks);
        match command {
            HostCommand::OpenDirectory(c) => {
                let (total, free) = (ByteSize::gib(1000), ByteSize::gib(900));
                let facts = DirectoryFacts::new(c.path.to_owned(), 1, "memory".into(), total, free, true);
                return Ok(HostAnswer::Directory(facts));
            }
            HostCommand::CreateDisk(c) => {
                if disks.contains_key(c.path) {
                    let message = format!("{} is there already", c.path.display());
                    return Err(EndpointError::new(ErrorKind::AlreadyExists, name, message));
                }
                let mut disk = new_disk(c.path, c.format, c.guest, c.protection)?;
                if let crate::DiskContent::Template(source) = c.content {
                    disk.content = Some(source.path.to_owned());
                }
                disks.insert(c.path.to_owned(), disk);
                Ok(c.path)
            }
            HostCommand::FormatDevice(c) => {
                let disk = existing(&mut disks, name, c.location.path())?;
                if disk.content.is_some() || disk.facts.encryption.is_some() {
                    let message = format!("{} is not blank", c.location);
                    return Err(EndpointError::new(ErrorKind::AlreadyExists, name, message));
                }
                let offset = payload_offset(DiskFormat::Raw, Some(c.format));
                let geometry = Geometry::of_device(disk.facts.device, offset)
                    .map_err(|e| EndpointError::new(ErrorKind::InvalidRequest, name, e.to_string()))?;
                let protection = Protection::Luks {
                    format: c.format,
                    key: c.key,
                };
                *disk = new_disk(c.location.path(), DiskFormat::Raw, geometry.guest(), protection)?;
                Ok(c.location.path())
            }
            HostCommand::InspectDisk(c) => {
                existing(&mut disks, name, c.location.path())?.matches(name, c.format, c.encryption)?;
                Ok(c.location.path())
            }
            HostCommand::VerifyDisk(c) => {
                let disk = existing(&mut disks, name, c.disk.location.path())?;
                disk.open(name, &c.disk)?;
                return Ok(HostAnswer::Verified(Verification::new(
                    disk.facts(),
                    vec!["in memory".into()],
                )));
            }
            HostCommand::GrowDisk(c) => {
                let disk = existing(&mut disks, name, c.disk.location.path())?;
                disk.open(name, &c.disk)?;
                if c.to < disk.facts.guest {
                    let message = format!("{} is smaller than {}", c.to, disk.facts.guest);
                    return Err(EndpointError::new(ErrorKind::InvalidRequest, name, message));
                }
                disk.resize(name, c.to)?;
                Ok(c.disk.location.path())
            }
            HostCommand::SnapshotDisk(c) => {
                let disk = existing(&mut disks, name, c.disk.location.path())?;
                disk.open(name, &c.disk)?;
                match c.action {
                    SnapshotAction::Create => {
                        let state = (disk.facts.guest, disk.content.clone());
                        disk.snapshots.entry(c.snapshot.clone()).or_insert(state);
                    }
                    SnapshotAction::Restore => {
                        let message = format!("no snapshot {}", c.snapshot);
                        let (guest, content) = disk
                            .snapshots
                            .get(c.snapshot)
                            .cloned()
                            .ok_or_else(|| EndpointError::new(ErrorKind::NotFound, name, message))?;
                        disk.resize(name, guest)?;
                        disk.content = content;
                    }
                    SnapshotAction::Delete => {
                        disk.snapshots.remove(c.snapshot);
                    }
                }
                Ok(c.disk.location.path())
            }
            HostCommand::ReplaceContent(c) => {
                let disk = existing(&mut disks, name, c.disk.location.path())?;
                disk.open(name, &c.disk)?;
                disk.content = Some(c.source.path.to_owned());
                Ok(c.disk.location.path())
            }
            HostCommand::CompareContent(c) => {
                let disk = existing(&mut disks, name, c.disk.location.path())?;
                disk.open(name, &c.disk)?;
                let same = disk.content.as_deref() == Some(c.with.path);
                return Ok(HostAnswer::Compared(if same {
                    Sameness::Identical
                } else {
                    Sameness::Different
                }));
            }
            HostCommand::BackUpHeader(c) => {
                existing(&mut disks, name, c.disk.location.path())?.open(name, &c.disk)?;
                return Ok(HostAnswer::Done);
            }
            HostCommand::EraseKeyslots(c) => {
                if let Some(disk) = disks.get_mut(c.location.path()) {
                    disk.key = None;
                }
                return Ok(HostAnswer::Done);
            }
            HostCommand::DeleteDisk(c) => {
                disks.remove(c.path);
                return Ok(HostAnswer::Done);
            }
            HostCommand::SweepStaging(_) => return Ok(HostAnswer::Swept(Vec::new())),
        }
        .and_then(|path| existing(&mut disks, name, path).map(|disk| HostAnswer::Disk(disk.facts())))
    }
}
