use std::collections::BTreeSet;

use strongroom_endpoint_selector::{
    DeleteDisk, Disk, DiskFacts, FlattenDisk, GrowDisk, HostAnswer, MarkDirectory, Need, ShrinkDisk,
    SnapshotDisk, SweepStaging,
};
use strongroom_storage_pool::{
    Attachment, BaseImage, Capabilities, CloneKind, CloneVolume, CreateVolume, Encryption, ErrorKind,
    FlattenVolume, LimitVolume, OpContext, PoolDriver, PoolError, PoolUsage, ResizeVolume, SizeRule,
    SnapshotGroup, SnapshotVolume, Volume, VolumeKey,
};
use strongroom_types::{Capability, DiskFormat, HostId, PoolId, TemplateId, VolumeId};

use crate::FilePoolConfig;
use crate::errand::Errand;
use crate::expectation::Access;
use crate::provisioning::Account;
use crate::template_claim::TemplateClaims;
use crate::volume_file::{LUKS, VolumeFile, protection};

/// A pool whose volumes are files in a directory.
///
/// Before its first use the directory is [prepared](PoolDriver::prepare), which marks it with the pool's id. After that every operation
/// has a host look first whether the directory has this mark and is mounted as the configuration says; if not, nothing is done.
#[derive(Debug)]
pub struct FilePool {
    pub(crate) config: FilePoolConfig,
    pub(crate) claims: TemplateClaims,
    pub(crate) account: Account,
}

impl FilePool {
    /// The pool that this describes. Nothing is read: the directory is looked at by a host, when there is something to do.
    ///
    /// # Errors
    /// [`InvalidRequest`](ErrorKind::InvalidRequest) when the directory is no absolute path, has `.` or `..` in it, or is `/`, and when
    /// an NFS export is not `server:/path`.
    pub fn open(config: FilePoolConfig) -> Result<Self, PoolError> {
        config.check()?;
        Ok(Self {
            config,
            claims: TemplateClaims::default(),
            account: Account::default(),
        })
    }

    fn begin<'a>(
        &'a self,
        cx: &OpContext<'a>,
        operation: &'static str,
        need: Need,
        access: Access,
    ) -> Result<Errand<'a>, PoolError> {
        Errand::begin(&self.config, cx, operation, need, access)
    }

    /// Finds a volume for work with its key, and the host for the work.
    pub(crate) fn open_volume<'a>(
        &'a self,
        cx: &OpContext<'a>,
        operation: &'static str,
        id: &VolumeId,
        key: VolumeKey<'_>,
    ) -> Result<(Errand<'a>, VolumeFile, DiskFacts), PoolError> {
        let need = Need::any().able_to(Capability::PlainImages);
        let errand = self.begin(cx, operation, need, Access::Write)?;
        let (file, facts) = errand.existing(id)?;
        if file.encrypted != matches!(key, VolumeKey::Encrypted(_)) {
            let message = format!("volume {id} is {file}, the request says otherwise");
            return Err(errand.error(ErrorKind::WrongDisk, &message));
        }
        Ok((errand.able_to(cx, file.capability())?, file, facts))
    }

    fn resized(
        errand: &Errand<'_>,
        request: &ResizeVolume<'_>,
        after: DiskFacts,
    ) -> Result<Volume, PoolError> {
        if after.guest != request.to {
            let message = format!(
                "{} came out with {} bytes, not {}",
                after.location,
                after.guest.get(),
                request.to.get()
            );
            return Err(errand.error(ErrorKind::Tool, &message));
        }
        errand.volume(request.volume, after)
    }
}

/// The disk of a volume, for a command.
fn disk<'a>(file: VolumeFile, facts: &'a DiskFacts, key: VolumeKey<'a>) -> Disk<'a> {
    let base = facts.base.as_ref().map(BaseImage::source);
    Disk::new(&facts.location, file.format, protection(key)).on(base)
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
        capabilities.sizes = SizeRule::Exact;
        capabilities.reach = self.config.reach;
        capabilities.templates = true;
        capabilities.overlays = BTreeSet::from([DiskFormat::Qcow2]);
        capabilities.copies = true;
        capabilities.clone = BTreeSet::from([CloneKind::OwnKey]);
        capabilities.grow = true;
        capabilities.shrink = true;
        capabilities.snapshot_offline = BTreeSet::from([DiskFormat::Qcow2]);
        capabilities.revert = true;
        capabilities.discard = self.config.discard;
        capabilities
    }

    /// Marks the directory with the pool's id and makes the directory of its templates. Everything that the configuration expects
    /// is checked first.
    fn prepare(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        let errand = self.begin(cx, "prepare", Need::any(), Access::Prepare)?;
        let mark = MarkDirectory::new(&self.config.directory, &self.config.pool)
            .owner(self.config.installation.as_ref());
        match errand.run(mark)? {
            HostAnswer::Directory(facts) if facts.pool.as_ref() == Some(&self.config.pool) => {}
            other => return Err(errand.strange(&other)),
        }
        errand.templates().map(drop)
    }

    fn usage(&self, cx: &OpContext<'_>) -> Result<PoolUsage, PoolError> {
        let need = match self.config.provisioning {
            None => Need::any(),
            Some(_) => Need::any().able_to(Capability::PlainImages),
        };
        let errand = self.begin(cx, "usage", need, Access::Read)?;
        let mut usage = PoolUsage::new(errand.directory.total, errand.directory.free);
        if let Some((promised, limit)) = self.account.balance(&errand)? {
            usage.provisioned = Some(promised);
            usage.provisionable = Some(limit);
        }
        Ok(usage)
    }

    fn create(&self, cx: &OpContext<'_>, request: &CreateVolume<'_>) -> Result<Volume, PoolError> {
        self.create_as(cx, "create", request)
    }

    fn delete(&self, cx: &OpContext<'_>, id: &VolumeId) -> Result<(), PoolError> {
        let errand = self.begin(cx, "delete", Need::any(), Access::Write)?;
        for file in VolumeFile::ALL {
            errand.run(DeleteDisk::new(file.location(&self.config.directory, id).path()))?;
        }
        Ok(())
    }

    fn get(&self, cx: &OpContext<'_>, id: &VolumeId) -> Result<Option<Volume>, PoolError> {
        let need = Need::any().able_to(Capability::PlainImages);
        let errand = self.begin(cx, "get", need, Access::Read)?;
        let found = errand.find(id)?;
        found.map(|(_, facts)| errand.volume(id, facts)).transpose()
    }

    fn attach(&self, cx: &OpContext<'_>, id: &VolumeId, host: &HostId) -> Result<Attachment, PoolError> {
        let need = Need::any().able_to(Capability::PlainImages).on(host.clone());
        let errand = self.begin(cx, "attach", need, Access::Read)?;
        let (file, facts) = errand.existing(id)?;
        let mut attachment = Attachment::new(facts.location, file.format, file.encryption());
        attachment.base = facts.base;
        attachment.discard = self.config.discard;
        Ok(attachment)
    }

    /// A file that a host reaches is always available there: there is nothing to end.
    fn detach(&self, _: &OpContext<'_>, _: &VolumeId, _: &HostId) -> Result<(), PoolError> {
        Ok(())
    }

    fn grow(&self, cx: &OpContext<'_>, request: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        let (errand, file, before) = self.open_volume(cx, "grow", request.volume, request.key)?;
        let reserved = match before.guest < request.to {
            true => self
                .account
                .reserve(&errand, file.name(request.volume), request.to)?,
            false => None,
        };
        let grow = GrowDisk::new(disk(file, &before, request.key), request.to);
        let after = errand.disk(file, grow)?;
        if let Some(reserved) = reserved {
            reserved.keep();
        }
        Self::resized(&errand, request, after)
    }

    fn shrink(&self, cx: &OpContext<'_>, request: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        let (errand, file, before) = self.open_volume(cx, "shrink", request.volume, request.key)?;
        let shrink = ShrinkDisk::new(disk(file, &before, request.key), request.to);
        let after = errand.disk(file, shrink);
        self.account.forget(&file.name(request.volume));
        Self::resized(&errand, request, after?)
    }

    fn snapshot(&self, cx: &OpContext<'_>, request: &SnapshotVolume<'_>) -> Result<Volume, PoolError> {
        let (errand, file, before) = self.open_volume(cx, "snapshot", request.volume, request.key)?;
        if file.format != DiskFormat::Qcow2 {
            let message = format!("volume {} is {file}; only qcow2 keeps snapshots", request.volume);
            return Err(errand.error(ErrorKind::Unsupported, &message));
        }
        let disk = disk(file, &before, request.key);
        let after = errand.disk(file, SnapshotDisk::new(disk, request.snapshot, request.action));
        // A restored volume has the size of the time of its snapshot.
        self.account.forget(&file.name(request.volume));
        errand.volume(request.volume, after?)
    }

    fn snapshot_group(&self, _: &OpContext<'_>, _: &SnapshotGroup<'_>) -> Result<Vec<Volume>, PoolError> {
        let message = format!(
            "pool {} keeps no snapshots of several volumes at one instant",
            self.config.pool
        );
        Err(PoolError::unsupported("snapshot_group", message))
    }

    fn clone_volume(&self, cx: &OpContext<'_>, request: &CloneVolume<'_>) -> Result<Volume, PoolError> {
        self.clone_as(cx, request)
    }

    fn flatten(&self, cx: &OpContext<'_>, request: &FlattenVolume<'_>) -> Result<Volume, PoolError> {
        let (errand, file, before) = self.open_volume(cx, "flatten", request.volume, request.key)?;
        errand.sound_base(&before)?;
        let after = errand.disk(file, FlattenDisk::new(disk(file, &before, request.key)))?;
        if after.base.is_some() || after.guest != before.guest {
            let message = format!("{} is not flat, or of another size than before", after.location);
            return Err(errand.error(ErrorKind::Tool, &message));
        }
        errand.volume(request.volume, after)
    }

    fn limit(&self, _: &OpContext<'_>, _: &LimitVolume<'_>) -> Result<(), PoolError> {
        let message = format!("pool {} does not limit volumes", self.config.pool);
        Err(PoolError::unsupported("limit", message))
    }

    fn forget_template(&self, cx: &OpContext<'_>, template: &TemplateId) -> Result<(), PoolError> {
        let need = Need::any().able_to(Capability::PlainImages);
        let errand = self.begin(cx, "forget_template", need, Access::Write)?;
        errand.forget(&self.claims, template)
    }

    fn recover(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        let errand = self.begin(cx, "recover", Need::any(), Access::Write)?;
        errand.run(SweepStaging::new(&self.config.directory))?;
        let templates = errand.templates()?;
        errand.run(SweepStaging::new(&templates)).map(drop)
    }
}
