use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::artifacts::executables;
use crate::commands::{Workspace, output, shown};
use crate::failure::Failure;
use crate::tally::Tally;

/// The package whose programs are the examples.
const EXAMPLES: &str = "strongroom-examples";

/// How long one example may run, in seconds, before it counts as hanging.
const EXAMPLE_LIMIT: &str = "300";

/// Runs the tests and the examples. The last line that it prints is the sum of all.
pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<(), Failure> {
    let tests = cargo_test(workspace, arguments)?;
    println!("\nunit, integration and documentation tests: {tests}");
    let examples = if arguments.is_empty() {
        run_examples(workspace)?
    } else {
        Tally::default()
    };
    let all = tests + examples;
    println!("{all}");
    if all.failed == 0 {
        Ok(())
    } else {
        Err(Failure::new("not everything passed"))
    }
}

fn cargo_test(workspace: &Workspace, arguments: &[&str]) -> Result<Tally, Failure> {
    let whole = if names_a_package(arguments) {
        &[][..]
    } else {
        &["--workspace"][..]
    };
    let fixed = ["test", "--all-features", "--no-fail-fast"];
    let mut command = workspace.cargo([&fixed[..], whole, arguments].concat());
    let doing = format!("run `{}`", shown(&command));
    println!("==> {}", shown(&command));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Failure::io(&doing))?;
    let mut tally = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).map_err(Failure::io(&doing))? > 0 {
            tally.read(&String::from_utf8_lossy(&line));
            std::io::stdout().write_all(&line).map_err(Failure::io("print"))?;
            line.clear();
        }
    }
    let status = child.wait().map_err(Failure::io(&doing))?;
    tally.settle(status.success());
    Ok(tally)
}

/// With the same features as the tests, so that nothing is compiled twice.
fn run_examples(workspace: &Workspace) -> Result<Tally, Failure> {
    let build = ["build", "--workspace", "--all-features", "--bins", "--examples"];
    let format = ["--message-format", "json-render-diagnostics"];
    let messages = output(&mut workspace.cargo([&build[..], &format].concat()))?;
    let mut tally = Tally::default();
    let programs = executables(&messages, EXAMPLES);
    if programs.is_empty() {
        println!("no program was found in {EXAMPLES}");
    }
    for program in programs {
        let name = program
            .file_name()
            .unwrap_or(program.as_os_str())
            .to_string_lossy()
            .into_owned();
        println!("\n==> example {name} (cargo run --package {EXAMPLES} --bin {name})");
        let passed = run_example(workspace, &program)?;
        println!("example {name} ... {}", if passed { "ok" } else { "FAILED" });
        tally.count(passed);
    }
    tally.settle(true);
    println!("\nexamples: {tally}");
    Ok(tally)
}

fn run_example(workspace: &Workspace, program: &Path) -> Result<bool, Failure> {
    let mut command: Command = workspace.program("timeout");
    command
        .args(["--kill-after=10", EXAMPLE_LIMIT])
        .arg(program)
        .stdin(Stdio::null());
    let status = command
        .status()
        .map_err(Failure::io(format_args!("run {}", program.display())))?;
    Ok(status.success())
}

fn names_a_package(arguments: &[&str]) -> bool {
    let own = arguments.iter().take_while(|a| **a != "--");
    own.into_iter()
        .any(|a| a.starts_with("-p") || *a == "--package" || a.starts_with("--package="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_package_replaces_the_workspace() {
        let cases: [(&[&str], bool); 6] = [
            (&[], false),
            (&["-p", "strongroom-types"], true),
            (&["--package=strongroom-types", "size"], true),
            (&["--package", "strongroom-types"], true),
            (&["size"], false),
            (&["size", "--", "-p"], false),
        ];
        for (arguments, expected) in cases {
            assert_eq!(names_a_package(arguments), expected, "{arguments:?}");
        }
    }
}
