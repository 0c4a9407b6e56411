//! Every command on the endpoint in memory, by what its documentation says.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot make its input has failed"
)]

mod content;
mod create;
mod desk;
mod device;
mod fake;
mod keys;
mod size;
