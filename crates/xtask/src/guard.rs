//! The rules of the house that no compiler checks. Each is a pure function over facts; this file collects the facts.

mod files;
mod graph;
mod house;
mod imports;

use std::fmt;

use crate::commands::{Workspace, output};
use crate::failure::Failure;
use files::TrackedFile;
use graph::CrateImports;

/// A broken rule: where, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    pub(crate) place: String,
    pub(crate) what: String,
}

impl Violation {
    pub(crate) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Checks every rule and prints every violation.
pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let crates = read_imports(workspace)?;
    let files = read_files(workspace)?;
    let mut violations = imports::check(&crates);
    violations.extend(files::check(&files));
    violations.sort();
    for violation in &violations {
        println!("guard: {violation}");
    }
    if violations.is_empty() {
        println!(
            "guard: {} crates and {} files keep the rules",
            crates.len(),
            files.len()
        );
        Ok(())
    } else {
        Err(Failure::new(format!(
            "{} times a rule of the house is broken",
            violations.len()
        )))
    }
}

/// One `cargo tree` for each crate, so that what one crate switches on is not laid to another's account.
fn read_imports(workspace: &Workspace) -> Result<Vec<CrateImports>, Failure> {
    let shape = [
        "--edges",
        "no-dev",
        "--all-features",
        "--target",
        "all",
        "--prefix",
        "depth",
        "--format",
        "{p}",
    ];
    workspace
        .members()?
        .iter()
        .map(|name| {
            let tree =
                output(&mut workspace.cargo([&["tree", "--package", name.as_str()], &shape[..]].concat()))?;
            graph::read(&tree).ok_or_else(|| Failure::new(format!("cannot read the tree of {name}")))
        })
        .collect()
}

/// What git tracks, or would if it were added now.
fn read_files(workspace: &Workspace) -> Result<Vec<TrackedFile>, Failure> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let paths = output(workspace.program("git").args(list))?;
    let mut files = Vec::new();
    for path in paths.split_terminator('\0') {
        match std::fs::read(workspace.root().join(path)) {
            Ok(bytes) => files.push(TrackedFile {
                path: path.to_owned(),
                text: String::from_utf8(bytes).ok(),
            }),
            Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::io(format_args!("read {path}"))(error)),
        }
    }
    Ok(files)
}
