//! The plain copies of templates that a pool keeps in a directory of its own.

use std::path::PathBuf;

use strongroom_endpoint_selector::{
    BaseImage, CreateDisk, DeleteDisk, Disk, DiskContent, DiskFacts, HostAnswer, InspectDisk, MakeDirectory,
    Protection,
};
use strongroom_storage_pool::{DiskLocation, ErrorKind, PoolError, SourceImage, Template};
use strongroom_types::{ByteSize, DiskFormat, GuestSize, Interrupted, TemplateId};

use crate::errand::Errand;
use crate::template_claim::{Claim, TemplateClaims};
use crate::volume_file::{VolumeFile, template_name, template_of};

const FORMATS: [DiskFormat; 2] = [DiskFormat::Raw, DiskFormat::Qcow2];

/// A kept copy, which nobody removes while this lives.
#[derive(Debug)]
pub(crate) struct Kept<'c> {
    pub(crate) image: BaseImage,
    pub(crate) facts: DiskFacts,
    _claim: Claim<'c>,
}

impl Errand<'_> {
    /// The copy of a template, made from its image if there is none yet, and compared with what the template is known to hold before it
    /// has its name. A copy that is there is taken whatever the image holds now.
    pub(crate) fn keep<'c>(
        &self,
        claims: &'c TemplateClaims,
        template: &TemplateId,
        of: &Template<'_>,
        guest: GuestSize,
    ) -> Result<Kept<'c>, PoolError> {
        self.templates()?;
        let claim = claims
            .share(self.call, template)
            .map_err(|e| self.interrupted(template, e))?;
        if let Some(facts) = self.kept(template)? {
            return self.ready(facts, claim, guest);
        }
        drop(claim);
        let claim = claims
            .alone(self.call, template)
            .map_err(|e| self.interrupted(template, e))?;
        let facts = match self.kept(template)? {
            Some(facts) => facts,
            None => self.copy(template, of, guest)?,
        };
        self.ready(facts, claim.share(), guest)
    }

    fn ready<'c>(&self, facts: DiskFacts, claim: Claim<'c>, guest: GuestSize) -> Result<Kept<'c>, PoolError> {
        self.fits(&facts, guest)?;
        let image = BaseImage::new(facts.location.path(), facts.format);
        Ok(Kept {
            image,
            facts,
            _claim: claim,
        })
    }

    fn interrupted(&self, template: &TemplateId, error: Interrupted) -> PoolError {
        let kind = match error {
            Interrupted::Cancelled => ErrorKind::Cancelled,
            Interrupted::Deadline => ErrorKind::Deadline,
        };
        let message = format!("somebody else works with the copy of template {template}");
        self.error(kind, &message).with_source(error)
    }

    /// The directory of the copies, which is there afterwards and no symlink.
    pub(crate) fn templates(&self) -> Result<PathBuf, PoolError> {
        let path = self.config.templates();
        match self.run(MakeDirectory::new(&path))? {
            HostAnswer::Done => Ok(path),
            other => Err(self.strange(&other)),
        }
    }

    fn template_location(&self, template: &TemplateId, format: DiskFormat) -> DiskLocation {
        DiskLocation::file(self.config.templates().join(template_name(template, format)))
    }

    /// What is kept of a template. Only a plain image that stands alone is one.
    fn kept(&self, template: &TemplateId) -> Result<Option<DiskFacts>, PoolError> {
        for format in FORMATS {
            let location = self.template_location(template, format);
            match self.plain(&location, format) {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                found => return found.map(Some),
            }
        }
        Ok(None)
    }

    fn plain(&self, location: &DiskLocation, format: DiskFormat) -> Result<DiskFacts, PoolError> {
        match self.run(InspectDisk::new(location, format, None))? {
            HostAnswer::Disk(facts) if facts.encryption.is_none() && facts.base.is_none() => Ok(facts),
            other => Err(self.strange(&other)),
        }
    }

    fn copy(
        &self,
        template: &TemplateId,
        of: &Template<'_>,
        guest: GuestSize,
    ) -> Result<DiskFacts, PoolError> {
        let image = of.image;
        let facts = self.image(image)?;
        self.fits(&facts, guest)?;
        self.room(&facts)?;
        let to = self.template_location(template, image.format);
        let content = DiskContent::Template(image);
        let create = CreateDisk::new(to.path(), image.format, facts.guest, Protection::Plain, content);
        match self.run(create.digest(of.digest)) {
            Ok(HostAnswer::Disk(facts)) => Ok(facts),
            Ok(other) => Err(self.strange(&other)),
            // Another program was faster; the image under a name never changes.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => self.kept(template)?.ok_or(e),
            Err(e) => Err(e),
        }
    }

    /// What an image from outside is, before anything is copied from it.
    pub(crate) fn image(&self, image: SourceImage<'_>) -> Result<DiskFacts, PoolError> {
        let source = DiskLocation::file(image.path);
        self.plain(&source, image.format).map_err(|e| match e.kind() {
            ErrorKind::WrongDisk => {
                let message = format!("{source} is no plain {} image that stands alone", image.format);
                self.error(ErrorKind::UntrustedImage, &message).with_source(e)
            }
            _ => e,
        })
    }

    fn fits(&self, template: &DiskFacts, guest: GuestSize) -> Result<(), PoolError> {
        if template.guest <= guest {
            return Ok(());
        }
        let message = format!(
            "the template {} has {} bytes, the volume only {}; ask for a volume that is at least as large",
            template.location,
            template.guest.get(),
            guest.get()
        );
        Err(self.error(ErrorKind::InvalidRequest, &message))
    }

    /// Whether what a disk takes fits beside what is there. A copy that is going to fail would take the space of the others first.
    pub(crate) fn room(&self, source: &DiskFacts) -> Result<(), PoolError> {
        let free = self.directory.free;
        if source.allocated <= free {
            return Ok(());
        }
        let message = format!(
            "{} takes {}, and {free} are free in {}",
            source.location,
            source.allocated,
            self.config.directory.display()
        );
        Err(self.error(ErrorKind::NoSpace, &message))
    }

    /// The same for the content of a disk, with what it reads from its base. Of a device nobody knows how much of it holds anything.
    pub(crate) fn room_for(&self, disk: &Disk<'_>) -> Result<(), PoolError> {
        if let DiskLocation::Block(_) = disk.location {
            return Ok(());
        }
        let base_in = disk.base.as_ref().and_then(|base| base.path.parent());
        let inspect = InspectDisk::new(disk.location, disk.format, disk.protection.format()).base_in(base_in);
        let mut facts = match self.run(inspect)? {
            HostAnswer::Disk(facts) => facts,
            other => return Err(self.strange(&other)),
        };
        if let Some(base) = &disk.base {
            let below = self.plain(&DiskLocation::file(base.path), base.format)?;
            facts.allocated = ByteSize::bytes(facts.allocated.get().saturating_add(below.allocated.get()));
        }
        self.room(&facts)
    }

    /// Removes the copy of a template, unless a volume lies on it.
    pub(crate) fn forget(&self, claims: &TemplateClaims, template: &TemplateId) -> Result<(), PoolError> {
        let _alone = claims
            .alone(self.call, template)
            .map_err(|e| self.interrupted(template, e))?;
        self.templates()?;
        // What has the name and is no template goes too, if nothing lies on it. Where nothing has it, a volume may still lie on what was
        // there.
        let gone = matches!(self.kept(template), Ok(None));
        for name in self.names(&self.config.directory)? {
            let Some((id, file)) = VolumeFile::of_name(&name).filter(|(_, file)| file.overlay) else {
                continue;
            };
            let facts = match self.inspect(file, &id) {
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) if gone && e.kind() == ErrorKind::WrongDisk => {
                    let message = format!(
                        "the copy of template {template} is not there, and volume {id} lies on one that cannot be read: put it back \
                         from a copy, or delete the volume"
                    );
                    return Err(self.error(ErrorKind::Busy, &message).with_source(e));
                }
                facts => facts?,
            };
            let base = template_of(&facts).map_err(|problem| self.error(ErrorKind::WrongDisk, &problem))?;
            if base.as_ref() == Some(template) {
                let message = format!(
                    "volume {id} reads from template {template}; flatten it or delete it before the template"
                );
                return Err(self.error(ErrorKind::Busy, &message));
            }
        }
        if gone {
            return Ok(());
        }
        for format in FORMATS {
            self.run(DeleteDisk::new(self.template_location(template, format).path()))?;
        }
        Ok(())
    }
}
