//! Every command on the endpoint in memory, by what its documentation says.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot make its input has failed"
)]

mod content;
mod copies;
mod create;
mod desk;
mod device;
mod directory;
mod fake;
mod identity;
mod keys;
mod machine_images;
mod machines;
mod size;
