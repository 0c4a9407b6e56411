#![doc = include_str!("../README.md")]

mod answer;
mod command;
mod endpoint;
mod error;
pub mod fake;
mod protection;
mod selector;

pub use answer::{DirectoryFacts, DiskFacts, HostAnswer, Sameness, Verification};
pub use command::{
    BackUpHeader, CompareContent, CreateDisk, DeleteDisk, Disk, DiskContent, DiskLocation, EraseKeyslots,
    FormatDevice, GrowDisk, HostCommand, InspectDisk, OpenDirectory, ReplaceContent, SnapshotAction,
    SnapshotDisk, SourceImage, SweepStaging, VerifyDisk,
};
pub use endpoint::Endpoint;
pub use error::{EndpointError, ErrorKind};
pub use protection::Protection;
pub use selector::{EndpointSelector, RegisteredEndpoints};
pub use strongroom_host_scheduler::{Need, NoHost, Rejection};
