#![doc = include_str!("../README.md")]

mod byte_size;
mod call;
mod capability;
mod disk_size;
mod disk_target;
mod format;
mod geometry;
mod host;
mod id;

pub use byte_size::{ByteSize, ParseByteSizeError};
pub use call::{Call, Cancellation, Interrupted, Progress};
pub use capability::{Capability, CapabilityReport, Finding, ParseCapabilityError};
pub use disk_size::{DeviceSize, GuestSize, SECTOR, SizeError};
pub use disk_target::{DiskTarget, ParseDiskTargetError};
pub use format::{DiskFormat, EncryptionFormat, ParseFormatError};
pub use geometry::{Geometry, GeometryError, PayloadOffset};
pub use host::{HostFacts, HostState};
pub use id::{
    CheckpointId, ClusterId, HostId, InstallationId, JobId, OfferingId, ParseIdError, PassphraseId, PoolId,
    SnapshotId, TemplateId, VmId, VolumeId, ZoneId,
};
