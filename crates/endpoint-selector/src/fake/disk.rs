use std::collections::BTreeMap;
use std::path::Path;

use strongroom_types::{
    ByteSize, DeviceSize, DiskFormat, EncryptionFormat, Geometry, GuestSize, PayloadOffset, SnapshotId,
    VolumeId,
};

use super::content::{Content, Matter, noise};
use crate::{
    BaseImage, DiskFacts, DiskLocation, EndpointError, ErrorKind, Protection, SnapshotAction, SourceImage,
};

/// What the fake keeps of a disk.
#[derive(Debug, Clone)]
pub(super) struct FakeDisk {
    facts: DiskFacts,
    /// A fingerprint of the key; `None` for a plain disk, and for one whose keyslots are gone.
    pub(super) key: Option<u64>,
    /// For whom the header was written, where a device was formatted.
    pub(super) volume: Option<VolumeId>,
    pub(super) content: Content,
    snapshots: BTreeMap<SnapshotId, (GuestSize, Content)>,
}

fn payload_offset(format: DiskFormat, encryption: Option<EncryptionFormat>) -> PayloadOffset {
    match (format, encryption) {
        (DiskFormat::Raw, Some(EncryptionFormat::Luks1)) => PayloadOffset::LUKS1_CRYPTSETUP,
        (DiskFormat::Raw, Some(EncryptionFormat::Luks2)) => PayloadOffset::LUKS2_CRYPTSETUP,
        _ => PayloadOffset::NONE,
    }
}

pub(super) fn error(
    kind: ErrorKind,
    operation: &'static str,
    message: impl std::fmt::Display,
) -> EndpointError {
    EndpointError::new(kind, operation, message.to_string())
}

impl FakeDisk {
    /// A blank disk that this key, of which `key` is the fingerprint, opens.
    pub(super) fn new(
        operation: &'static str,
        location: DiskLocation,
        format: DiskFormat,
        guest: GuestSize,
        protection: Protection<'_>,
        key: Option<u64>,
    ) -> Result<Self, EndpointError> {
        let encryption = protection.format();
        if (format, encryption) == (DiskFormat::Qcow2, Some(EncryptionFormat::Luks2)) {
            let message = "qcow2 has no luks2; use luks1";
            return Err(error(ErrorKind::Unsupported, operation, message));
        }
        let offset = payload_offset(format, encryption);
        let geometry =
            Geometry::for_guest(guest, offset).map_err(|e| error(ErrorKind::InvalidRequest, operation, e))?;
        let mut facts = DiskFacts::new(location, format, guest, geometry.device());
        facts.encryption = encryption;
        facts.payload_offset = offset;
        facts.cipher = encryption.map(|_| "aes-xts-plain64".to_owned());
        let mut disk = Self {
            facts,
            key,
            volume: None,
            content: Content::of(Matter::Zeros, 0),
            snapshots: BTreeMap::new(),
        };
        disk.content = Content::of(disk.unwritten(), guest.get());
        Ok(disk)
    }

    /// What is read where nothing was written.
    pub(super) fn unwritten(&self) -> Matter {
        match (self.facts.format, self.facts.encryption) {
            (DiskFormat::Raw, Some(_)) => Matter::Noise(self.facts.location.path().to_owned(), self.key),
            _ => Matter::Zeros,
        }
    }

    /// Sees the disk as a command says where it is. Of a device that is so large it has what the location says; a raw disk has all of that.
    pub(super) fn look(
        &mut self,
        operation: &'static str,
        location: &DiskLocation,
        device: DeviceSize,
    ) -> Result<(), EndpointError> {
        let used = match location {
            DiskLocation::Block(block) => block.used.unwrap_or(device),
            DiskLocation::File(_) => return Ok(()),
        };
        self.facts.location = location.clone();
        self.facts.device = used;
        if self.facts.format == DiskFormat::Raw {
            let guest = Geometry::of_device(used, self.facts.payload_offset)
                .map_err(|e| error(ErrorKind::WrongDisk, operation, e))?
                .guest();
            self.set_guest(guest);
        }
        Ok(())
    }

    fn set_guest(&mut self, guest: GuestSize) {
        // What is behind the used part of a device stays there.
        let kept = if self.is_device() { self.content.bytes() } else { 0 };
        self.content = self.content.resized(guest.get().max(kept), self.unwritten());
        self.facts.guest = guest;
    }

    /// What a guest reads.
    pub(super) fn read(&self) -> Content {
        self.content.first(self.facts.guest.get())
    }

    pub(super) fn facts(&self) -> DiskFacts {
        let mut facts = self.facts.clone();
        facts.snapshots = self.snapshots.keys().cloned().collect();
        if self.is_device() {
            facts.allocated = ByteSize::bytes(facts.device.get());
        }
        facts
    }

    pub(super) fn guest(&self) -> GuestSize {
        self.facts.guest
    }

    pub(super) fn base(&self) -> Option<&BaseImage> {
        self.facts.base.as_ref()
    }

    pub(super) fn set_base(&mut self, base: Option<BaseImage>) {
        self.facts.base = base;
    }

    pub(super) fn is_device(&self) -> bool {
        matches!(self.facts.location, DiskLocation::Block(_))
    }

    pub(super) fn is_encrypted(&self, format: DiskFormat) -> bool {
        self.facts.format == format && self.facts.encryption.is_some()
    }

    /// Whether the storage has nothing but zeros behind so many bytes of it.
    pub(super) fn is_blank_from(&self, bytes: u64) -> bool {
        let header = self.facts.payload_offset.get();
        let has_header = self.facts.encryption.is_some() || self.facts.format == DiskFormat::Qcow2;
        let behind_header = !has_header || bytes > 0 && bytes >= header;
        behind_header && self.content.is_unwritten_from(bytes.saturating_sub(header))
    }

    /// Makes zeros of what the storage has behind so many bytes of it.
    pub(super) fn clear_from(&mut self, bytes: u64) {
        let kept = bytes.saturating_sub(self.facts.payload_offset.get());
        let all = self.content.bytes();
        self.content = self.content.first(kept).resized(all, self.unwritten());
    }

    /// Whether the disk is what a command says.
    pub(super) fn matches(
        &self,
        operation: &'static str,
        format: DiskFormat,
        encryption: Option<EncryptionFormat>,
    ) -> Result<(), EndpointError> {
        if (self.facts.format, self.facts.encryption) == (format, encryption) {
            return Ok(());
        }
        let side = |e: Option<EncryptionFormat>| e.map_or("plain", EncryptionFormat::as_str);
        let message = format!(
            "{} is {} {}, not {} {format}",
            self.facts.location,
            side(self.facts.encryption),
            self.facts.format,
            side(encryption)
        );
        Err(error(ErrorKind::WrongDisk, operation, message))
    }

    /// Whether the disk lies on what a command says.
    pub(super) fn lies_on(
        &self,
        operation: &'static str,
        base: Option<SourceImage<'_>>,
    ) -> Result<(), EndpointError> {
        if self.base().map(BaseImage::source) == base {
            return Ok(());
        }
        let image = |base: Option<SourceImage<'_>>| {
            base.map_or("no image".to_owned(), |b| {
                format!("{} image {}", b.format, b.path.display())
            })
        };
        let (location, found) = (&self.facts.location, image(self.base().map(BaseImage::source)));
        let message = format!("{location} lies on {found}, not on {}", image(base));
        Err(error(ErrorKind::WrongDisk, operation, message))
    }

    /// Whether the image that the disk lies on is one of this directory.
    pub(super) fn lies_in(
        &self,
        operation: &'static str,
        base_in: Option<&Path>,
    ) -> Result<(), EndpointError> {
        match self.base() {
            Some(base) if base_in.is_none() || base.path.parent() != base_in => {
                let message = format!("{} lies on {}", self.facts.location, base.path.display());
                Err(error(ErrorKind::WrongDisk, operation, message))
            }
            _ => Ok(()),
        }
    }

    /// Whether this key, of which `key` is the fingerprint, opens the disk.
    pub(super) fn open(&self, operation: &'static str, key: Option<u64>) -> Result<(), EndpointError> {
        if self.key == key {
            return Ok(());
        }
        let message = format!("the key does not open {}", self.facts.location);
        Err(error(ErrorKind::WrongKey, operation, message))
    }

    /// Whether content can be read and written through the cipher.
    pub(super) fn readable(&self, operation: &'static str) -> Result<(), EndpointError> {
        if self.facts.encryption != Some(EncryptionFormat::Luks2) {
            return Ok(());
        }
        let message = "QEMU does not open luks2, so nothing can be copied into it or out of it; use luks1";
        Err(error(ErrorKind::Unsupported, operation, message))
    }

    pub(super) fn grow(&mut self, operation: &'static str, to: GuestSize) -> Result<(), EndpointError> {
        if to >= self.facts.guest {
            return self.resize(operation, to, "larger");
        }
        let (location, size, to) = (&self.facts.location, self.facts.guest.get(), to.get());
        let message = format!("{location} has {size} bytes and would lose some at {to}");
        Err(error(ErrorKind::InvalidRequest, operation, message))
    }

    pub(super) fn shrink(&mut self, operation: &'static str, to: GuestSize) -> Result<(), EndpointError> {
        if to <= self.facts.guest {
            return self.resize(operation, to, "smaller");
        }
        let (location, size, to) = (&self.facts.location, self.facts.guest.get(), to.get());
        let message = format!("{location} has {size} bytes and would not be smaller at {to}");
        Err(error(ErrorKind::InvalidRequest, operation, message))
    }

    fn resize(&mut self, operation: &'static str, to: GuestSize, how: &str) -> Result<(), EndpointError> {
        if to == self.facts.guest {
            return Ok(());
        }
        if !self.is_device() {
            self.facts.device = Geometry::for_guest(to, self.facts.payload_offset)
                .map_err(|e| error(ErrorKind::InvalidRequest, operation, e))?
                .device();
        } else if self.facts.format == DiskFormat::Raw {
            let message = format!("{} is a device; its storage makes it {how}", self.facts.location);
            return Err(error(ErrorKind::Unsupported, operation, message));
        }
        self.set_guest(to);
        Ok(())
    }

    pub(super) fn snapshot(
        &mut self,
        operation: &'static str,
        snapshot: &SnapshotId,
        action: SnapshotAction,
    ) -> Result<(), EndpointError> {
        if self.facts.format != DiskFormat::Qcow2 {
            let message = format!(
                "{} is raw, which keeps no snapshots; use qcow2",
                self.facts.location
            );
            return Err(error(ErrorKind::Unsupported, operation, message));
        }
        match action {
            SnapshotAction::Create => {
                let state = (self.facts.guest, self.content.clone());
                self.snapshots.entry(snapshot.clone()).or_insert(state);
            }
            SnapshotAction::Delete => drop(self.snapshots.remove(snapshot)),
            SnapshotAction::Restore => {
                let (guest, content) = self.snapshots.get(snapshot).cloned().ok_or_else(|| {
                    let message = format!("{} has no snapshot {snapshot}", self.facts.location);
                    error(ErrorKind::NotFound, operation, message)
                })?;
                self.resize(operation, guest, "another size")?;
                self.content = content;
            }
        }
        Ok(())
    }

    /// Fails when the disk is too small for this content.
    pub(super) fn fits(
        &self,
        operation: &'static str,
        content: &Content,
        from: &Path,
    ) -> Result<(), EndpointError> {
        let (bytes, guest) = (content.bytes(), self.facts.guest.get());
        if bytes <= guest {
            return Ok(());
        }
        let location = &self.facts.location;
        let message = format!("{} has {bytes} bytes, {location} only {guest}", from.display());
        Err(error(ErrorKind::InvalidRequest, operation, message))
    }

    /// The bytes as whoever sees the storage sees them.
    pub(super) fn stored(&self, image: &impl Fn(&Path) -> Vec<u8>) -> Vec<u8> {
        let length = usize::try_from(self.facts.device.get()).unwrap_or(usize::MAX);
        let mut stored = match (self.facts.format, self.facts.encryption) {
            (DiskFormat::Raw, None) => return self.read().rendered(image),
            (DiskFormat::Raw, Some(luks)) => {
                // The magic and the version: LUKS1 On-Disk Format Specification 1.2.3, 2.1.
                let version = if luks == EncryptionFormat::Luks1 { 1 } else { 2 };
                vec![b'L', b'U', b'K', b'S', 0xba, 0xbe, 0, version]
            }
            // Magic, version, and the encryption method at byte 32: docs/interop/qcow2.rst of QEMU.
            (_, encryption) => {
                let mut header = b"QFI\xfb\0\0\0\x03".to_vec();
                header.resize(35, 0);
                header.push(if encryption.is_some() { 2 } else { 0 });
                header.resize(512, 0);
                header
            }
        };
        if self.facts.encryption.is_some() {
            noise((&self.content, self.key), &mut stored, length);
        } else if self.base().is_none() {
            stored.extend(self.read().rendered(image));
        }
        stored
    }
}
