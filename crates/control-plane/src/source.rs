//! What a new disk is to hold, apart from copies of other disks.

use strongroom_storage_pool::{SourceImage, Template, VolumeContent};
use strongroom_types::{Call, TemplateId};

use crate::content::{TemplateImage, absolute};
use crate::digest::same;
use crate::placement::Filling;
use crate::{ControlPlane, ControlPlaneError, TemplateRecord, VolumeRecord, template_table};

/// What a new volume holds at first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum NewContent {
    /// Nothing. An encrypted raw volume reads as noise, every other as zeros.
    #[default]
    Blank,
    /// The content of an image from outside, of which nothing is kept.
    Image(TemplateImage),
    /// A full copy of a template. The volume does not depend on it. The pool may keep the template, to make more volumes from it.
    Template(TemplateId),
    /// Nothing of its own: it reads as the template until something is written. It is made at once and takes no room, and it depends
    /// on the template until it is [flattened](ControlPlane::flatten_volume). Of an encrypted one only what is written is encrypted:
    /// what it reads from the template lies in clear in the pool, and whoever sees the pool sees which parts were never written. So
    /// this is for templates that are no secret.
    Overlay(TemplateId),
}

/// The same with what is recorded of it.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    Blank,
    Image(&'a TemplateImage),
    Template(TemplateRecord),
    Overlay(TemplateRecord),
}

impl Source<'_> {
    /// What the pool is asked for.
    pub(crate) fn content(&self) -> VolumeContent<'_> {
        match self {
            Self::Blank => VolumeContent::Blank,
            Self::Image(image) => {
                VolumeContent::Template(Template::unnamed(SourceImage::new(&image.path, image.format)))
            }
            Self::Template(template) => VolumeContent::Template(named(template)),
            Self::Overlay(template) => VolumeContent::Overlay(named(template)),
        }
    }

    /// What the pool must be able to do.
    pub(crate) fn filling(&self) -> Filling {
        match self {
            Self::Blank => Filling::Blank,
            Self::Image(_) | Self::Template(_) => Filling::Template,
            Self::Overlay(_) => Filling::Overlay,
        }
    }

    /// The template that it is made from.
    pub(crate) fn template(&self) -> Option<&TemplateRecord> {
        match self {
            Self::Blank | Self::Image(_) => None,
            Self::Template(template) | Self::Overlay(template) => Some(template),
        }
    }

    /// The template that the volume depends on once it is made.
    pub(crate) fn lies_on(&self) -> Option<TemplateId> {
        match self {
            Self::Overlay(template) => Some(template.id.clone()),
            _ => None,
        }
    }
}

fn named(template: &TemplateRecord) -> Template<'_> {
    Template::named(&template.id, SourceImage::new(&template.path, template.format))
}

impl ControlPlane {
    /// Looks up what is recorded of a content.
    pub(crate) fn source<'a>(&self, content: &'a NewContent) -> Result<Source<'a>, ControlPlaneError> {
        let template = |id| {
            self.read("read a template", |connection| {
                template_table::get(connection, id)
            })
        };
        Ok(match content {
            NewContent::Blank => Source::Blank,
            NewContent::Image(image) => {
                absolute(&image.path)?;
                Source::Image(image)
            }
            NewContent::Template(id) => Source::Template(template(id)?),
            NewContent::Overlay(id) => Source::Overlay(template(id)?),
        })
    }

    /// Reads a new volume back and compares it with the digest that its template had when it was added.
    pub(crate) fn prove_template(
        &self,
        call: &Call,
        record: &VolumeRecord,
        source: &Source<'_>,
    ) -> Result<(), ControlPlaneError> {
        let Some(template) = source.template() else {
            return Ok(());
        };
        let now = self.digest(call, record, Some(template.size))?;
        let of = format!("template {}", template.id);
        same(record, &template.sha256, &now.to_string(), &of)
    }
}
