#![doc = include_str!("../README.md")]

mod capture;
mod child;
mod command;
mod completed;
mod error;
mod executable;
pub mod fake;
mod group;
mod limits;
mod lines;
mod numbers;
mod program;
mod quote;
mod runner;
mod streams;
mod system;

pub use command::{CommandSpec, DESCRIPTOR_BASE, OUTPUT_LIMIT};
pub use completed::Completed;
pub use error::RunError;
pub use lines::LINE_LIMIT;
pub use program::{DIRECTORIES, Obstacle, Program, ProgramNotFound};
pub use runner::{Runner, Watch};
pub use system::SystemRunner;
