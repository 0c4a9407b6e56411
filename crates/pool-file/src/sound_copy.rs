//! Whether a kept copy still holds what its name says. It is read once; as long as its file has the stamp that it had then, it
//! is not read again, and a note beside it tells the next program so.

use strongroom_endpoint_selector::{
    CreateDisk, DeleteDisk, DigestContent, Disk, DiskContent, DiskFacts, FileStamp, HostAnswer, Protection,
};
use strongroom_storage_pool::{DiskLocation, ErrorKind, PoolError};
use strongroom_types::{DiskFormat, GuestSize, SECTOR};

use crate::errand::Errand;
use crate::template_copy::TemplateCopy;

impl Errand<'_> {
    fn note(&self, name: &str) -> DiskLocation {
        DiskLocation::file(self.config.templates().join(name))
    }

    /// Whether the copy is known, without reading it, to hold what its name says. A copy whose name says nothing holds it.
    pub(crate) fn was_seen(&self, copy: &TemplateCopy, facts: &DiskFacts) -> Result<bool, PoolError> {
        let (Some(_), Some(stamp)) = (&copy.sha256, &facts.stamp) else {
            return Ok(copy.sha256.is_none());
        };
        match self.plain(&self.note(&copy.seen(stamp)), DiskFormat::Raw) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// What a guest reads of the copy, where that is not what its name says.
    ///
    /// An error when the file changes while it is read.
    pub(crate) fn damage(&self, copy: &TemplateCopy, facts: &DiskFacts) -> Result<Option<String>, PoolError> {
        let Some(expected) = &copy.sha256 else {
            return Ok(None);
        };
        let disk = Disk::new(&facts.location, facts.format, Protection::Plain);
        let found = match self.run(DigestContent::new(disk))? {
            HostAnswer::Digest(found) => found.to_string(),
            other => return Err(self.strange(&other)),
        };
        let after = self.plain(&facts.location, facts.format)?;
        if after.stamp != facts.stamp {
            let message = format!("{} changed while it was read; try again", facts.location);
            return Err(self.error(ErrorKind::Busy, &message));
        }
        if found != *expected {
            return Ok(Some(found));
        }
        if let Some(stamp) = &facts.stamp {
            self.note_seen(copy, stamp);
        }
        Ok(None)
    }

    /// Without the note the copy is read again the next time, so nothing hangs on it.
    pub(crate) fn note_seen(&self, copy: &TemplateCopy, stamp: &FileStamp) {
        let noted = self.forget_notes(copy).and_then(|()| {
            let (note, guest) = (self.note(&copy.seen(stamp)), GuestSize::new(SECTOR));
            let guest = guest.map_err(|e| self.error(ErrorKind::Tool, &e.to_string()))?;
            let content = DiskContent::Blank;
            self.run(CreateDisk::new(
                note.path(),
                DiskFormat::Raw,
                guest,
                Protection::Plain,
                content,
            ))
        });
        if let Err(error) = noted {
            tracing::debug!(copy = copy.name(), %error, "not noted that the copy was read");
        }
    }

    /// Removes every note on a copy.
    pub(crate) fn forget_notes(&self, copy: &TemplateCopy) -> Result<(), PoolError> {
        for name in self.names(&self.config.templates())? {
            if copy.is_noted_by(&name) {
                self.run(DeleteDisk::new(self.note(&name).path()))?;
            }
        }
        Ok(())
    }

    /// Fails for a volume that lies on a copy with another content than its name says, before that content is copied.
    pub(crate) fn sound_base(&self, volume: &DiskFacts) -> Result<(), PoolError> {
        let Some((base, copy)) = volume
            .base
            .as_ref()
            .and_then(|base| Some((base, TemplateCopy::of_base(base)?)))
        else {
            return Ok(());
        };
        let facts = self.plain(&DiskLocation::file(&base.path), base.format)?;
        if self.was_seen(&copy, &facts)? {
            return Ok(());
        }
        match self.damage(&copy, &facts)? {
            None => Ok(()),
            Some(found) => Err(self.damaged(&facts, &found, &format!("{} lies on it", volume.location))),
        }
    }

    pub(crate) fn damaged(&self, facts: &DiskFacts, found: &str, because: &str) -> PoolError {
        let message = format!(
            "{} is damaged: its content has the SHA-256 {found}, which is not what was recorded; {because}, so it stays: put the \
             copy back from the template's image, or delete the volumes that lie on it",
            facts.location
        );
        self.error(ErrorKind::UntrustedImage, &message)
    }
}
