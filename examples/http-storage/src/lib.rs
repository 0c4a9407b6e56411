#![doc = include_str!("../README.md")]

mod api;
mod blocks;
mod error;
mod exports;
mod group;
mod key;
mod limits;
mod record;
mod service;
mod sparse;
mod storage;
mod volume;

pub use error::StorageError;
pub use service::Service;
