//! The suite as a program: `cargo run --example conformance`, with `--list`, `--only NAME..` and `--junit FILE` behind `--`.

#[path = "../tests/conformance/site.rs"]
mod site;

use std::error::Error;
use std::process::ExitCode;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    Ok(strongroom_pool_conformance::main(&site::of(directory.path())?))
}
