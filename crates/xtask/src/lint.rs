use std::time::{Duration, Instant};

use crate::commands::{Workspace, output, run as step};
use crate::failure::Failure;
use crate::guard;

/// What to do about cargo-deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deny {
    /// Use it where it is installed.
    WhenThere,
    /// Install it where it is not.
    Install,
}

/// The versions whose configuration `deny.toml` is.
const CARGO_DENY: &str = "^0.20";

/// Runs every check, also after one has failed, and says at the end which did.
pub(crate) fn run(workspace: &Workspace, deny: Deny) -> Result<(), Failure> {
    let cargo = |arguments: &[&str]| step(&mut workspace.cargo(arguments.iter().copied()));
    let mut report = Report::default();
    report.check("lock file", || lock_file(workspace));
    report.check("format", || cargo(&["fmt", "--all", "--check"]));
    report.check("guard", || guard::run(workspace));
    report.check("clippy", || {
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "-D",
            "warnings",
        ])
    });
    report.check("docs", || {
        let mut docs = workspace.cargo(["doc", "--workspace", "--no-deps", "--all-features"]);
        step(docs.env("RUSTDOCFLAGS", "-D warnings"))
    });
    report.check("each alone", || each_alone(workspace));
    report.check("deny", || cargo_deny(workspace, deny));
    report.close()
}

/// `Cargo.lock` says what the manifests ask for, so that the same is built everywhere.
fn lock_file(workspace: &Workspace) -> Result<(), Failure> {
    output(&mut workspace.cargo(["metadata", "--locked", "--format-version", "1"])).map(drop)
}

/// Each library by itself with its default features: in the whole workspace, a feature that one crate switches on is
/// on for all, and hides that another one lacks it.
fn each_alone(workspace: &Workspace) -> Result<(), Failure> {
    let members = workspace.members()?;
    for name in members
        .iter()
        .filter(|name| name.starts_with("strongroom-") && *name != "strongroom-examples")
    {
        step(&mut workspace.cargo(["clippy", "--package", name, "--no-deps", "--", "-D", "warnings"]))?;
    }
    Ok(())
}

fn cargo_deny(workspace: &Workspace, deny: Deny) -> Result<(), Failure> {
    if output(&mut workspace.cargo(["deny", "--version"])).is_err() {
        match deny {
            Deny::WhenThere => {
                println!(
                    "deny: NOT CHECKED (licences, bans, sources, advisories): cargo-deny is not installed; \
                     `cargo xtask lint --install-deny` builds it, which takes a few minutes"
                );
                return Ok(());
            }
            Deny::Install => {
                step(&mut workspace.cargo(["install", "cargo-deny", "--locked", "--version", CARGO_DENY]))?;
            }
        }
    }
    let quiet = ["--hide-inclusion-graph", "bans", "licenses", "sources"];
    step(&mut workspace.cargo([&["deny", "check"], &quiet[..]].concat()))?;
    match output(&mut workspace.cargo(["deny", "fetch", "db"])) {
        Ok(_) => step(&mut workspace.cargo(["deny", "check", "--disable-fetch", "advisories"])),
        Err(_) => {
            println!("deny: NOT CHECKED (advisories): the advisory database cannot be fetched from here");
            Ok(())
        }
    }
}

/// What was checked, how long it took and how it went.
#[derive(Debug, Default)]
struct Report(Vec<(&'static str, Duration, Option<Failure>)>);

impl Report {
    fn check(&mut self, name: &'static str, check: impl FnOnce() -> Result<(), Failure>) {
        println!("\n=== {name}");
        let started = Instant::now();
        let failure = check().err();
        if let Some(failure) = &failure {
            println!("{failure}");
        }
        self.0.push((name, started.elapsed(), failure));
    }

    fn close(self) -> Result<(), Failure> {
        println!();
        for (name, took, failure) in &self.0 {
            let outcome = if failure.is_some() { "FAILED" } else { "ok" };
            println!("lint: {name:<10} {outcome:<6} {:>6.1} s", took.as_secs_f64());
        }
        let failed: Vec<&str> = self
            .0
            .iter()
            .filter(|(_, _, f)| f.is_some())
            .map(|(name, ..)| *name)
            .collect();
        if failed.is_empty() {
            Ok(())
        } else {
            Err(Failure::new(format!("failed: {}", failed.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_check_fails_the_whole_and_the_others_still_run() {
        let mut report = Report::default();
        let mut ran = Vec::new();
        report.check("first", || Err(Failure::new("broken")));
        report.check("second", || {
            ran.push("second");
            Ok(())
        });
        assert_eq!(ran, ["second"]);
        assert_eq!(report.close().unwrap_err().to_string(), "failed: first");
    }

    #[test]
    fn checks_that_all_hold_are_a_success() {
        let mut report = Report::default();
        report.check("only", || Ok(()));
        report.close().unwrap();
    }
}
