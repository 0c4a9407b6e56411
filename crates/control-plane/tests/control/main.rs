//! The control plane over a file pool on a host in memory, and over pools in memory.
#![cfg(test)]

mod crash;
mod erase;
mod fault;
mod fragile;
mod key_service;
mod liar;
mod life;
mod long_life;
mod not_erased;
mod placement;
mod record;
mod recovery;
mod refusal;
mod side_by_side;
mod site;
mod snapshots;
