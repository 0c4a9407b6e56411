//! The plain copies of templates that a pool keeps in a directory of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use strongroom_endpoint_selector::{
    BaseImage, ContentDigest, CreateDisk, DeleteDisk, Disk, DiskContent, DiskFacts, HostAnswer, InspectDisk,
    MakeDirectory, Protection,
};
use strongroom_storage_pool::{DiskLocation, ErrorKind, PoolError, SourceImage, Template};
use strongroom_types::{ByteSize, DiskFormat, GuestSize, Interrupted, TemplateId, VolumeId};

use crate::errand::Errand;
use crate::template_claim::{Claim, TemplateClaims};
use crate::template_copy::{FORMATS, TemplateCopy, template_of};
use crate::volume_file::VolumeFile;

/// A kept copy, which nobody removes while this lives.
#[derive(Debug)]
pub(crate) struct Kept<'c> {
    pub(crate) image: BaseImage,
    pub(crate) facts: DiskFacts,
    _claim: Claim<'c>,
}

impl Errand<'_> {
    /// The copy of a template, made from its image if there is none yet, and compared with what the template is known to hold before it
    /// has its name. A copy that is there is taken whatever the image holds now, if it still holds what its name says; one that does not
    /// is made anew, unless a volume lies on it.
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
        if let Some((copy, facts)) = self.kept(template, of.digest)?
            && self.was_seen(&copy, &facts)?
        {
            return self.ready(facts, claim, guest);
        }
        drop(claim);
        let claim = claims
            .alone(self.call, template)
            .map_err(|e| self.interrupted(template, e))?;
        let facts = match self.kept(template, of.digest)? {
            None => self.copy(template, of, guest)?,
            Some((copy, facts)) if self.was_seen(&copy, &facts)? => facts,
            Some((copy, facts)) => match self.damage(&copy, &facts)? {
                None => facts,
                Some(found) => {
                    self.discard(&copy, &facts, of.image, &found)?;
                    self.copy(template, of, guest)?
                }
            },
        };
        self.ready(facts, claim.share(), guest)
    }

    /// Removes a damaged copy on which no volume lies, if there is an image to make another one from.
    fn discard(
        &self,
        copy: &TemplateCopy,
        facts: &DiskFacts,
        image: SourceImage<'_>,
        found: &str,
    ) -> Result<(), PoolError> {
        if let Some(volume) = self.users(&copy.template, false)?.get(&copy.name()) {
            return Err(self.damaged(facts, found, &format!("volume {volume} lies on it")));
        }
        self.image(image)?;
        tracing::warn!(pool = %self.config.pool, copy = %facts.location, "damaged, and made anew");
        self.forget_notes(copy)?;
        self.run(DeleteDisk::new(facts.location.path())).map(drop)
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

    fn template_location(&self, copy: &TemplateCopy) -> DiskLocation {
        DiskLocation::file(self.config.templates().join(copy.name()))
    }

    /// What is kept of a template that holds this. Only a plain image that stands alone is one.
    fn kept(
        &self,
        template: &TemplateId,
        digest: Option<ContentDigest>,
    ) -> Result<Option<(TemplateCopy, DiskFacts)>, PoolError> {
        for format in FORMATS {
            let copy = TemplateCopy::new(template, digest, format);
            match self.plain(&self.template_location(&copy), format) {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                found => return found.map(|facts| Some((copy, facts))),
            }
        }
        Ok(None)
    }

    pub(crate) fn plain(&self, location: &DiskLocation, format: DiskFormat) -> Result<DiskFacts, PoolError> {
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
        if let Some(expected) = of.digest.filter(|expected| expected.bytes != facts.guest) {
            let message = format!(
                "{} has {} bytes, not {}; it is not what was recorded",
                facts.location,
                facts.guest.get(),
                expected.bytes.get()
            );
            return Err(self.error(ErrorKind::UntrustedImage, &message));
        }
        let copy = TemplateCopy::new(template, of.digest, image.format);
        let to = self.template_location(&copy);
        let content = DiskContent::Template(image);
        let create = CreateDisk::new(to.path(), image.format, facts.guest, Protection::Plain, content);
        match self.run(create.digest(of.digest)) {
            Ok(HostAnswer::Disk(facts)) if of.digest.is_none() => Ok(facts),
            Ok(HostAnswer::Disk(_)) => {
                let facts = self.plain(&to, image.format)?;
                if let Some(stamp) = &facts.stamp {
                    self.note_seen(&copy, stamp);
                }
                Ok(facts)
            }
            Ok(other) => Err(self.strange(&other)),
            // Another program was faster; what is under a name with a digest was compared with it.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                self.kept(template, of.digest)?.map(|(_, facts)| facts).ok_or(e)
            }
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

    /// Removes the copies of a template on which no volume lies. There is an error when one lies on another.
    pub(crate) fn forget(&self, claims: &TemplateClaims, template: &TemplateId) -> Result<(), PoolError> {
        let _alone = claims
            .alone(self.call, template)
            .map_err(|e| self.interrupted(template, e))?;
        // What has the name and is no template goes too, if nothing lies on it. Where nothing has it, a volume may still lie on what was
        // there.
        let mut copies: Vec<_> = self
            .names(&self.templates()?)?
            .iter()
            .filter_map(|name| TemplateCopy::of_name(name))
            .filter(|copy| copy.template == *template)
            .collect();
        let gone = copies.is_empty() && matches!(self.kept(template, None), Ok(None));
        let users = self.users(template, gone)?;
        copies.extend(FORMATS.map(|format| TemplateCopy::new(template, None, format)));
        copies.retain(|copy| !users.contains_key(&copy.name()));
        for copy in &copies {
            self.forget_notes(copy)?;
            self.run(DeleteDisk::new(self.template_location(copy).path()))?;
        }
        match users.values().next() {
            None => Ok(()),
            Some(volume) => {
                let message = format!(
                    "volume {volume} reads from template {template}; flatten it or delete it before the template"
                );
                Err(self.error(ErrorKind::Busy, &message))
            }
        }
    }

    /// The names of the copies of a template on which volumes lie, each with one of them.
    fn users(&self, template: &TemplateId, gone: bool) -> Result<BTreeMap<String, VolumeId>, PoolError> {
        let mut users = BTreeMap::new();
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
            template_of(&facts).map_err(|problem| self.error(ErrorKind::WrongDisk, &problem))?;
            let base = facts.base.as_ref().and_then(TemplateCopy::of_base);
            if let Some(base) = base.filter(|base| base.template == *template) {
                users.entry(base.name()).or_insert(id);
            }
        }
        Ok(users)
    }
}
