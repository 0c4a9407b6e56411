//! Guests whose memory is saved, and that move to another host.
#![cfg(test)]

mod failures;
mod interrupted;
mod memory;
mod memory_file;
mod migration;
mod place;
mod snapshot;
