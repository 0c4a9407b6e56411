use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::commands::{output, run};
use crate::failure::Failure;
use crate::packages::{PACKAGES, Package, is_there, missing, services};
use crate::suite;

const OS_RELEASE: &str = "/etc/os-release";

/// Where Debian's sources are, in the two styles, and where those of backports go.
const DEB822: (&str, &str) = (
    "/etc/apt/sources.list.d/debian.sources",
    "/etc/apt/sources.list.d/strongroom-backports.sources",
);
const ONE_LINE: (&str, &str) = (
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/strongroom-backports.list",
);

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
            by_hand(&names)?
        )));
    }
    keep_stopped(apt, &lacking)?;
    run(&mut apt_get(apt, &["update"]))?;
    let backports = backports()?;
    let (of_hypervisor, others): (Vec<&str>, Vec<&str>) =
        names.into_iter().partition(|name| suite::is_of_hypervisor(name));
    install(apt, &[], &others)?;
    match backports {
        Some(suite) if !of_hypervisor.is_empty() => {
            know(apt, &suite)?;
            install(apt, &["--target-release", &suite], &of_hypervisor)?;
        }
        _ => install(apt, &[], &of_hypervisor)?,
    }
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
                by_hand(&names)?
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

fn install(apt: Apt, options: &[&str], names: &[&str]) -> Result<(), Failure> {
    if names.is_empty() {
        return Ok(());
    }
    let words = [&["install", "-y", "--no-install-recommends"], options, names].concat();
    run(&mut apt_get(apt, &words))
}

/// Masks the services of packages that are about to be installed: Debian starts them at once, and only a program of theirs is wanted.
/// Services of packages that are there already are their owner's business.
fn keep_stopped(apt: Apt, lacking: &[Package]) -> Result<(), Failure> {
    if !Path::new("/run/systemd/system").exists() {
        return Ok(());
    }
    for unit in services(lacking) {
        let known = output(Command::new("systemctl").args(["list-unit-files", unit])).unwrap_or_default();
        if known.contains(unit) {
            continue;
        }
        println!(
            "setup: masking {unit}, which nobody here needs running; `systemctl unmask {unit}` undoes it"
        );
        let mut mask = match apt {
            Apt::Sudo => Command::new("sudo"),
            Apt::AsRoot | Apt::ByHand => Command::new("env"),
        };
        run(mask.args(["systemctl", "mask", unit]))?;
    }
    Ok(())
}

/// The suite of backports that the packages of QEMU and libvirt have to come from, when it is one.
fn backports() -> Result<Option<String>, Failure> {
    let query = ["--show", "--showformat=${Version}", "qemu-utils"];
    // Fails where the package never was.
    let version = output(Command::new("dpkg-query").args(query)).unwrap_or_default();
    let release =
        std::fs::read_to_string(OS_RELEASE).map_err(Failure::io(format_args!("read {OS_RELEASE}")))?;
    let suite = suite::of_hypervisor(&version, &release);
    if suite.is_none() && suite::is_too_old(&release) {
        println!(
            "setup: qemu-utils {version} is here, so libvirt comes from the same suite. The tests of hypervisors were seen to pass \
             with those of backports only: install qemu-utils from there and try again if they fail"
        );
    }
    Ok(suite)
}

/// Makes apt know the suite.
fn know(apt: Apt, name: &str) -> Result<(), Failure> {
    if suite::is_known(name, &output(Command::new("apt-cache").arg("policy"))?) {
        return Ok(());
    }
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (text, place) = match suite::stanza(name, &read(DEB822.0)) {
        Some(stanza) => (stanza, DEB822.1),
        None => match suite::one_line(name, &read(ONE_LINE.0)) {
            Some(line) => (line, ONE_LINE.1),
            None => {
                return Err(Failure::new(format!(
                    "QEMU and libvirt have to come from {name}, and neither {} nor {} has a server to add it from: add that suite and try again",
                    DEB822.0, ONE_LINE.0
                )));
            }
        },
    };
    println!("setup: QEMU and libvirt have to come from {name}: adding {place}");
    write(apt, place, &text)?;
    run(&mut apt_get(apt, &["update"]))
}

/// Writes a file that root owns.
fn write(apt: Apt, place: &str, text: &str) -> Result<(), Failure> {
    let doing = || format!("write {place}");
    if apt != Apt::Sudo {
        return std::fs::write(place, text).map_err(Failure::io(doing()));
    }
    let mut tee = Command::new("sudo")
        .args(["tee", place])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(Failure::io(doing()))?;
    if let Some(mut input) = tee.stdin.take() {
        input.write_all(text.as_bytes()).map_err(Failure::io(doing()))?;
    }
    let status = tee.wait().map_err(Failure::io(doing()))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("`sudo tee {place}` failed ({status})")))
    }
}

/// What a person has to run.
fn by_hand(names: &[&str]) -> Result<String, Failure> {
    const INSTALL: &str = "apt-get install -y --no-install-recommends";
    let (of_hypervisor, others): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|name| suite::is_of_hypervisor(name));
    Ok(match backports()? {
        Some(suite) if !of_hypervisor.is_empty() => {
            let mut lines = vec![format!(
                "apt-get update && {INSTALL} -t {suite} {}    # {suite} has to be among apt's sources",
                of_hypervisor.join(" ")
            )];
            if !others.is_empty() {
                lines.push(format!("{INSTALL} {}", others.join(" ")));
            }
            lines.join("\n  ")
        }
        _ => format!("apt-get update && {INSTALL} {}", names.join(" ")),
    })
}

fn join(packages: &[Package]) -> String {
    packages.iter().map(|p| p.name).collect::<Vec<_>>().join(", ")
}
