use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use strongroom_types::{
    DeviceSize, DiskFormat, EncryptionFormat, Geometry, GuestSize, PayloadOffset, SnapshotId, VolumeId,
};

use crate::{
    DiskFacts, DiskLocation, EndpointError, ErrorKind, FormatDevice, Protection, Sameness, SnapshotAction,
};

/// An image that was copied onto a disk, and how far it reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Layer {
    image: PathBuf,
    bytes: u64,
}

/// What the fake keeps of a disk.
#[derive(Debug, Clone)]
pub(super) struct FakeDisk {
    facts: DiskFacts,
    /// A fingerprint of the key; `None` for a plain disk, and for one whose keyslots are gone.
    pub(super) key: Option<u64>,
    /// For whom the header was written, where a device was formatted.
    volume: Option<VolumeId>,
    /// What was copied here, each shorter than the one below it.
    content: Vec<Layer>,
    snapshots: BTreeMap<SnapshotId, (GuestSize, Vec<Layer>)>,
}

fn payload_offset(format: DiskFormat, encryption: Option<EncryptionFormat>) -> PayloadOffset {
    match (format, encryption) {
        (DiskFormat::Raw, Some(EncryptionFormat::Luks1)) => PayloadOffset::LUKS1_CRYPTSETUP,
        (DiskFormat::Raw, Some(EncryptionFormat::Luks2)) => PayloadOffset::LUKS2_CRYPTSETUP,
        _ => PayloadOffset::NONE,
    }
}

fn sized(
    operation: &'static str,
    guest: GuestSize,
    offset: PayloadOffset,
) -> Result<Geometry, EndpointError> {
    Geometry::for_guest(guest, offset)
        .map_err(|e| EndpointError::new(ErrorKind::InvalidRequest, operation, e.to_string()))
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
            return Err(EndpointError::new(
                ErrorKind::Unsupported,
                operation,
                "qcow2 has no luks2; use luks1",
            ));
        }
        let offset = payload_offset(format, encryption);
        let device = sized(operation, guest, offset)?.device();
        let mut facts = DiskFacts::new(location, format, guest, device);
        facts.encryption = encryption;
        facts.payload_offset = offset;
        facts.cipher = encryption.map(|_| "aes-xts-plain64".to_owned());
        Ok(Self {
            facts,
            key,
            volume: None,
            content: Vec::new(),
            snapshots: BTreeMap::new(),
        })
    }

    /// The same device or file with a header in front: what is left is the guest's. One that this volume has already, and that
    /// the key opens, stays as it is.
    pub(super) fn formatted(
        &self,
        operation: &'static str,
        c: &FormatDevice<'_>,
        key: Option<u64>,
    ) -> Result<Self, EndpointError> {
        let location = c.location;
        if self.volume.as_ref() == Some(c.volume)
            && self.facts.encryption == Some(c.format)
            && self.key == key
        {
            return Ok(self.clone());
        }
        if self.facts.format != DiskFormat::Raw || self.facts.encryption.is_some() || !self.content.is_empty()
        {
            let message = format!("{location} is not blank and stays");
            return Err(EndpointError::new(ErrorKind::AlreadyExists, operation, message));
        }
        let protection = Protection::Luks {
            format: c.format,
            key: c.key,
        };
        let offset = payload_offset(DiskFormat::Raw, protection.format());
        let geometry = Geometry::of_device(self.facts.device, offset)
            .map_err(|e| EndpointError::new(ErrorKind::InvalidRequest, operation, e.to_string()))?;
        let guest = geometry.guest();
        let mut disk = Self::new(
            operation,
            location.clone(),
            DiskFormat::Raw,
            guest,
            protection,
            key,
        )?;
        disk.volume = Some(c.volume.clone());
        Ok(disk)
    }

    /// Makes the device larger below the disk. Only a raw disk notices.
    pub(super) fn set_device(&mut self, device: DeviceSize) -> bool {
        let Ok(geometry) = Geometry::of_device(device, self.facts.payload_offset) else {
            return false;
        };
        let fits = self.is_device() && self.facts.format == DiskFormat::Raw && device >= self.facts.device;
        if fits {
            self.facts.device = device;
            self.facts.guest = geometry.guest();
        }
        fits
    }

    pub(super) fn facts(&self) -> DiskFacts {
        let mut facts = self.facts.clone();
        facts.snapshots = self.snapshots.keys().cloned().collect();
        facts
    }

    pub(super) fn is_device(&self) -> bool {
        matches!(self.facts.location, DiskLocation::Block(_))
    }

    pub(super) fn is_encrypted(&self, format: DiskFormat) -> bool {
        self.facts.format == format && self.facts.encryption.is_some()
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
        Err(EndpointError::new(ErrorKind::WrongDisk, operation, message))
    }

    /// Whether this key, of which `key` is the fingerprint, opens the disk.
    pub(super) fn open(&self, operation: &'static str, key: Option<u64>) -> Result<(), EndpointError> {
        if self.key == key {
            return Ok(());
        }
        let message = format!("the key does not open {}", self.facts.location);
        Err(EndpointError::new(ErrorKind::WrongKey, operation, message))
    }

    pub(super) fn grow(&mut self, operation: &'static str, to: GuestSize) -> Result<(), EndpointError> {
        let (kind, message) = match to.cmp(&self.facts.guest) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Greater if !self.is_device() => return self.resize(operation, to),
            std::cmp::Ordering::Greater => (
                ErrorKind::Unsupported,
                format!("{} is a device; its storage makes it larger", self.facts.location),
            ),
            std::cmp::Ordering::Less => {
                let (location, size, to) = (&self.facts.location, self.facts.guest.get(), to.get());
                (
                    ErrorKind::InvalidRequest,
                    format!("{location} has {size} bytes and would lose some at {to}"),
                )
            }
        };
        Err(EndpointError::new(kind, operation, message))
    }

    fn resize(&mut self, operation: &'static str, to: GuestSize) -> Result<(), EndpointError> {
        self.facts.device = sized(operation, to, self.facts.payload_offset)?.device();
        self.facts.guest = to;
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
            return Err(EndpointError::new(ErrorKind::Unsupported, operation, message));
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
                    EndpointError::new(ErrorKind::NotFound, operation, message)
                })?;
                self.resize(operation, guest)?;
                self.content = content;
            }
        }
        Ok(())
    }

    /// How far an image of this size reaches; an unknown size is the disk's own.
    fn reach(&self, operation: &'static str, image: &Path, size: Option<u64>) -> Result<u64, EndpointError> {
        let guest = self.facts.guest.get();
        let bytes = size.unwrap_or(guest);
        if bytes <= guest {
            return Ok(bytes);
        }
        let message = format!(
            "{} has {bytes} bytes, {} only {guest}",
            image.display(),
            self.facts.location
        );
        Err(EndpointError::new(ErrorKind::InvalidRequest, operation, message))
    }

    pub(super) fn replace(
        &mut self,
        operation: &'static str,
        image: &Path,
        size: Option<u64>,
    ) -> Result<(), EndpointError> {
        if self.facts.encryption == Some(EncryptionFormat::Luks2) {
            let message = "QEMU does not open luks2, so nothing can be copied into it; use luks1";
            return Err(EndpointError::new(ErrorKind::Unsupported, operation, message));
        }
        let bytes = self.reach(operation, image, size)?;
        self.content.retain(|below| below.bytes > bytes);
        self.content.push(Layer {
            image: image.to_owned(),
            bytes,
        });
        Ok(())
    }

    pub(super) fn compare(
        &self,
        operation: &'static str,
        image: &Path,
        size: Option<u64>,
    ) -> Result<Sameness, EndpointError> {
        self.reach(operation, image, size)?;
        let [layer] = self.content.as_slice() else {
            return Ok(Sameness::Different);
        };
        let whole = layer.bytes == self.facts.guest.get();
        let zeros_behind = self.facts.payload_offset == PayloadOffset::NONE;
        Ok(if layer.image == image && (whole || zeros_behind) {
            Sameness::Identical
        } else {
            Sameness::Different
        })
    }
}
