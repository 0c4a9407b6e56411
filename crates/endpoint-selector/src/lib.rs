#![doc = include_str!("../README.md")]

mod answer;
mod command;
mod command_shape;
mod content;
mod disk;
mod endpoint;
mod error;
pub mod fake;
mod location;
mod protection;
mod selector;
mod stamp;
mod vm;
mod vm_answer;
mod vm_command;

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
pub use stamp::{FileStamp, ParseStampError};
pub use strongroom_host_scheduler::{Need, NoHost, Rejection};
pub use vm::{Boot, Vm, VmBackup, VmDestination, VmDisk};
pub use vm_answer::{VmDiskFacts, VmFacts, VmState};
pub use vm_command::{
    AttachVmDisk, BackUpVmDisks, ChangeVmDiskKey, CopyVmDisk, DetachVmDisk, FinishIncomingVm, FlattenVmDisk,
    GrowVmDisk, InspectVm, MergeVmDisk, MigrateVm, MigratedStorage, PauseVm, PrepareIncomingVm, ReconcileVms,
    RestoreVm, ResumeVm, SaveVm, SnapshotVmDisks, StartVm, StopVm, StopVmHow, VmCommand,
};
