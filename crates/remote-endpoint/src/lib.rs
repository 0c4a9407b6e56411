#![doc = include_str!("../README.md")]

mod authority;
mod channel;
mod client;
mod error;
mod frame;
mod identity;
mod ledger;
mod role;
mod server;
mod verifier;
mod wire;

pub use authority::{Authority, Validity};
pub use client::RemoteEndpoint;
pub use error::RemoteError;
pub use identity::Identity;
pub use role::Role;
pub use server::AgentServer;
