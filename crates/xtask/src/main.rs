//! Set-up, tests and guards of this repository: `cargo xtask help`.
//!
//! The standard library only, so that the first command of a newcomer is built in seconds.

#![expect(
    clippy::disallowed_methods,
    reason = "starts cargo, git and apt-get, which get no keys"
)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]

mod artifacts;
mod commands;
mod failure;
mod guard;
mod lab;
mod lint;
mod packages;
mod setup;
mod suite;
mod tally;
mod test;

use std::process::ExitCode;

use commands::Workspace;
use failure::Failure;

const HELP: &str = "\
usage: cargo xtask COMMAND

  setup             install the system packages that are missing, saying which and why
    --check         only say which are missing; fails when any is
    --audit         compare the list of packages with what Debian's own package database says
  demo [ARGS..]     set up, build the release binary, run `strongroom demo ARGS`
  test [ARGS..]     set up, run every test and every example; ARGS go to `cargo test`, without the examples then
  lint              format, guard, clippy, docs, every crate alone, cargo-deny where it is there
    --install-deny  install cargo-deny first when it is missing
  guard             the rules of the house: who imports whom, where files lie, what they may not say
  bench [ARGS..]    the benchmarks
  lab up            two hypervisors to try things on; they stay until `lab down`
  lab shell [HOST]  a shell inside one of them, h1 or h2
  lab down          ends them and all that runs on them
";

#[rustfmt::skip]
const DEMO: [&str; 8] = ["run", "--release", "--package", "strongroom", "--bin", "strongroom", "--", "demo"];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_else(|| "help".to_owned());
    let rest: Vec<String> = arguments.collect();
    match dispatch(&command, &rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask {command}: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: &str, rest: &[String]) -> Result<(), Failure> {
    let workspace = Workspace::find()?;
    let words: Vec<&str> = rest.iter().map(String::as_str).collect();
    match (command, words.as_slice()) {
        ("setup", []) => setup::install_missing(),
        ("setup", ["--check"]) => setup::check(),
        ("setup", ["--audit"]) => setup::audit(),
        ("demo", _) => {
            setup::install_missing()?;
            let own = words.strip_prefix(&["--"]).unwrap_or(&words);
            Err(workspace.become_cargo([&DEMO, own].concat()))
        }
        ("test", _) => {
            setup::install_missing()?;
            test::run(&workspace, &words)
        }
        ("lint", []) => lint::run(&workspace, lint::Deny::WhenThere),
        ("lint", ["--install-deny"]) => lint::run(&workspace, lint::Deny::Install),
        ("guard", []) => guard::run(&workspace),
        ("bench", _) => {
            setup::install_missing()?;
            Err(workspace.become_cargo([&["bench", "--workspace"], words.as_slice()].concat()))
        }
        ("lab", ["up"]) => {
            lab::needs_root()?;
            setup::install_missing()?;
            lab::up(&workspace)
        }
        ("lab", ["shell"]) => Err(lab::shell(&workspace, "h1")),
        ("lab", ["shell", host]) => Err(lab::shell(&workspace, host)),
        ("lab", ["down"]) => lab::down(&workspace),
        ("help" | "--help" | "-h", _) => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(Failure::new(format!(
            "no such command or option: {command} {}\n\n{HELP}",
            rest.join(" ")
        ))),
    }
}
