//! What a new disk is to hold, apart from copies of other disks.

use std::sync::Arc;

use strongroom_endpoint_selector::{ContentDigest, Endpoint, FileStamp};
use strongroom_storage_pool::{ErrorKind, SourceImage, Template, Volume, VolumeContent};
use strongroom_types::{Call, Capability, TemplateId};

use crate::content::{TemplateImage, absolute};
use crate::digest::same;
use crate::host_work::capability;
use crate::image::{Image, refuse_claims};
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
    fn content(&self, stamp: Option<FileStamp>) -> VolumeContent<'_> {
        match self {
            Self::Blank => VolumeContent::Blank,
            Self::Image(image) => {
                VolumeContent::Template(Template::unnamed(SourceImage::new(&image.path, image.format)))
            }
            Self::Template(template) => VolumeContent::Template(named(template, stamp)),
            Self::Overlay(template) => VolumeContent::Overlay(named(template, stamp)),
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

fn named(template: &TemplateRecord, stamp: Option<FileStamp>) -> Template<'_> {
    let image = SourceImage::new(&template.path, template.format).stamped(stamp);
    Template::named(&template.id, image).holding(known(template))
}

/// The digest that is recorded of a template.
fn known(template: &TemplateRecord) -> Option<ContentDigest> {
    let mut sha256 = [0; 32];
    let digits = template.sha256.as_bytes().chunks(2);
    for (byte, digits) in sha256.iter_mut().zip(digits) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(ContentDigest::new(sha256, template.size))
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

    /// Has `make` make a disk that holds this, and of a template only what was recorded of it. An image that is another file than
    /// when it was last read is read once more: it still holds the same, or no disk is made from it.
    pub(crate) fn fill(
        &self,
        call: &Call,
        record: &VolumeRecord,
        source: &Source<'_>,
        make: impl Fn(VolumeContent<'_>) -> Result<Volume, ControlPlaneError>,
    ) -> Result<Volume, ControlPlaneError> {
        if let Source::Image(image) = source {
            let action = format!("read {}", image.path.display());
            let endpoint = self.reader(record, &action)?;
            let looked = Image {
                endpoint: endpoint.as_ref(),
                call,
                action: &action,
                path: &image.path,
                format: image.format,
            };
            match looked.look() {
                // Whoever copies it says that it is not there.
                Err(error) if error.kind() == Some(ErrorKind::NotFound) => {}
                facts => refuse_claims(&image.path, &facts?, image.opaque)?,
            }
        }
        let Some(template) = source.template() else {
            return make(source.content(None));
        };
        let known = match template.stamp {
            // An earlier version added it. A pool may have what it needs of an image that is not there any more.
            None => match self.read_again(call, record, template) {
                Err(error) if error.kind() == Some(ErrorKind::NotFound) => None,
                read => read?,
            },
            known => known,
        };
        match make(source.content(known)) {
            Err(error) if error.kind() == Some(ErrorKind::UntrustedImage) => {
                let stamp = self.read_again(call, record, template)?;
                if stamp == known {
                    return Err(error);
                }
                make(source.content(stamp))
            }
            made => made,
        }
    }

    fn reader(&self, record: &VolumeRecord, action: &str) -> Result<Arc<dyn Endpoint>, ControlPlaneError> {
        let abilities = [
            Capability::PlainImages,
            capability(record.format, record.encryption),
        ];
        self.host_that([&record.pool], abilities, action)
    }

    /// Reads a template's image from end to end, and records which file it is now if it still holds what it did.
    fn read_again(
        &self,
        call: &Call,
        record: &VolumeRecord,
        template: &TemplateRecord,
    ) -> Result<Option<FileStamp>, ControlPlaneError> {
        let action = format!("read template {} again", template.id);
        tracing::debug!(template = %template.id, "its image is another file than it was: read it again");
        let endpoint = self.reader(record, &action)?;
        let image = Image {
            endpoint: endpoint.as_ref(),
            call,
            action: &action,
            path: &template.path,
            format: template.format,
        };
        let changed = |change: String| ControlPlaneError::TemplateChanged {
            template: template.id.clone(),
            path: template.path.clone(),
            change,
        };
        let facts = image.look()?;
        if template.stamp.is_none() && facts.stamp.is_none() {
            return Ok(None);
        }
        if facts.guest != template.size {
            let (now, then) = (facts.guest.get(), template.size.get());
            return Err(changed(format!("its guest sees {now} bytes, not {then}")));
        }
        let digest = image.digest(facts.stamp)?.to_string();
        if digest != template.sha256 {
            let then = &template.sha256;
            return Err(changed(format!("its SHA-256 is {digest}, not {then}")));
        }
        self.transact("record which file a template is", |transaction| {
            template_table::set_stamp(transaction, &template.id, facts.stamp)
        })?;
        Ok(facts.stamp)
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
