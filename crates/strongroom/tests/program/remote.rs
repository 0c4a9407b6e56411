//! A host elsewhere: the agent as a process of its own, and the control plane that asks it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::machine::{Machine, outcome, program};

/// An agent's process, killed when this is dropped.
pub(crate) struct Agent {
    process: Child,
    pub(crate) address: String,
}

impl Agent {
    pub(crate) fn start(certificates: &Path, scratch: &Path, listen: &str) -> Self {
        Self::started(program(), certificates, scratch, listen)
    }

    /// The program that this command runs, as an agent.
    pub(crate) fn started(mut program: Command, certificates: &Path, scratch: &Path, listen: &str) -> Self {
        program
            .args(["--output", "json", "agent", "--listen", listen, "--certificates"])
            .arg(certificates)
            .arg("--scratch")
            .arg(scratch);
        Self::said(program)
    }

    /// The agent that this command starts, once it says where it listens.
    fn said(mut program: Command) -> Self {
        let mut process = program
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let mut text = String::new();
        let told = loop {
            assert_ne!(said.read_line(&mut text).unwrap(), 0, "the agent ended: {text}");
            if let Ok(told) = serde_json::from_str::<Value>(&text) {
                break told;
            }
        };
        Self {
            process,
            address: told["address"].as_str().unwrap().to_owned(),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Certificates of an authority in a directory: for the agent `far` and for a control plane.
pub(crate) fn certificates(directory: &Path) -> (PathBuf, PathBuf) {
    let make = |args: &[&str]| {
        let mut command = program();
        command
            .args(["--output", "json", "certificates"])
            .args(args)
            .arg("--directory")
            .arg(directory);
        outcome(&mut command).json()
    };
    make(&["init"]);
    let place = |made: Value| PathBuf::from(made["directory"].as_str().unwrap());
    (place(make(&["agent", "far"])), place(make(&["control-plane"])))
}

pub(crate) fn add(machine: &Machine, agent: &Agent, control: &Path) -> crate::machine::Outcome {
    let control = control.to_str().unwrap();
    machine.run(&[
        "host",
        "add",
        "far",
        "--address",
        &agent.address,
        "--certificates",
        control,
    ])
}

#[test]
fn volumes_live_on_a_host_elsewhere_and_survive_its_agent() {
    let machine = Machine::bare();
    let (agent, control) = certificates(&machine.path().join("certificates"));
    let scratch = machine.path().to_owned();
    let running = Agent::start(&agent, &scratch, "127.0.0.1:0");
    let added = add(&machine, &running, &control).json();
    assert_eq!(added["encryption_supported"], true, "{added}");
    let pool = machine.pool();
    machine.ok(&[
        "pool",
        "add",
        "main",
        "--directory",
        pool.to_str().unwrap(),
        "--host",
        "far",
    ]);
    machine.ok(&["offering", "create", "secret", "--encrypt"]);
    // This machine was never probed, so all this is done by the other.
    let made = machine.create("vol-1", "secret", "8M");
    assert_eq!(made["encryption"], "luks1");
    machine.ok(&["volume", "verify", "vol-1"]);
    assert_eq!(
        machine.ok(&["volume", "resize", "vol-1", "12M"])["size"],
        12 << 20
    );

    // Killed with signal 9: without it nothing works and nothing is lost, and with another all goes on.
    let address = running.address.clone();
    drop(running);
    machine
        .run(&["--timeout", "10", "volume", "verify", "vol-1"])
        .refused(&["far"]);
    let _again = Agent::start(&agent, &scratch, &address);
    machine.ok(&["volume", "verify", "vol-1"]);
    machine.ok(&["volume", "delete", "vol-1"]);
    assert_eq!(machine.pool_files(), Vec::<String>::new());
}

/// A pool in the machine's own directory that the agent `far` reaches.
pub(crate) fn pool_on(machine: &Machine, name: &str, hosts: &[&str]) -> crate::machine::Outcome {
    let pool = machine.pool();
    let mut args = vec!["pool", "add", name, "--directory", pool.to_str().unwrap()];
    for host in hosts {
        args.extend(["--host", host]);
    }
    machine.run(&args)
}

#[test]
fn a_control_plane_with_a_wrong_certificate_gets_nothing() {
    let machine = Machine::bare();
    let (agent, _) = certificates(&machine.path().join("ours"));
    let (other, control) = certificates(&machine.path().join("theirs"));
    let running = Agent::start(&agent, machine.path(), "127.0.0.1:0");
    add(&machine, &running, &control).refused(&["far", "was not added", "permission denied"]);
    add(&machine, &running, &other).refused(&["strongroom:agent/far", "strongroom:control-plane"]);
    assert_eq!(machine.ok(&["host", "list"]), serde_json::json!([]));
}

/// The commands in the section of the README about hosts elsewhere, each with its words.
fn commands_of_the_readme() -> Vec<Vec<&'static str>> {
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("## Hosts elsewhere").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    section
        .lines()
        .filter_map(|line| line.strip_prefix("    strongroom "))
        .map(|line| line.split_whitespace().collect())
        .collect()
}

#[test]
fn the_commands_of_the_readme_work_as_they_are_written() {
    let machine = Machine::bare();
    let mut agent: Option<Agent> = None;
    let commands = commands_of_the_readme();
    assert!(commands.len() >= 9, "{commands:?}");
    for words in commands {
        let place = |word: &str| match word {
            "DIR" => machine.state().to_str().unwrap().to_owned(),
            "/srv/volumes" => machine.pool().to_str().unwrap().to_owned(),
            "10G" => "8M".to_owned(),
            // Where the agent of this test really is.
            "10.0.0.5:7443" => agent
                .as_ref()
                .map_or("127.0.0.1:0".to_owned(), |agent| agent.address.clone()),
            word if word.starts_with("authority") => machine.path().join(word).to_str().unwrap().to_owned(),
            word => word.to_owned(),
        };
        let args: Vec<_> = words.iter().map(|word| place(word)).collect();
        let mut command = program();
        command.args(["--output", "json"]).args(&args);
        if words.first() == Some(&"agent") {
            agent = Some(Agent::said(command));
        } else {
            outcome(&mut command).json();
        }
    }
    machine.ok(&["volume", "verify", "vol-far"]);
    assert_eq!(machine.ok(&["host", "show", "far"])["unreachable"], Value::Null);
}
