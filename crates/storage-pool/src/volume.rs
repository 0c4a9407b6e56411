use strongroom_endpoint_selector::{BaseImage, DiskLocation};
use strongroom_types::{
    ByteSize, DeviceSize, DiskFormat, EncryptionFormat, GuestSize, SnapshotId, TemplateId, VolumeId,
};

/// A volume as its pool sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Volume {
    /// Its id.
    pub id: VolumeId,
    /// How its sectors lie.
    pub format: DiskFormat,
    /// With which LUKS a host opens it; `None` for a volume that is plain for the host.
    pub encryption: Option<EncryptionFormat>,
    /// What the guest sees.
    pub guest: GuestSize,
    /// What the storage provides.
    pub device: DeviceSize,
    /// What it takes of the storage now.
    pub allocated: ByteSize,
    /// The snapshots that are kept inside it.
    pub snapshots: Vec<SnapshotId>,
    /// The template that the volume still reads from, whose content lies in clear in the storage; `None` when it stands alone.
    pub overlay_of: Option<TemplateId>,
}

impl Volume {
    /// A volume that takes nothing and has no snapshots.
    #[must_use]
    pub fn new(
        id: VolumeId,
        format: DiskFormat,
        encryption: Option<EncryptionFormat>,
        guest: GuestSize,
        device: DeviceSize,
    ) -> Self {
        Self {
            id,
            format,
            encryption,
            guest,
            device,
            allocated: ByteSize::default(),
            snapshots: Vec::new(),
            overlay_of: None,
        }
    }
}

/// Where and how a host opens a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attachment {
    /// The file or device on the host.
    pub location: DiskLocation,
    /// How its sectors lie there.
    pub format: DiskFormat,
    /// With which LUKS the host opens it; `None` when it is plain for the host.
    pub encryption: Option<EncryptionFormat>,
    /// The plain image that the disk lies on; `None` when it stands alone.
    pub base: Option<BaseImage>,
    /// What the guest discards may be passed on to the storage.
    pub discard: bool,
}

impl Attachment {
    /// A disk that stands alone, whose discards stay with the host.
    #[must_use]
    pub fn new(location: DiskLocation, format: DiskFormat, encryption: Option<EncryptionFormat>) -> Self {
        Self {
            location,
            format,
            encryption,
            base: None,
            discard: false,
        }
    }
}

/// How full a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolUsage {
    /// All bytes of the pool.
    pub total: ByteSize,
    /// The bytes that can still be written.
    pub free: ByteSize,
    /// What its volumes promise their guests together, where the pool keeps account of it.
    pub provisioned: Option<ByteSize>,
    /// What they may promise at most; `None` for a pool without such a limit.
    pub provisionable: Option<ByteSize>,
}

impl PoolUsage {
    /// A pool that keeps no account of what its volumes promise.
    #[must_use]
    pub fn new(total: ByteSize, free: ByteSize) -> Self {
        Self {
            total,
            free,
            provisioned: None,
            provisionable: None,
        }
    }
}
