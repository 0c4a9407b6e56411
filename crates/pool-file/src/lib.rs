#![doc = include_str!("../README.md")]

mod config;
mod create;
mod errand;
mod expectation;
mod kept_template;
mod pool;
mod provisioning;
mod sound_copy;
mod template_claim;
mod template_copy;
mod volume_file;

pub use config::FilePoolConfig;
pub use pool::FilePool;
