use std::path::Path;

use strongroom_types::{DiskFormat, Geometry, GuestSize, PayloadOffset};

use super::State;
use super::content::{Content, Matter};
use super::disk::{FakeDisk, error};
use crate::{
    BaseImage, ContentSource, CreateDisk, Disk, DiskContent, DiskFacts, DiskLocation, EndpointError,
    ErrorKind, FormatDevice, FormatQcow2, HostAnswer, InspectDisk, Protection, ReplaceContent, SourceImage,
};

impl State {
    pub(super) fn create(
        &mut self,
        name: &'static str,
        c: &CreateDisk<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        c.content.admit(name, c.protection)?;
        if self.is_taken(c.path) {
            let message = format!("{} is there already and stays", c.path.display());
            return Err(error(ErrorKind::AlreadyExists, name, message));
        }
        let location = DiskLocation::file(c.path);
        let key = self.fingerprint(c.protection);
        let mut disk = FakeDisk::new(name, location, c.format, c.guest, c.protection, key)?;
        match c.content {
            DiskContent::Blank => {}
            DiskContent::Template(image) => self.fill(name, &mut disk, &image.into())?,
            DiskContent::Copy(from) | DiskContent::Declassified(from, _) => {
                self.fill(name, &mut disk, &from.into())?;
            }
            DiskContent::Overlay(image) if c.format == DiskFormat::Qcow2 => {
                self.fill(name, &mut disk, &image.into())?;
                disk.set_base(Some(BaseImage::new(image.path, image.format)));
            }
            DiskContent::Overlay(_) => {
                let message = "a raw disk lies on no image; use qcow2";
                return Err(error(ErrorKind::Unsupported, name, message));
            }
        }
        if let Some(expected) = c.digest
            && disk.content.first(expected.bytes.get()).digest() != expected.sha256
        {
            let message = format!("{} would not hold what was recorded", c.path.display());
            return Err(error(ErrorKind::UntrustedImage, name, message));
        }
        let facts = disk.facts();
        self.gone.remove(c.path);
        self.disks.insert(c.path.to_owned(), disk);
        Ok(HostAnswer::Disk(facts))
    }

    pub(super) fn replace(
        &mut self,
        name: &'static str,
        c: &ReplaceContent<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        c.source.admit(name, c.disk.protection)?;
        self.free(name, c.disk.location)?;
        let mut disk = self.opened(name, &c.disk)?.clone();
        self.fill(name, &mut disk, &c.source)?;
        let facts = disk.facts();
        self.disks.insert(c.disk.location.path().to_owned(), disk);
        Ok(HostAnswer::Disk(facts))
    }

    fn fill(
        &mut self,
        name: &'static str,
        disk: &mut FakeDisk,
        source: &ContentSource<'_>,
    ) -> Result<(), EndpointError> {
        disk.readable(name)?;
        let content = self.content(name, source, disk)?;
        disk.content = content.over(&disk.content);
        Ok(())
    }

    /// What a source holds, if it fits into this disk.
    pub(super) fn content(
        &mut self,
        name: &'static str,
        source: &ContentSource<'_>,
        into: &FakeDisk,
    ) -> Result<Content, EndpointError> {
        let (content, path) = match source {
            ContentSource::Image(image) => (self.image(name, image, into.guest().get())?, image.path),
            ContentSource::Disk(from) | ContentSource::Declassified(from, _) => {
                (self.read(name, from)?, from.location.path())
            }
        };
        into.fits(name, &content, path)?;
        Ok(content)
    }

    /// What a guest reads of a disk.
    pub(super) fn read(&mut self, name: &'static str, disk: &Disk<'_>) -> Result<Content, EndpointError> {
        self.no_machine_has(name, disk.location.path())?;
        let there = self.opened(name, disk)?;
        there.readable(name)?;
        Ok(there.read())
    }

    /// What a plain image holds: that of a disk that is there, or else what its path stands for.
    fn image(
        &self,
        name: &'static str,
        image: &SourceImage<'_>,
        size: u64,
    ) -> Result<Content, EndpointError> {
        self.base_is_there(name, image.path)?;
        if let Some(disk) = self.disks.get(image.path) {
            let foreign = |e: EndpointError| EndpointError::new(ErrorKind::UntrustedImage, name, e.message());
            disk.matches(name, image.format, None).map_err(foreign)?;
            disk.lies_on(name, None).map_err(foreign)?;
            return Ok(disk.read());
        }
        let size = self.images.get(image.path).map_or(size, |size| size.get());
        Ok(Content::of(Matter::Image(image.path.to_owned()), size))
    }

    /// What a header says of an image that was added and is no disk here.
    pub(super) fn image_facts(
        &self,
        name: &'static str,
        c: &InspectDisk<'_>,
    ) -> Result<Option<DiskFacts>, EndpointError> {
        let path = c.location.path();
        let Some(size) = self.images.get(path).filter(|_| !self.disks.contains_key(path)) else {
            return Ok(None);
        };
        let size = GuestSize::new(size.get()).map_err(|e| error(ErrorKind::WrongDisk, name, e))?;
        let (location, plain) = (c.location.clone(), Protection::Plain);
        FakeDisk::new(name, location, c.format, size, plain, None).map(|disk| Some(disk.facts()))
    }

    pub(super) fn base_is_there(&self, name: &'static str, path: &Path) -> Result<(), EndpointError> {
        if self.gone.contains(path) {
            return Err(error(
                ErrorKind::NotFound,
                name,
                format!("no image at {}", path.display()),
            ));
        }
        Ok(())
    }

    pub(super) fn format(
        &mut self,
        name: &'static str,
        c: &FormatDevice<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        let protection = Protection::Luks {
            format: c.format,
            key: c.key,
        };
        self.free(name, c.location)?;
        let key = self.fingerprint(protection);
        let there = self.at(name, c.location)?;
        if there.matches(name, DiskFormat::Raw, Some(c.format)).is_ok()
            && there.volume.as_ref() == Some(c.volume)
            && there.key == key
        {
            return Ok(HostAnswer::Disk(there.facts()));
        }
        let size = blank(name, there)?.facts().device;
        let guest = Geometry::of_device(size, luks_offset(c.format))
            .map_err(|e| error(ErrorKind::InvalidRequest, name, e))?
            .guest();
        let mut disk = FakeDisk::new(name, c.location.clone(), DiskFormat::Raw, guest, protection, key)?;
        disk.volume = Some(c.volume.clone());
        let facts = disk.facts();
        self.disks.insert(c.location.path().to_owned(), disk);
        Ok(HostAnswer::Disk(facts))
    }

    pub(super) fn format_qcow2(
        &mut self,
        name: &'static str,
        c: &FormatQcow2<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        self.free(name, c.location)?;
        let key = self.fingerprint(c.protection);
        let (location, format) = (c.location.clone(), DiskFormat::Qcow2);
        let mut disk = FakeDisk::new(name, location, format, c.guest, c.protection, key)?;
        if let Some(base) = c.base {
            self.fill(name, &mut disk, &base.into())?;
            disk.set_base(Some(BaseImage::new(base.path, base.format)));
        }
        let there = self.at(name, c.location)?;
        let same = there.matches(name, format, c.protection.format()).is_ok()
            && there.lies_on(name, c.base).is_ok()
            && there.guest() == c.guest
            && there.key == key
            && there.facts().snapshots.is_empty()
            && there.content == disk.content;
        if same {
            return Ok(HostAnswer::Disk(there.facts()));
        }
        let size = blank(name, there)?.facts().device;
        disk.volume = Some(c.volume.clone());
        disk.look(name, c.location, size)?;
        let facts = disk.facts();
        self.disks.insert(c.location.path().to_owned(), disk);
        Ok(HostAnswer::Disk(facts))
    }
}

pub(super) fn blank<'d>(name: &'static str, disk: &'d FakeDisk) -> Result<&'d FakeDisk, EndpointError> {
    if disk.is_blank_from(0) {
        return Ok(disk);
    }
    let message = format!("{} is not blank and stays", disk.facts().location);
    Err(error(ErrorKind::AlreadyExists, name, message))
}

fn luks_offset(format: strongroom_types::EncryptionFormat) -> PayloadOffset {
    match format {
        strongroom_types::EncryptionFormat::Luks1 => PayloadOffset::LUKS1_CRYPTSETUP,
        strongroom_types::EncryptionFormat::Luks2 => PayloadOffset::LUKS2_CRYPTSETUP,
    }
}
