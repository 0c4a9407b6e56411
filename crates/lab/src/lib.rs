#![doc = include_str!("../README.md")]

mod archive;
mod boot;
mod cache;
mod error;
mod guest;
mod hypervisors;
mod inside;
mod kernel;
mod libraries;
mod loop_device;
mod nfs;
mod root;
mod verdict;

pub use error::GuestError;
pub use guest::Guest;
pub use hypervisors::{
    Answer, Capture, Captured, Console, GuestImage, Hit, Hypervisor, Hypervisors, LINK, LabError, LabPlan,
    find_in,
};
pub use inside::{disk, in_guest, is_guest};
pub use loop_device::LoopDevice;
pub use nfs::{Access, Export, NfsError, NfsMount, NfsServer};
