//! The promises of `PoolDriver` on a pool of files: the choice of hosts and all errors on a host in memory, the life of
//! volumes on this machine with real tools.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot make its input has failed"
)]

mod answers;
mod clone;
mod conformance;
mod create;
mod directory;
mod faults;
mod full;
mod hosts;
mod kept_copies;
mod life;
mod machine;
mod midway;
mod mount;
mod overlay;
mod processes;
mod provisioning;
mod site;
