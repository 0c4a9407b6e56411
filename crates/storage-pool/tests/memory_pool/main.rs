//! Every promise of `PoolDriver` on the pool in memory, and what that pool offers to tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot make its input has failed")]

mod clone;
mod content;
mod create;
mod fake;
mod forwarding;
mod group;
mod grow;
mod lifetime;
mod limits;
mod shrink;
mod site;
mod snapshot;
