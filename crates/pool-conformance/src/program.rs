use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::report::Report;
use crate::site::Site;
use crate::suite::{UnknownCheck, checks, run, run_only};

const HELP: &str = "\
Checks a storage driver against every promise of its contract.

  --list          name the checks and their sentences, and run none
  --only NAME..   run these checks only
  --junit FILE    also write the report as JUnit XML
  --help          print this
";

/// Why the program did not get to an end.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0:?} is no argument; --help names them")]
    Argument(String),
    #[error(transparent)]
    Check(#[from] UnknownCheck),
    #[error(transparent)]
    Xml(#[from] crate::junit::JunitError),
    #[error("cannot write to {0}: {1}")]
    Write(String, io::Error),
}

#[derive(Debug, Default)]
struct Arguments {
    help: bool,
    list: bool,
    only: Vec<String>,
    junit: Option<PathBuf>,
}

/// A program around the suite, for the `main` of a driver author: reads the arguments of the process, runs the checks, prints the report.
///
/// The code is 0 when nothing failed, 1 when something did, 2 when the checks could not be run as asked. `--help` names the
/// arguments.
#[must_use]
pub fn main(site: &Site) -> ExitCode {
    run_program(
        site,
        std::env::args_os().skip(1),
        &mut io::stdout(),
        &mut io::stderr(),
    )
}

/// The same with these arguments, and with these for what is printed and what went wrong.
#[must_use]
pub fn run_program(
    site: &Site,
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ExitCode {
    match parsed(arguments).and_then(|arguments| perform(site, &arguments, out)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            // There is nobody left to tell.
            drop(writeln!(err, "{problem}"));
            ExitCode::from(2)
        }
    }
}

fn parsed(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, Problem> {
    let mut parsed = Arguments::default();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--help" | "-h") => parsed.help = true,
            Some("--list") => parsed.list = true,
            Some("--junit") => {
                let file = arguments
                    .next()
                    .ok_or_else(|| Problem::Argument("--junit without a file".into()))?;
                parsed.junit = Some(file.into());
            }
            Some("--only") => {
                while let Some(name) = arguments.next_if(|next| !next.to_string_lossy().starts_with("--")) {
                    parsed.only.push(name.to_string_lossy().into_owned());
                }
                if parsed.only.is_empty() {
                    return Err(Problem::Argument("--only without a name".into()));
                }
            }
            _ => return Err(Problem::Argument(argument.to_string_lossy().into_owned())),
        }
    }
    Ok(parsed)
}

fn perform(site: &Site, arguments: &Arguments, out: &mut dyn Write) -> Result<bool, Problem> {
    let stdout = |e| Problem::Write("the standard output".to_owned(), e);
    if arguments.help {
        out.write_all(HELP.as_bytes()).map_err(stdout)?;
        return Ok(true);
    }
    if arguments.list {
        for check in checks() {
            writeln!(out, "{}\n    {}", check.name, check.sentence).map_err(stdout)?;
        }
        return Ok(true);
    }
    let report: Report = if arguments.only.is_empty() {
        run(site)
    } else {
        run_only(site, &arguments.only)?
    };
    writeln!(out, "{report}").map_err(stdout)?;
    if let Some(path) = &arguments.junit {
        let written = std::fs::write(path, report.to_junit("driver")?);
        written.map_err(|e| Problem::Write(path.display().to_string(), e))?;
    }
    Ok(report.passed())
}
