#![doc = include_str!("../README.md")]

mod array;
mod driver;
mod side;
mod site;

pub use array::{Array, ArrayError};
pub use driver::TemplatePool;
