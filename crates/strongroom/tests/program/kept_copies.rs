//! What `template add` recorded is what every volume gets, whatever copy lies in the pool.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::machine::{Machine, Outcome, outcome, program};

fn image(machine: &Machine, name: &str, seed: u32) -> PathBuf {
    let path = machine.path().join(name);
    let content: Vec<u8> = (0..1u32 << 18)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).wrapping_add(seed).to_le_bytes())
        .collect();
    fs::write(&path, content).unwrap();
    path
}

/// The same machine, as another installation sees it.
fn other(machine: &Machine, args: &[&str]) -> Outcome {
    let (state, tools) = (machine.path().join("other-state"), machine.tools());
    let (state, tools) = (state.to_str().unwrap(), tools.to_str().unwrap());
    let mut command = program();
    command.args(["--state", state, "--tools", tools, "--output", "json"]);
    outcome(command.args(args))
}

fn create<'a>(volume: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = ["volume", "create", volume, "--offering", "secret", "--size", "1M"];
    [&args[..], &["--template", "t"], more].concat()
}

fn the_copy(machine: &Machine) -> PathBuf {
    let mut copies: Vec<_> = fs::read_dir(machine.pool().join("templates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "raw"))
        .collect();
    assert_eq!(copies.len(), 1, "{copies:?}");
    copies.remove(0)
}

/// Changes one byte.
fn damage(copy: &Path) {
    let mut bytes = fs::read(copy).unwrap();
    bytes[77_777] ^= 1;
    fs::write(copy, bytes).unwrap();
}

fn sha256_of(machine: &Machine, volume: &str) -> Value {
    machine.ok(&["volume", "verify", volume, "--digest"])["sha256"].clone()
}

#[test]
fn the_copy_of_another_installation_is_not_taken_for_this_ones_template() {
    let machine = Machine::new();
    let (one, two) = (image(&machine, "one.raw", 1), image(&machine, "two.raw", 2));
    machine.ok(&["template", "add", "t", "--file", one.to_str().unwrap()]);
    machine.ok(&create("v", &["--overlay"]));

    other(&machine, &["host", "probe"]).json();
    other(&machine, &["offering", "create", "secret", "--encrypt"]).json();
    let pool = machine.pool();
    let pool = pool.to_str().unwrap();
    other(
        &machine,
        &["pool", "add", "main", "--directory", pool, "--take-over"],
    )
    .json();
    let added = other(
        &machine,
        &["template", "add", "t", "--file", two.to_str().unwrap()],
    )
    .json();
    for (volume, how) in [("full", &[][..]), ("overlay", &["--overlay"])] {
        other(&machine, &create(volume, how)).json();
        let verified = other(&machine, &["volume", "verify", volume, "--digest"]).json();
        assert_eq!(verified["sha256"], added["sha256"], "{volume}");
    }
}

#[test]
fn a_damaged_copy_becomes_no_volume_and_costs_no_disk() {
    let machine = Machine::new();
    let file = image(&machine, "t.raw", 1);
    let added = machine.ok(&["template", "add", "t", "--file", file.to_str().unwrap()]);
    machine.ok(&create("lies", &["--overlay"]));
    machine.ok(&create("v", &[]));
    let copy = the_copy(&machine);
    let sound = fs::read(&copy).unwrap();
    damage(&copy);
    for args in [
        create("w", &[]),
        create("w", &["--overlay"]),
        vec!["volume", "reinstall", "v", "--template", "t"],
        vec!["volume", "reinstall", "v", "--template", "t", "--overlay"],
        vec!["volume", "flatten", "lies"],
    ] {
        machine.run(&args).refused(&["is damaged", "put the copy back"]);
    }
    assert_eq!(
        sha256_of(&machine, "v"),
        added["sha256"],
        "the good disk is there"
    );
    fs::write(&copy, sound).unwrap();
    machine.ok(&["volume", "flatten", "lies"]);

    // Nothing lies on it any more: the next one makes it anew.
    damage(&copy);
    machine.ok(&["volume", "reinstall", "v", "--template", "t"]);
    for volume in ["v", "lies"] {
        assert_eq!(sha256_of(&machine, volume), added["sha256"], "{volume}");
    }
    for volume in ["v", "lies"] {
        machine.ok(&["volume", "delete", volume]);
    }
    machine.ok(&["template", "remove", "t"]);
    assert_eq!(fs::read_dir(machine.pool().join("templates")).unwrap().count(), 0);
}
