use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use strongroom_endpoint_selector::{
    CreateDisk, DeleteDisk, DirectoryFacts, Disk, DiskContent, DiskFacts, GrowDisk, Need, SnapshotDisk,
    SweepStaging, VerifyDisk,
};
use strongroom_storage_pool::{
    Attachment, Capabilities, CreateVolume, Encryption, ErrorKind, OpContext, PoolDriver, PoolError,
    PoolUsage, ResizeVolume, SizeRule, SnapshotVolume, Volume, VolumeContent, VolumeKey,
};
use strongroom_types::{Capability, DiskFormat, HostId, PoolId, VolumeId};

use crate::FilePoolConfig;
use crate::errand::{Errand, volume};
use crate::volume_file::{LUKS, VolumeFile, protection};

/// A pool whose volumes are files in a directory.
///
/// Every operation has a host open the directory first. What file system it is on is remembered for each host; when it is
/// another one later, because a mount vanished or something was mounted over it, every operation is refused.
#[derive(Debug)]
pub struct FilePool {
    config: FilePoolConfig,
    file_systems: Mutex<BTreeMap<HostId, u64>>,
}

/// Whether an operation changes something in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl FilePool {
    /// The pool that this describes. Nothing is read: the directory is looked at by a host, when there is something to do.
    ///
    /// # Errors
    /// [`InvalidRequest`](ErrorKind::InvalidRequest) when the directory is no absolute path, has `.` or `..` in it, or is `/`.
    pub fn open(config: FilePoolConfig) -> Result<Self, PoolError> {
        config.check()?;
        Ok(Self {
            config,
            file_systems: Mutex::default(),
        })
    }

    /// Chooses a host and checks that the directory is what it was.
    fn begin<'a>(
        &'a self,
        cx: &OpContext<'a>,
        operation: &'static str,
        need: Need,
        access: Access,
    ) -> Result<Errand<'a>, PoolError> {
        let errand = Errand::begin(&self.config, cx, operation, need)?;
        let facts = self.look(&errand)?;
        if access == Access::Write && !facts.writable {
            let message = format!("{} cannot be written to", self.config.directory.display());
            return Err(errand.error(ErrorKind::PermissionDenied, &message));
        }
        Ok(errand)
    }

    /// The pool's directory, if it is on the file system that it was on.
    fn look(&self, errand: &Errand<'_>) -> Result<DirectoryFacts, PoolError> {
        let directory = &self.config.directory;
        let facts = errand.look(directory)?;
        if let Some(parent) = directory.parent().filter(|_| self.config.mount_point)
            && errand.look(parent)?.file_system == facts.file_system
        {
            let message = format!(
                "{} is on the same file system as its parent: nothing is mounted there, or a bind mount of the same file \
                 system, which cannot be told apart; mount the pool's own file system",
                directory.display()
            );
            return Err(errand.error(ErrorKind::Io, &message));
        }
        let mut known = self.file_systems.lock().unwrap_or_else(PoisonError::into_inner);
        if *known.entry(errand.host.clone()).or_insert(facts.file_system) == facts.file_system {
            return Ok(facts);
        }
        let message = format!(
            "{} is on another file system than before, {} now; mount the right one, or open the pool anew if this is meant",
            directory.display(),
            facts.kind
        );
        Err(errand.error(ErrorKind::Io, &message))
    }

    /// What has the name of a volume that is to be made.
    fn named(errand: &Errand<'_>, id: &VolumeId) -> Result<Option<(VolumeFile, DiskFacts)>, PoolError> {
        errand.find(id).map_err(|e| match e.kind() {
            ErrorKind::WrongDisk => {
                let message = format!("the name of volume {id} is taken");
                errand.error(ErrorKind::AlreadyExists, &message).with_source(e)
            }
            _ => e,
        })
    }

    /// The volume that is there, if it is the one that is asked for and its key opens it.
    fn same(
        &self,
        errand: &Errand<'_>,
        request: &CreateVolume<'_>,
        (there, facts): (VolumeFile, DiskFacts),
    ) -> Result<DiskFacts, PoolError> {
        let (id, file) = (request.volume, VolumeFile::new(request.format, request.key));
        if there != file || facts.guest != request.guest {
            let message = format!(
                "volume {id} is there already, {there} of {} bytes",
                facts.guest.get()
            );
            return Err(errand.error(ErrorKind::AlreadyExists, &message));
        }
        let location = file.location(&self.config.directory, id);
        let disk = Disk::new(&location, request.format, protection(request.key));
        errand.disk(file, VerifyDisk::new(disk))
    }

    /// Finds a volume for work with its key, and the host for the work.
    fn open_volume<'a>(
        &'a self,
        cx: &OpContext<'a>,
        operation: &'static str,
        id: &VolumeId,
        key: VolumeKey<'_>,
    ) -> Result<(Errand<'a>, VolumeFile, DiskFacts), PoolError> {
        let errand = self.begin(
            cx,
            operation,
            Need::any().able_to(Capability::PlainImages),
            Access::Read,
        )?;
        let (file, facts) = errand.existing(id)?;
        if file != VolumeFile::new(file.format, key) {
            let message = format!("volume {id} is {file}, the request says otherwise");
            return Err(errand.error(ErrorKind::WrongDisk, &message));
        }
        let errand = self.begin(
            cx,
            operation,
            Need::any().able_to(file.capability()),
            Access::Write,
        )?;
        Ok((errand, file, facts))
    }
}

#[deny(clippy::missing_trait_methods)]
impl PoolDriver for FilePool {
    fn pool(&self) -> &PoolId {
        &self.config.pool
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        if self.config.encryption {
            capabilities.encryption = Encryption::OnHost(LUKS);
        }
        capabilities.formats = BTreeSet::from([DiskFormat::Raw, DiskFormat::Qcow2]);
        capabilities.grow = true;
        capabilities.snapshot_offline = BTreeSet::from([DiskFormat::Qcow2]);
        capabilities.templates = true;
        capabilities.sizes = SizeRule::Exact;
        capabilities.reach = self.config.reach;
        capabilities
    }

    fn usage(&self, cx: &OpContext<'_>) -> Result<PoolUsage, PoolError> {
        let facts = self.look(&Errand::begin(&self.config, cx, "usage", Need::any())?)?;
        Ok(PoolUsage::new(facts.total, facts.free))
    }

    fn create(&self, cx: &OpContext<'_>, request: &CreateVolume<'_>) -> Result<Volume, PoolError> {
        let (id, file) = (request.volume, VolumeFile::new(request.format, request.key));
        if file.encrypted && !self.config.encryption {
            let message = format!("pool {} does not encrypt; ask for another pool", self.config.pool);
            return Err(PoolError::unsupported("create", message));
        }
        let need = Need::any().able_to(file.capability());
        let errand = self.begin(cx, "create", need, Access::Write)?;
        let location = file.location(&self.config.directory, id);
        let facts = match Self::named(&errand, id)? {
            Some(found) => self.same(&errand, request, found)?,
            None => {
                let content = match request.content {
                    VolumeContent::Blank => DiskContent::Blank,
                    VolumeContent::Template(template) => DiskContent::Template(template.image),
                    _ => {
                        let message = "this pool makes no volumes with such content";
                        return Err(errand.error(ErrorKind::Unsupported, message));
                    }
                };
                let create = CreateDisk::new(
                    location.path(),
                    request.format,
                    request.guest,
                    protection(request.key),
                    content,
                );
                match errand.disk(file, create) {
                    // Another call was faster. What it made is judged as if it had been there before.
                    Err(e) if e.kind() == ErrorKind::AlreadyExists => match Self::named(&errand, id)? {
                        Some(found) => self.same(&errand, request, found)?,
                        None => return Err(e),
                    },
                    made => made?,
                }
            }
        };
        if facts.guest != request.guest {
            let message = format!(
                "{location} came out with {} bytes, not {}",
                facts.guest.get(),
                request.guest.get()
            );
            return Err(errand.error(ErrorKind::Tool, &message));
        }
        Ok(volume(id, facts))
    }

    fn delete(&self, cx: &OpContext<'_>, id: &VolumeId) -> Result<(), PoolError> {
        let errand = self.begin(cx, "delete", Need::any(), Access::Write)?;
        for file in VolumeFile::ALL {
            errand.run(DeleteDisk::new(file.location(&self.config.directory, id).path()))?;
        }
        Ok(())
    }

    fn get(&self, cx: &OpContext<'_>, id: &VolumeId) -> Result<Option<Volume>, PoolError> {
        let errand = self.begin(
            cx,
            "get",
            Need::any().able_to(Capability::PlainImages),
            Access::Read,
        )?;
        Ok(errand.find(id)?.map(|(_, facts)| volume(id, facts)))
    }

    fn attach(&self, cx: &OpContext<'_>, id: &VolumeId, host: &HostId) -> Result<Attachment, PoolError> {
        let need = Need::any().able_to(Capability::PlainImages).on(host.clone());
        let errand = self.begin(cx, "attach", need, Access::Read)?;
        let (file, _) = errand.existing(id)?;
        let location = file.location(&self.config.directory, id);
        Ok(Attachment::new(location, file.format, file.encryption()))
    }

    /// A file that a host reaches is always available there: there is nothing to end.
    fn detach(&self, _: &OpContext<'_>, _: &VolumeId, _: &HostId) -> Result<(), PoolError> {
        Ok(())
    }

    fn grow(&self, cx: &OpContext<'_>, request: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        let (errand, file, before) = self.open_volume(cx, "grow", request.volume, request.key)?;
        let disk = Disk::new(&before.location, file.format, protection(request.key));
        let after = errand.disk(file, GrowDisk::new(disk, request.to))?;
        if after.guest != request.to {
            let message = format!(
                "{} came out with {} bytes, not {}",
                after.location,
                after.guest.get(),
                request.to.get()
            );
            return Err(errand.error(ErrorKind::Tool, &message));
        }
        Ok(volume(request.volume, after))
    }

    fn snapshot(&self, cx: &OpContext<'_>, request: &SnapshotVolume<'_>) -> Result<Volume, PoolError> {
        let (errand, file, before) = self.open_volume(cx, "snapshot", request.volume, request.key)?;
        if file.format != DiskFormat::Qcow2 {
            let message = format!("volume {} is {file}; only qcow2 keeps snapshots", request.volume);
            return Err(errand.error(ErrorKind::Unsupported, &message));
        }
        let disk = Disk::new(&before.location, file.format, protection(request.key));
        let after = errand.disk(file, SnapshotDisk::new(disk, request.snapshot, request.action))?;
        Ok(volume(request.volume, after))
    }

    fn recover(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        let errand = self.begin(cx, "recover", Need::any(), Access::Write)?;
        errand.run(SweepStaging::new(&self.config.directory)).map(drop)
    }
}
