use std::path::Path;

use strongroom_endpoint_selector::{
    CompareContent, ContentDigest, ContentSource, DigestContent, Disk, DiskFacts, DiskLocation, HostAnswer,
    HostCommand, InspectDisk, Need, Sameness,
};
use strongroom_storage_pool::{
    CreateVolume, ErrorKind, OpContext, PoolError, SourceImage, Template, VolumeContent, VolumeKey,
};
use strongroom_types::{Capability, DiskFormat, GuestSize, TemplateId, VolumeId};

use crate::errand::{Errand, Purpose, storage_failed};
use crate::kind::Kind;
use crate::{BlockPool, BlockStorage, Claim, Provided, Stage};

/// How the storage's name of the device of a template begins. No volume has such a name.
const KEPT: &str = "kept-template-";

/// The name by which the storage knows the device of a template; `None` when there can be none.
pub(crate) fn device_of(template: &TemplateId) -> Option<VolumeId> {
    format!("{KEPT}{template}").parse().ok()
}

/// The template that has this device.
pub(crate) fn template_on(device: &VolumeId) -> Option<TemplateId> {
    device.as_str().strip_prefix(KEPT)?.parse().ok()
}

/// Whether a name is that of the device of a template.
pub(crate) fn is_template(device: &VolumeId) -> bool {
    device.as_str().starts_with(KEPT)
}

/// The device of a template, which nobody removes while this lives.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) provided: Provided,
    _claim: Claim,
}

impl<S: BlockStorage> BlockPool<S> {
    /// Fails for a name that a template may have.
    pub(crate) fn is_no_template(&self, operation: &'static str, volume: &VolumeId) -> Result<(), PoolError> {
        if !is_template(volume) {
            return Ok(());
        }
        let message = format!("{volume} is a name for the device of a template; give the volume another one");
        Err(self.error(ErrorKind::InvalidRequest, operation, &message))
    }

    /// Whether this pool makes such an overlay.
    pub(crate) fn may_lie(
        &self,
        operation: &'static str,
        request: &CreateVolume<'_>,
        template: &Template<'_>,
    ) -> Result<(), PoolError> {
        if request.format != DiskFormat::Qcow2 {
            let message = format!("makes no {} overlays; ask for qcow2", request.format);
            return Err(self.error(ErrorKind::Unsupported, operation, &message));
        }
        self.device_name(operation, template).map(drop)
    }

    fn device_name(&self, operation: &'static str, template: &Template<'_>) -> Result<VolumeId, PoolError> {
        let invalid = |message: &str| self.error(ErrorKind::InvalidRequest, operation, message);
        let Some(id) = template.id else {
            return Err(invalid(
                "an overlay needs a template with a name, by which the pool keeps it",
            ));
        };
        device_of(id).ok_or_else(|| {
            invalid(&format!(
                "the name {id} of the template is too long to keep it by"
            ))
        })
    }

    /// The device of a template, made from its image if there is none yet. One that is there is taken whatever the image holds now, if
    /// it holds what is known of the template: it is read for that, since nothing says when somebody last wrote to a device.
    pub(crate) fn keep(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        template: &Template<'_>,
        guest: GuestSize,
    ) -> Result<Kept, PoolError> {
        let device = self.device_name(operation, template)?;
        let claim = self.claim(cx, operation, &device)?;
        let there = self.find(cx, operation, &device)?;
        let provided = match there.filter(|there| there.label.stage == Stage::Ready) {
            Some(there) => {
                self.still_holds(cx, operation, &device, &there, template)?;
                there
            }
            None => {
                let size = self.image_size(cx, operation, template.image)?;
                self.fits(operation, template.image.path, size, guest)?;
                let image = Template::unnamed(template.image).holding(template.digest);
                let content = VolumeContent::Template(image);
                let request = CreateVolume::new(&device, size, DiskFormat::Qcow2, VolumeKey::Plain, content);
                self.create_claimed(cx, operation, &request, None)?;
                self.ready(cx, operation, &device)?
            }
        };
        self.fits(operation, template.image.path, provided.label.guest, guest)?;
        Ok(Kept {
            provided,
            _claim: claim,
        })
    }

    fn still_holds(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        device: &VolumeId,
        there: &Provided,
        template: &Template<'_>,
    ) -> Result<(), PoolError> {
        let Some(digest) = template.digest else {
            return Ok(());
        };
        let (kind, guest) = (Kind::of(&there.label), there.label.guest);
        let purpose = Purpose::reading(operation, device, there);
        self.on_host(cx, purpose, kind.need(Need::any()), |errand| {
            let location = kind
                .location(&errand.device, guest)
                .map_err(self.unfit(operation))?;
            let disk = kind.disk(&location, VolumeKey::Plain);
            errand.holds(disk, guest, digest).map_err(|e| match e.kind() {
                ErrorKind::UntrustedImage => {
                    let message = format!(
                        "{device} is damaged or another installation's; nothing is made on it: flatten or delete the volumes that lie \
                         on it, remove the template and add it again"
                    );
                    errand.error(ErrorKind::UntrustedImage, &message).with_source(e)
                }
                _ => e,
            })
        })
    }

    fn ready(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        device: &VolumeId,
    ) -> Result<Provided, PoolError> {
        self.find(cx, operation, device)?
            .filter(|provided| provided.label.stage == Stage::Ready)
            .ok_or_else(|| {
                let message = format!("{device} went while it was made");
                self.error(ErrorKind::NotFound, operation, &message)
            })
    }

    /// How large the content of an image is, which may be anybody's.
    fn image_size(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        image: SourceImage<'_>,
    ) -> Result<GuestSize, PoolError> {
        let need = Need::any()
            .reaching(self.storage.pool().clone())
            .able_to(Capability::PlainImages);
        let endpoint = cx
            .endpoints
            .select(&need)
            .map_err(|e| PoolError::no_host(operation, e))?;
        let location = DiskLocation::file(image.path);
        let command = HostCommand::from(InspectDisk::new(&location, image.format, None));
        match endpoint.run(cx.call, &command) {
            Ok(HostAnswer::Disk(DiskFacts {
                encryption: None,
                base: None,
                guest,
                ..
            })) => Ok(guest),
            Ok(_) => {
                let message = format!("{location} is no plain {} image that stands alone", image.format);
                Err(self.error(ErrorKind::UntrustedImage, operation, &message))
            }
            Err(e) if e.kind() == ErrorKind::WrongDisk => {
                let message = format!("{location} is no plain {} image that stands alone", image.format);
                let error = self.error(ErrorKind::UntrustedImage, operation, &message);
                Err(error.with_source(e))
            }
            Err(e) => {
                let at = format!("pool {} on host {}", self.storage.pool(), endpoint.host().id);
                Err(PoolError::endpoint(operation, at, e))
            }
        }
    }

    fn fits(
        &self,
        operation: &'static str,
        template: &Path,
        has: GuestSize,
        guest: GuestSize,
    ) -> Result<(), PoolError> {
        if has <= guest {
            return Ok(());
        }
        let message = format!(
            "the template {} has {} bytes, the volume only {}; ask for a volume that is at least as large",
            template.display(),
            has.get(),
            guest.get()
        );
        Err(self.error(ErrorKind::InvalidRequest, operation, &message))
    }

    /// Removes the device of a template, unless a volume lies on it, or did when a snapshot of it was taken.
    pub(crate) fn forget(&self, cx: &OpContext<'_>, template: &TemplateId) -> Result<(), PoolError> {
        const FORGET: &str = "forget_template";
        let Some(device) = device_of(template) else {
            return Ok(());
        };
        let _claim = self.claim(cx, FORGET, &device)?;
        let Some(provided) = self.find(cx, FORGET, &device)? else {
            return Ok(());
        };
        let volumes = self
            .storage
            .volumes(cx.call)
            .map_err(|e| storage_failed(&self.storage, FORGET, e))?;
        for volume in volumes.iter().filter(|volume| !is_template(volume)) {
            let Some(other) = self.find(cx, FORGET, volume)? else {
                continue;
            };
            let mut labels = std::iter::once(&other.label).chain(other.snapshots.values());
            if labels.any(|label| label.lies_on(&provided.label)) {
                let message = format!(
                    "volume {volume} or a snapshot of it reads from template {template}; flatten it or delete it before the template"
                );
                return Err(self.error(ErrorKind::Busy, FORGET, &message));
            }
        }
        self.clear(cx, FORGET, &device, &provided)
    }
}

impl Errand<'_> {
    /// Fails when a disk has not the content that it was made from.
    pub(crate) fn identical(&self, disk: Disk<'_>, with: ContentSource<'_>) -> Result<(), PoolError> {
        match self.run(CompareContent::new(disk, with))? {
            HostAnswer::Compared(Sameness::Identical) => Ok(()),
            HostAnswer::Compared(Sameness::Different) => {
                let message = format!("{} came out with another content than its image", disk.location);
                Err(self.error(ErrorKind::Tool, &message))
            }
            other => Err(self.strange(&other)),
        }
    }

    /// Fails when the disk of a template holds something else than is known of the template.
    pub(crate) fn holds(
        &self,
        disk: Disk<'_>,
        guest: GuestSize,
        expected: ContentDigest,
    ) -> Result<(), PoolError> {
        let other = |found: &str| {
            let message = format!(
                "{}: {found}, not {expected} of {} bytes; it is not what was recorded",
                disk.location,
                expected.bytes.get()
            );
            Err(self.error(ErrorKind::UntrustedImage, &message))
        };
        if expected.bytes > guest {
            return other(&format!("its content has {} bytes", guest.get()));
        }
        match self.run(DigestContent::new(disk).first(Some(expected.bytes)))? {
            HostAnswer::Digest(found) if found == expected => Ok(()),
            HostAnswer::Digest(found) => other(&format!("its content has the SHA-256 {found}")),
            other => Err(self.strange(&other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_of_a_template_says_which_template_it_has() {
        let template: TemplateId = "debian-12".parse().unwrap();
        let device = device_of(&template).unwrap();
        assert_eq!(template_on(&device), Some(template));
        assert!(is_template(&device));
        let volume = "debian-12".parse().unwrap();
        assert_eq!((is_template(&volume), template_on(&volume)), (false, None));
        let longest: TemplateId = "t".repeat(50).parse().unwrap();
        assert_eq!(template_on(&device_of(&longest).unwrap()), Some(longest));
        assert_eq!(device_of(&"t".repeat(51).parse().unwrap()), None);
    }
}
