use std::path::{Path, PathBuf};

use strongroom_endpoint_selector::{Declassification, Disk, DiskContent, ErrorKind, Protection};
use strongroom_types::{EncryptionFormat, GuestSize, TemplateId};

use super::volume::{FakeVolume, fingerprint};
use super::{MemoryPool, State};
use crate::{CreateVolume, PoolError, Template, VolumeContent, VolumeKey};

const CREATE: &str = "create";

/// What a new volume holds, and on which template it lies.
#[derive(Debug, Default)]
pub(super) struct Filling {
    pub(super) content: Option<PathBuf>,
    pub(super) overlay_of: Option<TemplateId>,
}

impl MemoryPool {
    /// Whether the pool makes volumes with this content, and this one may have it.
    pub(super) fn admit(&self, request: &CreateVolume<'_>) -> Result<(), PoolError> {
        let capabilities = &self.capabilities;
        let (can, what) = match request.content {
            VolumeContent::Blank => (true, "blank"),
            VolumeContent::Template(_) => (capabilities.templates, "from a template"),
            VolumeContent::Overlay(_) => (capabilities.overlays.contains(&request.format), "as overlays"),
            VolumeContent::Copy(_) => (capabilities.copies, "as copies"),
            VolumeContent::Declassified(..) => (capabilities.copies, "as declassified copies"),
        };
        let what = format!("makes no {} volumes {what}", request.format);
        self.able(CREATE, can, &what)?;
        let admitted = match request.content {
            VolumeContent::Overlay(template) if template.id.is_none() => {
                let message = "an overlay is of a template that has a name";
                return Err(PoolError::new(ErrorKind::InvalidRequest, CREATE, message));
            }
            VolumeContent::Copy(from) => DiskContent::Copy(from),
            VolumeContent::Declassified(from, why) => DiskContent::Declassified(from, why),
            _ => return Ok(()),
        };
        let into = match request.key {
            VolumeKey::Plain => Protection::Plain,
            VolumeKey::Encrypted(key) => Protection::Luks {
                format: EncryptionFormat::Luks1,
                key,
            },
        };
        let refused = |e| PoolError::endpoint(CREATE, "the volume may not have this content", e);
        admitted.admit(CREATE, into).map_err(refused)
    }

    /// What the volume is to hold, if it fits. A named template is kept from then on.
    pub(super) fn filling(
        &self,
        state: &mut State,
        request: &CreateVolume<'_>,
    ) -> Result<Filling, PoolError> {
        let mut filling = Filling::default();
        match request.content {
            VolumeContent::Blank => {}
            VolumeContent::Template(template) => {
                filling.content = Some(kept(state, template, request.guest)?);
            }
            VolumeContent::Overlay(template) => {
                filling.content = Some(kept(state, template, request.guest)?);
                filling.overlay_of = template.id.cloned();
            }
            VolumeContent::Copy(from) | VolumeContent::Declassified(from, Declassification { .. }) => {
                filling.content = self.copied(state, &from, request.guest)?;
            }
        }
        Ok(filling)
    }

    /// What a disk holds: that of the volume which was attached there, or else what its path stands for.
    fn copied(&self, state: &State, from: &Disk<'_>, guest: GuestSize) -> Result<Option<PathBuf>, PoolError> {
        let path = from.location.path();
        let volume = state.volumes.values().find(|v| self.path(v) == path);
        let Some(volume) = volume else {
            let size = state.images.get(path).map(|size| size.get());
            return fits(path, size, guest).map(|()| Some(path.to_owned()));
        };
        let key = match from.protection.key() {
            Some(key) => VolumeKey::Encrypted(key),
            None => VolumeKey::Plain,
        };
        if volume.facts.encryption.is_some() || volume.key.is_none() {
            volume.open(CREATE, fingerprint(&state.fingerprints, key))?;
        }
        fits(path, Some(volume.facts.guest.get()), guest)?;
        Ok(volume.content.clone())
    }

    /// Where a host finds a volume.
    pub(super) fn path(&self, volume: &FakeVolume) -> PathBuf {
        PathBuf::from(format!("/memory/{}/{}", self.pool, volume.facts.id))
    }
}

/// The image of a template. One that is kept under this name is it, whatever the request says.
fn kept(state: &mut State, template: Template<'_>, guest: GuestSize) -> Result<PathBuf, PoolError> {
    let known = template.id.and_then(|id| state.templates.get(id)).cloned();
    let image = known.unwrap_or_else(|| template.image.path.to_owned());
    let size = state.images.get(&image).map(|size| size.get());
    fits(&image, size, guest)?;
    if let Some(id) = template.id {
        state.templates.insert(id.clone(), image.clone());
    }
    Ok(image)
}

fn fits(path: &Path, size: Option<u64>, guest: GuestSize) -> Result<(), PoolError> {
    match size {
        Some(size) if size > guest.get() => {
            let message = format!(
                "{} has {size} bytes, the volume only {}",
                path.display(),
                guest.get()
            );
            Err(PoolError::new(ErrorKind::InvalidRequest, CREATE, message))
        }
        _ => Ok(()),
    }
}
