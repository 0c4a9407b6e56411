//! The ordinary commands on a state directory.

mod agent;
mod host;
mod offering;
pub(crate) mod pool;
mod template;
mod vm;
mod volume;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::CommandFactory;
use clap::error::ErrorKind;
use strongroom_host_agent::ToolPaths;
use strongroom_types::{Call, Cancellation, DiskFormat};

use crate::cli::{Cli, Command};
use crate::demo;
use crate::session::{Session, Wiring};

/// Does what the command line says.
pub(crate) fn run(cli: Cli, cancellation: Cancellation) -> Result<()> {
    let mut call = Call::new().with_cancellation(cancellation);
    if let Some(seconds) = cli.timeout {
        call = call.with_timeout(Duration::from_secs(seconds));
    }
    let tools = match &cli.tools {
        None => ToolPaths::system(),
        Some(directory) => ToolPaths::in_directory(absolute(directory)?),
    };
    if let Command::Demo(demo) = &cli.command {
        return demo::run(demo, cli.state, cli.output, (tools, cli.hypervisor), &call);
    }
    match &cli.command {
        Command::Agent(command) => return agent::serve(command, (tools, cli.hypervisor), cli.output, &call),
        Command::Certificates(command) => return agent::certificates(command, cli.output),
        _ => {}
    }
    let Some(state) = &cli.state else {
        let missing = "which state directory? Say --state DIR, or set STRONGROOM_STATE";
        Cli::command()
            .error(ErrorKind::MissingRequiredArgument, missing)
            .exit();
    };
    let key = match &cli.command {
        Command::Volume(command) => volume::passphrase(command, &call)?,
        _ => None,
    };
    let session = Session::open(
        state,
        Wiring {
            tools,
            hypervisor: cli.hypervisor,
            others: Vec::new(),
        },
        &call,
    )?;
    match cli.command {
        Command::Demo(_) | Command::Agent(_) | Command::Certificates(_) => Ok(()),
        Command::Host(command) => host::run(&session, command, cli.output, &call),
        Command::Offering(command) => offering::run(&session, command, cli.output),
        Command::Pool(command) => pool::run(&session, command, cli.output, &call),
        Command::Template(command) => template::run(&session, command, cli.output, &call),
        Command::Volume(command) => volume::run(&session, command, key.as_ref(), cli.output, &call),
        Command::Vm(command) => vm::run(&session, command, cli.output, &call),
    }
}

/// The path as seen from the root, without asking whether anything is there.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("no absolute path for {}", path.display()))
}

/// The format of an image: what was said, else what its name's ending says. It is never read off the content, which
/// somebody untrusted may have written. `option` is where it can be said.
pub(crate) fn image_format(path: &Path, said: Option<DiskFormat>, option: &str) -> Result<DiskFormat> {
    if let Some(format) = said {
        return Ok(format);
    }
    match path.extension().and_then(|e| e.to_str()) {
        Some("raw" | "img") => Ok(DiskFormat::Raw),
        Some("qcow2") => Ok(DiskFormat::Qcow2),
        _ => bail!(
            "the name of {} does not say its format; say {option} raw or qcow2",
            path.display()
        ),
    }
}
