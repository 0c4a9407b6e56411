#![doc = include_str!("../README.md")]

mod body;
mod client;
mod in_storage;
mod on_host;
mod work;

pub use in_storage::InStoragePool;
pub use on_host::OnHostPool;
