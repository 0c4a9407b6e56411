//! Making a volume, or finding that it is made already.

use strongroom_endpoint_selector::{CreateDisk, Disk, DiskContent, DiskFacts, Need, VerifyDisk};
use strongroom_storage_pool::{
    BaseImage, CloneKey, CloneVolume, CreateVolume, ErrorKind, OpContext, PoolError, Template, Volume,
    VolumeContent, VolumeKey,
};
use strongroom_types::{Capability, DiskFormat, EncryptionFormat, TemplateId, VolumeId};

use crate::FilePool;
use crate::errand::Errand;
use crate::expectation::Access;
use crate::volume_file::{VolumeFile, protection};

impl FilePool {
    /// What `create` of the trait says, for the operation that it is part of.
    pub(crate) fn create_as(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        request: &CreateVolume<'_>,
    ) -> Result<Volume, PoolError> {
        let file = self.admit(operation, request)?;
        let mut need = Need::any().able_to(file.capability());
        if let Some(source) = source_of(&request.content) {
            need = need.able_to(capability_for(source));
        }
        let errand = Errand::begin(&self.config, cx, operation, need, Access::Write)?;
        let id = request.volume;
        let facts = match named(&errand, id)? {
            Some(found) => same(&errand, request, found)?,
            None => match self.make(&errand, file, request) {
                // Another call was faster. What it made is judged as if it had been there before.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => match named(&errand, id)? {
                    Some(found) => same(&errand, request, found)?,
                    None => return Err(e),
                },
                made => made?,
            },
        };
        if facts.guest != request.guest {
            let message = format!(
                "{} came out with {} bytes, not {}",
                facts.location,
                facts.guest.get(),
                request.guest.get()
            );
            return Err(errand.error(ErrorKind::Tool, &message));
        }
        errand.volume(id, facts)
    }

    /// What kind of file the volume will be; an error for what this pool does not make, before a host is asked.
    fn admit(&self, operation: &'static str, request: &CreateVolume<'_>) -> Result<VolumeFile, PoolError> {
        let pool = &self.config.pool;
        if matches!(request.key, VolumeKey::Encrypted(_)) && !self.config.encryption {
            let message = format!("pool {pool} does not encrypt; ask for another pool");
            return Err(PoolError::unsupported(operation, message));
        }
        let into = protection(request.key);
        let admitted = match request.content {
            VolumeContent::Blank | VolumeContent::Template(_) => Ok(()),
            VolumeContent::Copy(disk) => DiskContent::Copy(disk).admit(operation, into),
            VolumeContent::Declassified(disk, why) => {
                DiskContent::Declassified(disk, why).admit(operation, into)
            }
            VolumeContent::Overlay(_) if request.format != DiskFormat::Qcow2 => {
                let message = format!("pool {pool} makes no {} overlays; ask for qcow2", request.format);
                return Err(PoolError::unsupported(operation, message));
            }
            VolumeContent::Overlay(Template { id: None, .. }) => {
                let message = "an overlay needs a template with a name, by which the pool keeps it";
                return Err(PoolError::new(ErrorKind::InvalidRequest, operation, message));
            }
            VolumeContent::Overlay(_) => return Ok(VolumeFile::overlay(request.key)),
            _ => {
                let message = format!("pool {pool} makes no volumes with such content");
                return Err(PoolError::unsupported(operation, message));
            }
        };
        admitted.map_err(|e| PoolError::endpoint(operation, format!("pool {pool}"), e))?;
        Ok(VolumeFile::new(request.format, request.key))
    }

    fn make(
        &self,
        errand: &Errand<'_>,
        file: VolumeFile,
        request: &CreateVolume<'_>,
    ) -> Result<DiskFacts, PoolError> {
        let location = file.location(&self.config.directory, request.volume);
        let reserved = self
            .account
            .reserve(errand, file.name(request.volume), request.guest)?;
        let create = |content| {
            let (path, key) = (location.path(), protection(request.key));
            errand.disk(
                file,
                CreateDisk::new(path, request.format, request.guest, key, content),
            )
        };
        let keep = |id: &TemplateId, of: &Template<'_>| errand.keep(&self.claims, id, of, request.guest);
        let facts = match request.content {
            VolumeContent::Blank => create(DiskContent::Blank)?,
            VolumeContent::Template(of @ Template { id: Some(id), .. }) => {
                let kept = keep(id, &of)?;
                errand.room(&kept.facts)?;
                // The host compares the stamp, so that nobody writes to the copy between its proof and the end of this one.
                create(DiskContent::Template(
                    kept.image.source().stamped(kept.facts.stamp),
                ))?
            }
            VolumeContent::Template(Template { image, .. }) => {
                match errand.image(image) {
                    // Whoever copies it says that it is not there.
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    facts => errand.room(&facts?)?,
                }
                create(DiskContent::Template(image))?
            }
            VolumeContent::Overlay(of @ Template { id: Some(id), .. }) => {
                let kept = keep(id, &of)?;
                let facts = create(DiskContent::Overlay(kept.image.source()))?;
                lies_on(errand, &facts, &kept.image)?;
                facts
            }
            VolumeContent::Copy(disk) => {
                errand.room_for(&disk)?;
                create(DiskContent::Copy(disk))?
            }
            VolumeContent::Declassified(disk, why) => {
                errand.room_for(&disk)?;
                create(DiskContent::Declassified(disk, why))?
            }
            _ => {
                let message = "this pool makes no volumes with such content";
                return Err(errand.error(ErrorKind::Unsupported, message));
            }
        };
        if let Some(reserved) = reserved {
            reserved.keep();
        }
        Ok(facts)
    }

    /// A copy of another volume through both ciphers.
    pub(crate) fn clone_as(
        &self,
        cx: &OpContext<'_>,
        request: &CloneVolume<'_>,
    ) -> Result<Volume, PoolError> {
        const CLONE: &str = "clone_volume";
        let pool = &self.config.pool;
        let invalid = |message: String| Err(PoolError::new(ErrorKind::InvalidRequest, CLONE, message));
        let CloneKey::Own(key) = request.key else {
            let message = format!("pool {pool} gives every clone a key of its own");
            return Err(PoolError::unsupported(CLONE, message));
        };
        if request.source == request.volume {
            return invalid(format!("volume {} cannot be a clone of itself", request.volume));
        }
        let (errand, file, facts) = self.open_volume(cx, CLONE, request.source, request.source_key)?;
        if matches!(key, VolumeKey::Encrypted(_)) != file.encrypted {
            return invalid(format!(
                "volume {} is {file}; a clone is on the same side of the cipher",
                request.source
            ));
        }
        errand.sound_base(&facts)?;
        errand.room(&facts)?;
        let base = facts.base.as_ref().map(BaseImage::source);
        let source = Disk::new(&facts.location, file.format, protection(request.source_key)).on(base);
        let content = VolumeContent::Copy(source);
        let create = CreateVolume::new(request.volume, facts.guest, file.format, key, content);
        self.create_as(cx, CLONE, &create)
    }
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

/// The volume that is there, if it is the one that is asked for and its key opens it. Whether it lies on a template is a matter of
/// its content, which is not compared.
fn same(
    errand: &Errand<'_>,
    request: &CreateVolume<'_>,
    (there, facts): (VolumeFile, DiskFacts),
) -> Result<DiskFacts, PoolError> {
    let file = VolumeFile::new(request.format, request.key);
    let kind = (there.format, there.encrypted) == (file.format, file.encrypted);
    if !kind || facts.guest != request.guest {
        let message = format!(
            "volume {} is there already, {there} of {} bytes",
            request.volume,
            facts.guest.get()
        );
        return Err(errand.error(ErrorKind::AlreadyExists, &message));
    }
    let base = facts.base.as_ref().map(BaseImage::source);
    let disk = Disk::new(&facts.location, request.format, protection(request.key)).on(base);
    errand.disk(there, VerifyDisk::new(disk))
}

fn lies_on(errand: &Errand<'_>, facts: &DiskFacts, template: &BaseImage) -> Result<(), PoolError> {
    if facts.base.as_ref() == Some(template) {
        return Ok(());
    }
    let message = format!(
        "{} came out on {:?} and not on {}",
        facts.location,
        facts.base.as_ref().map(|base| base.path.display().to_string()),
        template.path.display()
    );
    Err(errand.error(ErrorKind::Tool, &message))
}

fn source_of<'a, 'k>(content: &'a VolumeContent<'k>) -> Option<&'a Disk<'k>> {
    match content {
        VolumeContent::Copy(disk) | VolumeContent::Declassified(disk, _) => Some(disk),
        _ => None,
    }
}

/// What a host must be able to do to read a disk with its key.
fn capability_for(disk: &Disk<'_>) -> Capability {
    match (disk.protection.format(), disk.format, disk.base) {
        (None, ..) => Capability::PlainImages,
        (Some(_), DiskFormat::Qcow2, Some(_)) => Capability::EncryptedOverlay,
        (Some(_), DiskFormat::Qcow2, None) => Capability::Qcow2Luks,
        (Some(EncryptionFormat::Luks1), DiskFormat::Raw, _) => Capability::RawLuks1,
        (Some(EncryptionFormat::Luks2), DiskFormat::Raw, _) => Capability::Luks2,
    }
}
