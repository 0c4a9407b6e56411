#![doc = include_str!("../README.md")]

mod capabilities;
mod context;
mod driver;
mod error;
pub mod fake;
mod request;
mod volume;

pub use capabilities::{Capabilities, CloneKind, Encryption, Reach, SizeRule};
pub use context::OpContext;
pub use driver::PoolDriver;
pub use error::PoolError;
pub use request::{
    CloneKey, CloneVolume, CreateVolume, FlattenVolume, LimitVolume, QosLimits, ResizeVolume, SnapshotGroup,
    SnapshotVolume, Template, VolumeContent, VolumeKey,
};
pub use strongroom_endpoint_selector::{
    BaseImage, Declassification, Disk, DiskLocation, ErrorKind, SnapshotAction, SourceImage,
};
pub use volume::{Attachment, PoolUsage, Volume};
