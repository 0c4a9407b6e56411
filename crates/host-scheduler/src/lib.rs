#![doc = include_str!("../README.md")]

mod filter;
mod filters;
mod need;
mod rejection;
mod scheduler;

pub use filter::HostFilter;
pub use filters::{
    CapabilityFilter, CapacityFilter, ExclusionFilter, PlacementFilter, ReachFilter, StateFilter,
};
pub use need::Need;
pub use rejection::{NoHost, Rejection};
pub use scheduler::Scheduler;
