use std::fmt;

use strongroom_endpoint_selector::{BlockDevice, Disk, DiskLocation, Need, Protection};
use strongroom_storage_pool::VolumeKey;
use strongroom_types::{
    Capability, DeviceSize, DiskFormat, EncryptionFormat, Geometry, GeometryError, GuestSize, PayloadOffset,
    SizeError,
};

use crate::{HandedOver, Label};

/// Which LUKS this driver's volumes have: the one that QEMU opens.
pub(crate) const LUKS: EncryptionFormat = EncryptionFormat::Luks1;

/// What the tables of a qcow2 disk take besides what is in proportion to its size: more than a header, the first tables of each
/// kind and the LUKS header inside (2 MiB) together.
const QCOW2_BASE: u64 = 4 << 20;

/// One 4096th is more than clusters of 64 KiB need: 8 bytes of an L2 table for each, and 2 bytes of a reference count.
const QCOW2_TABLES: u64 = 4096;

/// How the sectors of a volume lie on its device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) format: DiskFormat,
    pub(crate) encryption: Option<EncryptionFormat>,
}

/// A size that a device cannot have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoDevice {
    #[error(transparent)]
    Raw(#[from] GeometryError),
    #[error("a qcow2 disk of {0} bytes would take a device of a size that there is none: {1}")]
    Qcow2(u64, SizeError),
}

impl Kind {
    pub(crate) fn new(format: DiskFormat, key: VolumeKey<'_>) -> Self {
        let encryption = matches!(key, VolumeKey::Encrypted(_)).then_some(LUKS);
        Self { format, encryption }
    }

    pub(crate) fn of(label: &Label) -> Self {
        Self {
            format: label.format,
            encryption: label.encryption,
        }
    }

    /// What a host must be able to do to make or open such a disk with its key.
    pub(crate) fn need(self, need: Need) -> Need {
        need.able_to(match (self.format, self.encryption) {
            (_, None) => Capability::PlainImages,
            (DiskFormat::Qcow2, Some(_)) => Capability::Qcow2Luks,
            (DiskFormat::Raw, Some(EncryptionFormat::Luks1)) => Capability::RawLuks1,
            (DiskFormat::Raw, Some(EncryptionFormat::Luks2)) => Capability::Luks2,
        })
    }

    /// What it must be able to do besides when the disk lies on a template.
    pub(crate) fn need_as_overlay(self, need: Need) -> Need {
        match self.encryption {
            Some(_) => need.able_to(Capability::EncryptedOverlay),
            None => need,
        }
    }

    /// Where the content of a raw disk begins.
    fn payload_offset(self) -> PayloadOffset {
        match (self.format, self.encryption) {
            (DiskFormat::Raw, Some(EncryptionFormat::Luks1)) => PayloadOffset::LUKS1_CRYPTSETUP,
            (DiskFormat::Raw, Some(EncryptionFormat::Luks2)) => PayloadOffset::LUKS2_CRYPTSETUP,
            _ => PayloadOffset::NONE,
        }
    }

    /// How many bytes of the device are the disk; `None` when they all are.
    pub(crate) fn used(self, guest: GuestSize) -> Result<Option<DeviceSize>, GeometryError> {
        match self.format {
            DiskFormat::Raw => Geometry::for_guest(guest, self.payload_offset()).map(|g| Some(g.device())),
            DiskFormat::Qcow2 => Ok(None),
        }
    }

    /// What the storage has to provide. Of the content of a qcow2 disk, only this many percent must fit at once.
    pub(crate) fn device(self, guest: GuestSize, qcow2_percent: u16) -> Result<DeviceSize, NoDevice> {
        if let Some(exact) = self.used(guest)? {
            return Ok(exact);
        }
        let content = u128::from(guest.get()) * u128::from(qcow2_percent) / 100;
        let tables = u128::from(guest.get()) / u128::from(QCOW2_TABLES);
        let whole = (content + tables + u128::from(QCOW2_BASE)).next_multiple_of(1 << 16);
        let bytes = u64::try_from(whole).unwrap_or(u64::MAX);
        DeviceSize::new(bytes).map_err(|e| NoDevice::Qcow2(guest.get(), e))
    }

    /// The header of a raw LUKS disk: what has to go so that nothing of it can be read.
    pub(crate) fn header(self) -> Option<DeviceSize> {
        DeviceSize::new(self.payload_offset().get()).ok()
    }

    /// The disk on a device, as far as it reaches.
    pub(crate) fn location(
        self,
        device: &HandedOver,
        guest: GuestSize,
    ) -> Result<DiskLocation, GeometryError> {
        let whole = BlockDevice::new(&device.path).with_identity(device.identity.clone());
        Ok(DiskLocation::Block(match self.used(guest)? {
            Some(used) => whole.with_used(used),
            None => whole,
        }))
    }

    /// The disk and what opens it.
    pub(crate) fn disk<'a>(self, location: &'a DiskLocation, key: VolumeKey<'a>) -> Disk<'a> {
        Disk::new(location, self.format, protection(key))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = self.encryption.map_or("plain", EncryptionFormat::as_str);
        write!(f, "{side} {}", self.format)
    }
}

/// The key for a host, which is told by which means.
pub(crate) fn protection(key: VolumeKey<'_>) -> Protection<'_> {
    match key {
        VolumeKey::Plain => Protection::Plain,
        VolumeKey::Encrypted(key) => Protection::Luks { format: LUKS, key },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn kind(format: DiskFormat, encryption: Option<EncryptionFormat>) -> Kind {
        Kind { format, encryption }
    }

    #[test]
    fn a_raw_disk_takes_its_header_and_its_content_and_no_more() {
        let guest = GuestSize::new(GIB).unwrap();
        let device = |encryption| kind(DiskFormat::Raw, encryption).device(guest, 1).unwrap().get();
        assert_eq!(device(None), GIB);
        assert_eq!(device(Some(EncryptionFormat::Luks1)), GIB + (2 << 20));
        assert_eq!(device(Some(EncryptionFormat::Luks2)), GIB + (16 << 20));
    }

    #[test]
    fn a_qcow2_disk_takes_its_tables_and_the_share_of_its_content_that_is_asked_for() {
        let guest = GuestSize::new(GIB).unwrap();
        let device = |percent| {
            kind(DiskFormat::Qcow2, Some(LUKS))
                .device(guest, percent)
                .unwrap()
                .get()
        };
        let tables = GIB / 4096 + (4 << 20);
        assert_eq!(device(100), GIB + tables);
        assert_eq!(device(50), GIB / 2 + tables);
        assert_eq!(device(250), GIB / 2 * 5 + tables);
    }

    #[test]
    fn a_size_beyond_the_largest_device_is_an_error() {
        let largest = GuestSize::new(i64::MAX as u64 & !511).unwrap();
        let raw = kind(DiskFormat::Raw, Some(LUKS)).device(largest, 100);
        assert!(matches!(raw, Err(NoDevice::Raw(GeometryError::TooLarge { .. }))));
        let qcow2 = kind(DiskFormat::Qcow2, None).device(largest, u16::MAX);
        assert!(matches!(qcow2, Err(NoDevice::Qcow2(_, SizeError::TooLarge(_)))));
    }
}
