use std::path::PathBuf;

use strongroom_endpoint_selector::{FileStamp, Need};
use strongroom_types::{ByteSize, Call, Capability, DiskFormat, GuestSize, TemplateId};

use crate::content::absolute;
use crate::image::{Image, refuse_claims};
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
    /// The most that its guest may see. [`LARGEST_TEMPLATE`] at first.
    pub largest: ByteSize,
    /// A raw image that begins as another format does is meant as it is.
    pub opaque: bool,
}

/// The most that the guest of a template may see, unless it is said otherwise: 256 GiB. A template is read from end to end when it is
/// added, holes included, which at the 1 to 2 GiB a second of SHA-256 with the processor's own instructions takes a few minutes. An
/// image of a few kilobytes can say that it has 64 TiB.
pub const LARGEST_TEMPLATE: ByteSize = ByteSize::gib(256);

impl NewTemplate {
    /// A template of at most [`LARGEST_TEMPLATE`].
    #[must_use]
    pub fn new(id: TemplateId, path: impl Into<PathBuf>, format: DiskFormat) -> Self {
        Self {
            id,
            path: path.into(),
            format,
            largest: LARGEST_TEMPLATE,
            opaque: false,
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
    /// Which file its image was when it was last read from end to end; `None` when the host cannot tell, or an earlier version added it.
    pub stamp: Option<FileStamp>,
    /// Its removal began and has not ended: a pool may still have a copy. Removing it again goes on.
    pub removing: bool,
}

impl ControlPlane {
    /// Adds a template, after a host has read its image from end to end: size, digest and stamp are recorded. Every volume that is made
    /// from it gets this content, or is not made: see [`create_volume`](Self::create_volume).
    ///
    /// After an error, or when the call ends before, there is no template.
    ///
    /// # Errors
    /// [`Taken`](ControlPlaneError::Taken), [`RelativePath`](ControlPlaneError::RelativePath),
    /// [`TooLarge`](ControlPlaneError::TooLarge), [`Claims`](ControlPlaneError::Claims) when a raw image begins as another format does,
    /// [`Changing`](ControlPlaneError::Changing) when somebody writes to it meanwhile,
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
        // The image may be anybody's: it is looked at by the reader that trusts nothing before its content is read.
        let image = Image {
            endpoint: endpoint.as_ref(),
            call,
            action: &action,
            path: &new.path,
            format: new.format,
        };
        let facts = image.look()?;
        refuse_claims(&new.path, &facts, new.opaque)?;
        if facts.guest.get() > new.largest.get() {
            return Err(ControlPlaneError::TooLarge {
                path: new.path.clone(),
                size: facts.guest.get(),
                limit: new.largest.get(),
            });
        }
        let digest = image.digest(facts.stamp)?;
        let record = TemplateRecord {
            id: new.id.clone(),
            path: new.path.clone(),
            format: new.format,
            size: facts.guest,
            sha256: digest.to_string(),
            stamp: facts.stamp,
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
