//! The list of hosts elsewhere, and the pools that they reach.

use std::net::TcpListener;
use std::path::Path;

use serde_json::{Value, json};

use crate::machine::{Machine, is_root, program};
use crate::remote::{Agent, add, certificates, pool_on};

fn found<'v>(list: &'v Value, key: &str, name: &str) -> &'v Value {
    let all = list.as_array().unwrap();
    all.iter()
        .find(|v| v[key] == name)
        .unwrap_or_else(|| panic!("{name} is not in {list}"))
}

/// A machine, its agent `far` with its certificates, and the control plane's.
fn far() -> (Machine, Agent, std::path::PathBuf, std::path::PathBuf) {
    let machine = Machine::bare();
    let (agent, control) = certificates(&machine.path().join("certificates"));
    let running = Agent::start(&agent, machine.path(), "127.0.0.1:0");
    add(&machine, &running, &control).json();
    (machine, running, agent, control)
}

#[test]
fn a_host_says_whether_it_can_be_reached_and_stays_while_a_pool_needs_it() {
    let (machine, running, _, _) = far();
    pool_on(&machine, "main", &["far"]).json();
    let listed = machine.ok(&["host", "list"]);
    let shown = found(&listed, "id", "far");
    assert_eq!(shown["address"], running.address);
    assert_eq!(
        (&shown["unreachable"], &shown["state"]),
        (&Value::Null, &json!("up"))
    );
    drop(running);
    for view in [
        found(&machine.ok(&["host", "list"]), "id", "far"),
        &machine.ok(&["host", "show", "far"]),
    ] {
        assert_eq!(view["state"], "down");
        assert!(
            view["unreachable"].as_str().unwrap().contains("refused"),
            "{view}"
        );
        assert_eq!(
            view["encryption_supported"], true,
            "what was known stays known: {view}"
        );
    }
    machine.run(&["host", "show", "near"]).refused(&["no host near"]);
    machine
        .run(&["host", "remove", "far"])
        .refused(&["far", "pool main"]);
    // What is gone for good can be removed all the same.
    machine.ok(&["pool", "remove", "main"]);
    assert_eq!(machine.ok(&["host", "remove", "far"]), json!([]));
    machine.run(&["host", "remove", "far"]).refused(&["no host far"]);
}

#[test]
fn a_pool_that_is_removed_is_this_machines_when_it_is_added_without_a_host() {
    let (machine, running, _, _) = far();
    pool_on(&machine, "main", &["far"]).json();
    machine.ok(&["pool", "remove", "main"]);
    drop(running);
    machine.ok(&["host", "probe"]);
    let machine = machine.with_pool_and_offerings();
    machine.create("vol-1", "secret", "8M");
    assert_eq!(machine.assert_sound(), ["vol-1"]);
}

#[test]
fn a_pool_that_could_not_be_added_is_given_to_no_host() {
    let (machine, _running, _, _) = far();
    let missing = machine.path().join("missing");
    let args = ["pool", "add", "main", "--host", "far", "--directory"];
    machine
        .run(&[&args[..], &[missing.to_str().unwrap()]].concat())
        .refused(&["host far", "missing"]);
    machine
        .run(&[&args[..], &["volumes"]].concat())
        .refused(&["from the root"]);
    pool_on(&machine, "main", &["near"]).refused(&["no host near"]);
    pool_on(&machine, "main", &["far", "near"]).refused(&["--shared"]);
    machine.ok(&["host", "remove", "far"]);
}

#[test]
fn the_directory_is_looked_for_on_the_other_host_and_not_here() {
    assert!(
        is_root(),
        "this test makes a mount namespace, and so wants to be root"
    );
    let machine = Machine::bare();
    let (agent, control) = certificates(&machine.path().join("certificates"));
    let (place, scratch) = (machine.path().join("place"), machine.path().join("scratch"));
    for directory in [&place, &scratch] {
        std::fs::create_dir(directory).unwrap();
    }
    // Only the agent sees what is in the place.
    let script = "mount -t tmpfs none \"$1\" && mkdir \"$1/volumes\" && shift && exec \"$@\"";
    let itself = program();
    let mut unshare = crate::machine::command("unshare");
    unshare
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(&place)
        .arg(itself.get_program());
    let running = Agent::started(unshare, &agent, &scratch, "127.0.0.1:0");
    add(&machine, &running, &control).json();
    let volumes = place.join("volumes");
    let volumes = volumes.to_str().unwrap();
    machine.ok(&["pool", "add", "main", "--directory", volumes, "--host", "far"]);
    machine.ok(&["offering", "create", "secret", "--encrypt"]);
    machine.create("vol-1", "secret", "8M");
    machine.ok(&["volume", "verify", "vol-1"]);
    assert!(!Path::new(volumes).exists());
    // Nothing of this machine may be taken for it: the same path here is another directory.
    std::fs::create_dir(volumes).unwrap();
    machine.ok(&["host", "probe"]);
    machine.ok(&["pool", "add", "here", "--directory", volumes]);
    let inside = format!("{volumes}/inside");
    machine
        .run(&["pool", "add", "third", "--directory", &inside, "--host", "far"])
        .refused(&["host far has pool main"]);
}

#[test]
fn a_host_that_is_down_is_not_asked_for_what_it_does_not_reach() {
    let (machine, running, _, _) = far();
    pool_on(&machine, "main", &["far"]).json();
    machine.ok(&["offering", "create", "secret", "--encrypt"]);
    machine.create("vol-far", "secret", "8M");
    let address = running.address.clone();
    drop(running);
    // In its place something that takes connections and never says a word: the slowest way to be down.
    let hole = TcpListener::bind(&address).unwrap();
    hole.set_nonblocking(true).unwrap();
    let asked = || match hole.accept() {
        Ok(_) => true,
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => false,
        Err(e) => panic!("{e}"),
    };
    machine.ok(&["host", "probe"]);
    let near = machine.path().join("near");
    std::fs::create_dir(&near).unwrap();
    machine.ok(&["pool", "add", "near", "--directory", near.to_str().unwrap()]);
    let create = ["volume", "create", "vol-near", "--offering", "secret"];
    machine.ok(&[&create[..], &["--size", "8M", "--pool", "near"]].concat());
    machine.ok(&["volume", "verify", "vol-near"]);
    machine.ok(&["volume", "delete", "vol-near"]);
    let listed = machine.ok(&["volume", "list"]);
    assert_eq!(found(&listed, "id", "vol-far")["pool"], "main");
    assert!(
        !asked(),
        "a command that has nothing to do with the host asked it"
    );
    // What needs it says why it fails, and soon.
    machine
        .run(&["volume", "verify", "vol-far"])
        .refused(&["host far cannot be reached", "does not answer"]);
    assert!(asked());
}

#[test]
fn certificates_that_cannot_be_used_hinder_only_their_own_host() {
    let (machine, _running, _, control) = far();
    pool_on(&machine, "main", &["far"]).json();
    std::fs::remove_file(control.join("key.pem")).unwrap();
    assert_eq!(machine.ok(&["volume", "list"]), json!([]));
    let listed = machine.ok(&["host", "list"]);
    let shown = found(&listed, "id", "far");
    assert!(
        shown["unreachable"].as_str().unwrap().contains("key.pem"),
        "{shown}"
    );
}

#[test]
fn of_two_hosts_that_share_a_pool_the_one_that_is_there_does_the_work() {
    assert!(
        is_root(),
        "this test mounts a file system, and so wants to be root"
    );
    let (machine, running, _, control) = far();
    let authority = machine.path().join("certificates");
    let mut make = program();
    make.args([
        "--output",
        "json",
        "certificates",
        "agent",
        "second",
        "--directory",
    ])
    .arg(&authority);
    let made = crate::machine::outcome(&mut make).json();
    let second = Agent::start(
        Path::new(made["directory"].as_str().unwrap()),
        machine.path(),
        "127.0.0.1:0",
    );
    let control = control.to_str().unwrap();
    let address = ["--address", &second.address, "--certificates", control];
    machine.ok(&[&["host", "add", "second"], &address[..]].concat());
    let mount = crate::machine::Mounted::tmpfs(&machine.pool());
    let pool = machine.pool();
    let pool = pool.to_str().unwrap();
    machine.ok(&[
        "pool",
        "add",
        "main",
        "--directory",
        pool,
        "--shared",
        "--host",
        "far",
        "--host",
        "second",
    ]);
    machine.ok(&["offering", "create", "secret", "--encrypt"]);
    machine.create("vol-1", "secret", "8M");
    drop(running);
    machine.ok(&["volume", "verify", "vol-1"]);
    machine.create("vol-2", "secret", "8M");
    machine.ok(&["volume", "delete", "vol-1"]);
    machine.ok(&["volume", "delete", "vol-2"]);
    assert_eq!(machine.pool_files(), Vec::<String>::new());
    drop(second);
    machine
        .run(&[
            "volume",
            "create",
            "vol-3",
            "--offering",
            "secret",
            "--size",
            "8M",
        ])
        .refused(&["far", "second"]);
    drop(mount);
}
