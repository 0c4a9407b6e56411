//! The control plane over a file pool on a host in memory, and over pools in memory.
#![cfg(test)]

mod copies;
mod crash;
mod crash_copies;
mod erase;
mod exchanges;
mod fault;
mod fault_copies;
mod fragile;
mod key_service;
mod liar;
mod life;
mod long_life;
mod not_erased;
mod panics;
mod placement;
mod record;
mod recovery;
mod refusal;
mod side_by_side;
mod site;
mod snapshots;
mod templates;
mod upgrade;
mod vm_crash;
mod vm_placement;
mod vms;
