use std::path::Path;
use std::process::{Command, Stdio};

use crate::commands::{output, run};
use crate::failure::Failure;
use crate::packages::{PACKAGES, Package, is_there, missing};

/// How apt-get can be run here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Apt {
    AsRoot,
    Sudo,
    /// The person has to do it.
    ByHand,
}

/// Installs what is missing and looks again. Where nothing is missing, apt is not touched.
pub(crate) fn install_missing() -> Result<(), Failure> {
    let lacking = report();
    if lacking.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = lacking.iter().map(|p| p.name).collect();
    let apt = apt_here()?;
    if apt == Apt::ByHand {
        return Err(Failure::new(format!(
            "run this and try again:\n\n  {}\n",
            by_hand(&names)
        )));
    }
    run(&mut apt_get(apt, &["update"]))?;
    run(&mut apt_get(
        apt,
        &[&["install", "-y", "--no-install-recommends"], names.as_slice()].concat(),
    ))?;
    match report().as_slice() {
        [] => Ok(()),
        still => Err(Failure::new(format!(
            "apt-get installed {} and it is still missing",
            join(still)
        ))),
    }
}

/// Says what is missing.
pub(crate) fn check() -> Result<(), Failure> {
    match report().as_slice() {
        [] => Ok(()),
        lacking => {
            let names: Vec<&str> = lacking.iter().map(|p| p.name).collect();
            Err(Failure::new(format!(
                "`cargo xtask setup` installs them, or, as root:\n\n  {}\n",
                by_hand(&names)
            )))
        }
    }
}

/// Compares the list with Debian's package database. A program that somebody put on this machine by hand looks to
/// [`check`] as if its package were there; here it does not.
pub(crate) fn audit() -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for package in PACKAGES {
        let listed = output(Command::new("dpkg-query").args(["--listfiles", package.name]));
        match listed {
            Err(failure) => wrong.push(format!("{}: {failure}", package.name)),
            Ok(files) => {
                let not_shipped = package.not_shipped(&files);
                if !not_shipped.is_empty() {
                    wrong.push(format!(
                        "{} does not ship {}",
                        package.name,
                        not_shipped.join(", ")
                    ));
                }
            }
        }
    }
    if wrong.is_empty() {
        println!("setup: Debian's package database agrees on {}", join(PACKAGES));
        Ok(())
    } else {
        Err(Failure::new(wrong.join("\n")))
    }
}

fn report() -> Vec<Package> {
    let lacking = missing(&Path::exists);
    if lacking.is_empty() {
        println!("setup: nothing is missing ({} are here)", join(PACKAGES));
    }
    for (package, absent) in &lacking {
        println!(
            "setup: {} is missing: no {} ({})",
            package.name,
            absent.join(", "),
            package.what_for
        );
    }
    lacking.into_iter().map(|(package, _)| package).collect()
}

fn apt_here() -> Result<Apt, Failure> {
    let here = |program| is_there(program, &Path::exists);
    if !here("apt-get") {
        return Ok(Apt::ByHand);
    }
    let user = output(Command::new("id").arg("-u"))?;
    Ok(match user.trim() {
        "0" => Apt::AsRoot,
        _ if here("sudo") => Apt::Sudo,
        _ => Apt::ByHand,
    })
}

fn apt_get(apt: Apt, arguments: &[&str]) -> Command {
    let mut command = match apt {
        Apt::Sudo => {
            let mut sudo = Command::new("sudo");
            sudo.args(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
            sudo
        }
        Apt::AsRoot | Apt::ByHand => {
            let mut apt_get = Command::new("apt-get");
            apt_get
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdin(Stdio::null());
            apt_get
        }
    };
    command.args(arguments);
    command
}

fn by_hand(names: &[&str]) -> String {
    format!(
        "apt-get update && apt-get install -y --no-install-recommends {}",
        names.join(" ")
    )
}

fn join(packages: &[Package]) -> String {
    packages.iter().map(|p| p.name).collect::<Vec<_>>().join(", ")
}
