#![doc = include_str!("../README.md")]

mod agent;
mod content;
mod create;
mod directory;
mod ephemeral;
mod exclusive;
mod failure;
mod grow;
mod header;
mod inspect;
mod keyslots;
mod probe;
mod qcow2_shell;
mod reading;
mod snapshot;
mod staging;
mod template;
mod tools;

pub use agent::HostAgent;
pub use template::template_size;
pub use tools::ToolPaths;
