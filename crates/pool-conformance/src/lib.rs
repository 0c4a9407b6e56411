#![doc = include_str!("../README.md")]

mod bench;
mod check;
mod checks;
mod cleaning;
mod expect;
mod failure;
mod faulty_endpoint;
mod guest;
mod image;
mod junit;
mod program;
mod report;
mod search;
mod site;
mod stored;
mod suite;

pub use check::{Check, CheckResult, Needs, Outcome};
pub use failure::Failure;
pub use faulty_endpoint::{Fault, FaultPlan, FaultyEndpoint, FaultySelector};
pub use guest::{Guest, GuestError, HostGuest};
pub use junit::JunitError;
pub use program::{main, run_program};
pub use report::Report;
pub use site::Site;
pub use suite::{UnknownCheck, checks, run, run_only};
