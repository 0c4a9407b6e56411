//! Encrypted volumes on this machine, from offering to crypto-erase.

mod advice;
mod cli;
mod commands;
mod demo;
mod drivers;
mod hosts;
mod mounted;
mod output;
mod passphrase;
mod places;
mod process;
mod remote_hosts;
mod report;
mod session;
mod state;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let output = cli.output;
    match process::prepare(cli.verbose).and_then(|cancellation| commands::run(cli, cancellation)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if process::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            process::complain(&error, output);
            ExitCode::FAILURE
        }
    }
}
