#![doc = include_str!("../README.md")]

mod config;
mod errand;
mod pool;
mod volume_file;

pub use config::FilePoolConfig;
pub use pool::FilePool;
