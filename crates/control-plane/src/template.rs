use std::path::PathBuf;

use strongroom_endpoint_selector::{DiskLocation, HostAnswer, InspectDisk, Need, Protection};
use strongroom_storage_pool::Disk;
use strongroom_types::{Call, Capability, DiskFormat, GuestSize, TemplateId};

use crate::content::absolute;
use crate::digest::digest_of;
use crate::host_work::{odd_answer, run};
use crate::{ControlPlane, ControlPlaneError, pool, template_table};

/// A template that is to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewTemplate {
    /// Its name.
    pub id: TemplateId,
    /// The absolute path of its image, on every host that is to make volumes from it. Somebody untrusted may have made the image.
    pub path: PathBuf,
    /// The image's format. It is said, never probed.
    pub format: DiskFormat,
}

impl NewTemplate {
    /// A template with all there is to know of it.
    #[must_use]
    pub fn new(id: TemplateId, path: impl Into<PathBuf>, format: DiskFormat) -> Self {
        Self {
            id,
            path: path.into(),
            format,
        }
    }
}

/// A plain image to make volumes from. What is under a name never changes: another content has another name.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TemplateRecord {
    /// Its name.
    pub id: TemplateId,
    /// Where its image is.
    pub path: PathBuf,
    /// The image's format.
    pub format: DiskFormat,
    /// What a guest would see of it.
    pub size: GuestSize,
    /// The SHA-256 of what a guest would read, as it was when the template was added, in hexadecimal.
    pub sha256: String,
    /// Its removal began and has not ended: a pool may still have a copy. Removing it again goes on.
    pub removing: bool,
}

impl ControlPlane {
    /// Adds a template, after a host has read its image: the size and the digest of the content are recorded, so that a volume can
    /// be compared with them when the image is not what it was.
    ///
    /// # Errors
    /// [`Taken`](ControlPlaneError::Taken), [`RelativePath`](ControlPlaneError::RelativePath),
    /// [`NoHost`](ControlPlaneError::NoHost), [`Host`](ControlPlaneError::Host) when there is no such image, or it is not what it is
    /// said to be, or not allowed.
    pub fn add_template(&self, call: &Call, new: &NewTemplate) -> Result<TemplateRecord, ControlPlaneError> {
        absolute(&new.path)?;
        if self.templates()?.iter().any(|there| there.id == new.id) {
            return Err(template_table::taken(&new.id));
        }
        tracing::debug!(template = %new.id, "add a template");
        let action = format!("read template {}", new.id);
        let endpoint = self.select(&Need::any().able_to(Capability::PlainImages), &action)?;
        let location = DiskLocation::file(&new.path);
        // The image may be anybody's: it is looked at by the reader that trusts nothing before its content is read.
        let look = InspectDisk::new(&location, new.format, None);
        let facts = match run(endpoint.as_ref(), call, &action, &look.into())? {
            HostAnswer::Disk(facts) => facts,
            _ => return Err(odd_answer(endpoint.as_ref(), &action)),
        };
        let image = Disk::new(&location, new.format, Protection::Plain);
        let digest = digest_of(endpoint.as_ref(), call, &action, image, None)?;
        let record = TemplateRecord {
            id: new.id.clone(),
            path: new.path.clone(),
            format: new.format,
            size: facts.guest,
            sha256: digest.to_string(),
            removing: false,
        };
        self.transact("record a template", |transaction| {
            template_table::insert(transaction, &record)
        })?;
        Ok(record)
    }

    /// Every template, by id.
    ///
    /// # Errors
    /// [`ControlPlaneError::Store`], [`ControlPlaneError::DamagedRow`].
    pub fn templates(&self) -> Result<Vec<TemplateRecord>, ControlPlaneError> {
        self.read("list templates", template_table::list)
    }

    /// Removes a template, and what pools keep of it. Its image stays where it is.
    ///
    /// From the beginning on no volume is made from it. When a pool cannot remove its copy now, the template stays, as
    /// [`removing`](TemplateRecord::removing); this again, or [`recover`](Self::recover), goes on.
    ///
    /// # Errors
    /// [`Unknown`](ControlPlaneError::Unknown), [`TemplateInUse`](ControlPlaneError::TemplateInUse) while a volume reads from it or is
    /// being made from it, [`Pool`](ControlPlaneError::Pool).
    pub fn remove_template(&self, call: &Call, id: &TemplateId) -> Result<(), ControlPlaneError> {
        tracing::debug!(template = %id, "remove a template");
        self.transact("record that a template is going", |transaction| {
            template_table::set_removing(transaction, id)
        })?;
        let pools = self.read("list copies of a template", |connection| {
            template_table::copies(connection, id)
        })?;
        for pool in pools {
            self.driver(&pool)?
                .forget_template(&self.context(call), id)
                .map_err(pool::failed(&pool, format!("forget template {id}")))?;
            self.transact("record that a copy of a template is gone", |transaction| {
                template_table::remove_copy(transaction, id, &pool)
            })?;
        }
        self.transact("forget a template", |transaction| {
            template_table::remove(transaction, id)
        })
    }

    /// Goes on with the removals that earlier processes began. One that fails stays, and hinders nothing.
    pub(crate) fn finish_template_removals(&self, call: &Call) -> Result<(), ControlPlaneError> {
        for template in self.templates()?.into_iter().filter(|t| t.removing) {
            if let Err(error) = self.remove_template(call, &template.id) {
                tracing::warn!(template = %template.id, error = %error.chain(), "not removed; the next start tries again");
            }
        }
        Ok(())
    }
}
