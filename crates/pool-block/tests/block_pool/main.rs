//! The promises of `PoolDriver` on block devices: the ends of every operation on a host in memory, the life of volumes on loop
//! devices with real tools.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot make its input has failed"
)]

mod answers;
mod array;
mod claims;
mod conformance;
mod fuse;
mod interrupted;
mod life;
mod machine;
mod on_array;
mod overlays;
mod shelf;
mod shrink;
mod site;
