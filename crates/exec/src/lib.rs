//! A command as a comparable value, and the one place that starts processes.

mod command;
mod program;
mod runner;
mod system;

pub use command::{CommandSpec, DESCRIPTOR_BASE};
pub use program::{Program, ProgramNotFound};
pub use runner::{Completed, RunError, Runner, Watch};
pub use system::SystemRunner;
