//! A host elsewhere: the agent as a process of its own, and the control plane that asks it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::machine::{Machine, outcome, program};

/// An agent's process, killed when this is dropped.
struct Agent {
    process: Child,
    address: String,
}

impl Agent {
    fn start(certificates: &Path, scratch: &Path, listen: &str) -> Self {
        let mut process = program()
            .args(["--output", "json", "agent", "--listen", listen, "--certificates"])
            .arg(certificates)
            .arg("--scratch")
            .arg(scratch)
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
fn certificates(directory: &Path) -> (PathBuf, PathBuf) {
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

fn add(machine: &Machine, agent: &Agent, control: &Path) -> crate::machine::Outcome {
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
