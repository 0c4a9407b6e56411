#![doc = include_str!("../README.md")]

mod agent;
mod cipher;
mod content;
mod create;
mod directory;
mod ephemeral;
mod exclusive;
mod failure;
mod format;
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
mod unfinished;

pub use agent::HostAgent;
pub use template::template_size;
pub use tools::ToolPaths;
