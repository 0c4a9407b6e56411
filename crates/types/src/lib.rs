//! The words that every Strongroom crate shares: ids, sizes, formats, and what is known of a host.
//!
//! You need this crate directly when you write a storage driver, a host filter or an endpoint. If you only want to run
//! `qemu-img` or keep passphrases, the crates that do so re-export what their signatures use.
//!
//! Nothing here reads a clock, a file or the environment. With the feature `serde` every type can be serialized.

mod byte_size;
mod call;
mod capability;
mod disk_size;
mod format;
mod geometry;
mod host;
mod id;

pub use byte_size::{ByteSize, ParseByteSizeError};
pub use call::{Call, Cancellation, Interrupted, Progress};
pub use capability::{Capability, CapabilityReport, Finding};
pub use disk_size::{DeviceSize, GuestSize, SECTOR, SizeError};
pub use format::{DiskFormat, EncryptionFormat, ParseFormatError};
pub use geometry::{Geometry, GeometryError, PayloadOffset};
pub use host::{HostFacts, HostState};
pub use id::{ClusterId, HostId, JobId, OfferingId, ParseIdError, PassphraseId, PoolId, SnapshotId, VolumeId, ZoneId};
