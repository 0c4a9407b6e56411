//! Two hypervisors by hand: what the tests have, to try things on.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::artifacts::executables;
use crate::commands::{Workspace, output};
use crate::failure::Failure;

const PACKAGE: &str = "strongroom-lab";

/// What the program that holds the lab says of its hosts.
const HOSTS: &str = "hosts";

/// The socket of that program. It ends the lab when somebody says `down`.
const CONTROL: &str = "control";

/// What the program says of one host.
#[derive(Debug, PartialEq, Eq)]
struct Host<'l> {
    name: &'l str,
    /// Of its first process.
    pid: &'l str,
    uri: &'l str,
    other: &'l str,
    local: &'l str,
}

/// Fails for another user than root.
pub(crate) fn needs_root() -> Result<(), Failure> {
    match output(Command::new("id").arg("-u"))?.trim() {
        "0" => Ok(()),
        _ => Err(Failure::new(
            "the lab needs root, for namespaces, mounts and network devices: run this as root",
        )),
    }
}

/// Brings it up and leaves it. Says what to type.
pub(crate) fn up(workspace: &Workspace) -> Result<(), Failure> {
    let build = [
        "build",
        "--package",
        PACKAGE,
        "--bins",
        "--message-format",
        "json-render-diagnostics",
    ];
    let programs = executables(&output(&mut workspace.cargo(build))?, PACKAGE);
    let program = programs
        .first()
        .ok_or_else(|| Failure::new(format!("{PACKAGE} has no program")))?;
    let place = enter(workspace)?;
    if UnixStream::connect(CONTROL).is_ok() {
        return Err(Failure::new(
            "a lab is up: `cargo xtask lab shell`, or `cargo xtask lab down` first",
        ));
    }
    let log = File::create("log").map_err(Failure::io("make a log"))?;
    let doing = format!("run {}", program.display());
    // In a group of its own, so that Ctrl-C here is not for it.
    let mut child = Command::new(program)
        .arg(&place)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0)
        .spawn()
        .map_err(Failure::io(&doing))?;
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(Failure::io(&doing))?;
            if line.is_empty() {
                fs::write(HOSTS, &said).map_err(Failure::io("write what hosts there are"))?;
                print!("{}", instructions(&said));
                return Ok(());
            }
            said.push_str(&line);
            said.push('\n');
        }
    }
    let _ = child.wait();
    let log = fs::read_to_string("log").unwrap_or_default();
    Err(Failure::new(log.trim()))
}

/// A shell inside a host, in place of this process. Returns only when that failed.
pub(crate) fn shell(workspace: &Workspace, name: &str) -> Failure {
    let shell = || {
        needs_root()?;
        enter(workspace)?;
        let said = fs::read_to_string(HOSTS).map_err(|_| down_already())?;
        let host = hosts(&said)
            .find(|host| host.name == name)
            .ok_or_else(|| Failure::new(format!("no host {name}: there are h1 and h2")))?;
        if !Path::new("/proc").join(host.pid).exists() {
            return Err(down_already());
        }
        let error = Command::new("nsenter")
            .args(["--target", host.pid, "--pid", "--mount", "--net", "--uts", "--"])
            .args(["bash", "--norc", "-i"])
            .env("LIBVIRT_DEFAULT_URI", "qemu:///system")
            .env("OTHER", host.other)
            .env("PS1", "\\h:\\w# ")
            .exec();
        Err(Failure::io("start a shell")(error))
    };
    match shell() {
        Ok(()) => Failure::new("the shell has not been started"),
        Err(failure) => failure,
    }
}

/// Ends it. It is gone when this returns.
pub(crate) fn down(workspace: &Workspace) -> Result<(), Failure> {
    enter(workspace)?;
    let mut control = UnixStream::connect(CONTROL).map_err(|_| down_already())?;
    // Nothing comes; the connection ends with the program.
    control
        .write_all(b"down")
        .and_then(|()| control.shutdown(Shutdown::Write))
        .and_then(|()| control.read_to_end(&mut Vec::new()))
        .map_err(Failure::io("wait for the end of the lab"))?;
    let _ = fs::remove_file(HOSTS);
    println!("lab: gone");
    Ok(())
}

fn down_already() -> Failure {
    Failure::new("no lab is up: `cargo xtask lab up` brings one up")
}

/// Goes to the directory of the lab's state, for the path of a socket may be too long from elsewhere.
fn enter(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let place = workspace.root().join(target).join("lab");
    let doing = format!("use {}", place.display());
    fs::create_dir_all(&place).map_err(Failure::io(&doing))?;
    std::env::set_current_dir(&place).map_err(Failure::io(&doing))?;
    Ok(place)
}

/// Reads lines of a host's name, first process, URI, the other's URI and private directory.
fn hosts(said: &str) -> impl Iterator<Item = Host<'_>> {
    said.lines().filter_map(|line| {
        let mut fields = line.split('\t');
        Some(Host {
            name: fields.next()?,
            pid: fields.next()?,
            uri: fields.next()?,
            other: fields.next()?,
            local: fields.next()?,
        })
    })
}

fn instructions(said: &str) -> String {
    let mut text = String::from("lab: two hypervisors are up\n\n");
    for host in hosts(said) {
        text.push_str(&format!(
            "  {name}  cargo xtask lab shell {name}    virsh is at hand, $OTHER is the other host for `virsh migrate --p2p --tls`\n      \
             virsh -c '{uri}'\n      its own files: {local}\n",
            name = host.name,
            uri = host.uri,
            local = host.local
        ));
    }
    text.push_str("\n  cargo xtask lab down        ends them and all that runs on them\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "h1\t4711\tqemu+unix:///1\tqemu+tls://h2/system\t/t/h1/local\nh2\t4712\tqemu+unix:///2\tqemu+tls://h1/system\t/t/h2/local\n";

    #[test]
    fn a_host_is_read_from_its_line() {
        let read: Vec<_> = hosts(SAID).collect();
        let expected = Host {
            name: "h2",
            pid: "4712",
            uri: "qemu+unix:///2",
            other: "qemu+tls://h1/system",
            local: "/t/h2/local",
        };
        assert_eq!(read[1], expected);
        assert_eq!(hosts("h1\t12\n").count(), 0);
    }

    #[test]
    fn each_host_has_its_instructions() {
        let text = instructions(SAID);
        for part in [
            "lab shell h1",
            "lab shell h2",
            "virsh -c 'qemu+unix:///2'",
            "/t/h1/local",
            "lab down",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
