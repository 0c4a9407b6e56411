#![doc = include_str!("../README.md")]

mod answer;
mod command;
mod content;
mod disk;
mod endpoint;
mod error;
pub mod fake;
mod location;
mod protection;
mod selector;

pub use answer::{
    BaseImage, ContentDigest, DeviceFacts, DirectoryFacts, DiskFacts, HostAnswer, Locking, MountFacts,
    Sameness, Verification,
};
pub use command::{
    BackUpHeader, BlankDevice, CompareContent, CreateDisk, DeleteDisk, DigestContent, EraseKeyslots,
    FlattenDisk, FormatDevice, FormatQcow2, GrowDisk, HostCommand, IdentifyDevice, InspectDisk,
    ListDirectory, MakeDirectory, MarkDirectory, OpenDirectory, ProveBlank, ReplaceContent, RescanDevice,
    ShrinkDisk, SnapshotAction, SnapshotDisk, SweepStaging, VerifyDisk,
};
pub use content::{ContentSource, Declassification, DiskContent};
pub use disk::{Disk, SourceImage};
pub use endpoint::Endpoint;
pub use error::{EndpointError, ErrorKind};
pub use location::{BlockDevice, DeviceIdentity, DiskLocation};
pub use protection::Protection;
pub use selector::{EndpointSelector, RegisteredEndpoints};
pub use strongroom_host_scheduler::{Need, NoHost, Rejection};
