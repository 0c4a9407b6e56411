//! The life of volumes, by commands, and the demo.

use std::fs;
use std::time::Duration;

use crate::machine::{Machine, outcome, tool};

#[test]
fn a_volume_lives_and_is_erased() {
    let machine = Machine::new();
    let made = machine.create("vol-1", "secret", "16M");
    assert_eq!(made["encryption"], "luks1");
    assert_eq!(made["size"], 16 << 20);
    let disk = machine.disk("vol-1");
    let info = tool(
        "qemu-img",
        &["info", "--output=json", "-f", "qcow2", disk.to_str().unwrap()],
    );
    let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
    assert_eq!(info["encrypted"], true);
    assert_eq!(info["virtual-size"], 16 << 20);

    machine.ok(&["volume", "snapshot", "vol-1", "before"]);
    let grown = machine.ok(&["volume", "resize", "vol-1", "16777728"]);
    assert_eq!(grown["size"], 16_777_728);
    assert_eq!(machine.assert_sound(), ["vol-1"]);
    let restored = machine.ok(&["volume", "restore", "vol-1", "before"]);
    assert_eq!(restored["size"], 16 << 20, "a snapshot brings its size back");
    machine.ok(&["volume", "snapshot", "vol-1", "before", "--delete"]);
    assert_eq!(
        machine.ok(&["volume", "show", "vol-1"])["snapshots"],
        serde_json::json!([])
    );

    let erasure = machine.ok(&["volume", "delete", "vol-1"]);
    assert!(!erasure["destroyed"].as_array().unwrap().is_empty(), "{erasure}");
    assert_eq!(machine.pool_files(), Vec::<String>::new());
    machine.assert_sound();
    machine
        .run(&["volume", "show", "vol-1"])
        .refused(&["vol-1", "no"]);
}

#[test]
fn a_raw_volume_has_the_exact_size_and_opens_in_qemu() {
    let machine = Machine::new();
    machine.create("raw-1", "secret-raw", "1049088");
    let grown = machine.ok(&["volume", "resize", "raw-1", "3M"]);
    assert_eq!(grown["size"], 3 << 20);
    assert_eq!(
        fs::metadata(machine.disk("raw-1")).unwrap().len(),
        (3 << 20) + 2_097_152
    );
    machine
        .run(&["volume", "snapshot", "raw-1", "s"])
        .refused(&["raw", "snapshot"]);
    machine.assert_sound();
}

#[test]
fn listings_filter_and_explain() {
    let machine = Machine::new();
    let encrypting = machine.ok(&["offering", "list", "--encrypt"]);
    assert_eq!(encrypting.as_array().unwrap().len(), 2, "{encrypting}");
    let plain = machine.ok(&["offering", "list", "--encrypt=false"]);
    assert_eq!(plain[0]["id"], "plain");
    let hosts = machine.ok(&["host", "list"]);
    assert_eq!(hosts[0]["encryption_supported"], true, "{hosts}");
    assert_eq!(
        machine.ok(&["pool", "list"])[0]["encryption"],
        "luks1 on the host"
    );
}

#[test]
fn help_is_there_for_every_command() {
    let machine = Machine::bare();
    for command in [
        "host",
        "offering",
        "pool",
        "volume",
        "demo",
        "volume create",
        "volume restore",
        "host probe",
    ] {
        let args: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let help = machine.run(&args);
        assert_eq!(help.code, Some(0));
        assert!(help.stdout.contains("Usage:"), "{}", help.stdout);
    }
}

#[test]
fn the_demo_holds_every_check_and_leaves_nothing() {
    let machine = Machine::bare();
    let done = outcome(
        machine
            .command(&["demo"])
            .env("TMPDIR", machine.path())
            .env_remove("STRONGROOM_STATE"),
    );
    assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
    let steps: Vec<serde_json::Value> = done
        .stdout
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert!(steps.len() >= 15, "{} steps", steps.len());
    for step in &steps {
        assert_eq!(step["ok"], true, "{step}");
        assert!(step["seconds"].as_f64().unwrap() >= 0.0);
        assert!(!step["checked"].as_array().unwrap().is_empty(), "{step}");
    }
    assert!(!machine.state().exists());
}

#[test]
fn the_demo_takes_no_directory_that_is_there() {
    let machine = Machine::bare();
    fs::create_dir(machine.state()).unwrap();
    machine.run(&["demo"]).refused(&["state", "not there"]);
    assert!(
        machine.state().exists(),
        "an empty directory that it did not make"
    );
    machine.ok(&["host", "list"]);
    machine.run(&["demo"]).refused(&["state", "not there"]);
    machine.ok(&["host", "list"]);
}

#[test]
fn what_is_asked_for_without_a_state_directory_is_a_mistake_of_the_command_line() {
    let done = outcome(
        crate::machine::program()
            .args(["host", "list"])
            .env_remove("STRONGROOM_STATE"),
    );
    assert_eq!(done.code, Some(2));
    assert!(done.stderr.contains("--state DIR"), "{}", done.stderr);
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    for after in [50, 700, 2500, 6000] {
        let machine = Machine::bare();
        let mut child = machine.start(&["demo"]);
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(after) && child.try_wait().unwrap().is_none() {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let status = child.wait().unwrap();
        assert_ne!(status.code(), Some(0), "interrupted after {after} ms");
        assert!(!machine.state().exists(), "after {after} ms");
        assert_eq!(machine.pool_files(), Vec::<String>::new());
    }
}
