//! Virtual machines on a real libvirt: by command, and in the demo.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use strongroom_lab::Hypervisors;

use crate::machine::{Machine, Outcome, outcome, program};
use crate::remote::{Agent, add, certificates, pool_on};

/// A machine whose virtual machines are those of a libvirt in the lab.
pub(crate) struct Hosted {
    pub(crate) lab: Hypervisors,
    pub(crate) machine: Machine,
}

impl Hosted {
    pub(crate) fn new() -> Self {
        let lab = Hypervisors::one().unwrap_or_else(|e| panic!("{e}"));
        let machine = Machine::bare();
        std::os::unix::fs::symlink("/usr/bin/virsh", machine.tools().join("virsh")).unwrap();
        Self { lab, machine }
    }

    /// Probed, with a pool, and offerings `secret`, `secret-raw` and `plain`.
    pub(crate) fn with_pool() -> Self {
        let hosted = Self::new();
        hosted.ok(&["host", "probe"]);
        let pool = hosted.machine.pool();
        hosted.ok(&["pool", "add", "main", "--directory", pool.to_str().unwrap()]);
        for (name, more) in [
            ("secret", &["--encrypt"][..]),
            ("secret-raw", &["--encrypt", "--format", "raw"]),
            ("plain", &[]),
        ] {
            hosted.ok(&[&["offering", "create", name], more].concat());
        }
        hosted
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.machine.command(args);
        command.env("STRONGROOM_HYPERVISOR", self.lab.first().uri());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        outcome(&mut self.command(args))
    }

    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> Value {
        self.run(args).json()
    }

    /// What libvirt lists, a name a line.
    #[track_caller]
    pub(crate) fn listed(&self, words: &[&str]) -> String {
        let done = self.lab.first().virsh(words.iter().copied()).unwrap();
        assert_eq!(done.code, 0, "{}", done.message());
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    #[track_caller]
    pub(crate) fn assert_no_secret(&self) {
        assert_eq!(self.listed(&["-q", "secret-list"]), "");
    }
}

#[test]
fn an_encrypted_root_boots_a_guest_in_the_demo_and_nothing_is_left() {
    let hosted = Hosted::new();
    let done = outcome(
        hosted
            .command(&["demo", "--boot"])
            .env("TMPDIR", hosted.machine.path())
            .env_remove("STRONGROOM_STATE"),
    );
    assert_eq!(
        done.code,
        Some(0),
        "{}\n{}\n{}",
        done.stdout,
        done.stderr,
        hosted.lab.first().logs()
    );
    let steps: Vec<Value> = done
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let checked: Vec<&str> = steps
        .iter()
        .flat_map(|step| step["checked"].as_array().unwrap())
        .map(|check| check.as_str().unwrap())
        .collect();
    for check in [
        "the hypervisor reads its disk through LUKS1",
        "nobody else gets at the volume while it runs",
        "it wrote a mark that it made up",
        "its mark is nowhere in the raw bytes",
        "with the key it is read back",
    ] {
        assert!(checked.contains(&check), "{check:?} is not among {checked:#?}");
    }
    assert_eq!(hosted.listed(&["-q", "list", "--all", "--name"]), "");
    hosted.assert_no_secret();
    let left: Vec<_> = std::fs::read_dir(hosted.machine.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "pool" && name != "tools")
        .collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn the_demo_says_what_is_missing_where_there_is_no_libvirt() {
    let machine = Machine::bare();
    let done = outcome(
        machine
            .command(&["demo", "--boot"])
            .env("TMPDIR", machine.path())
            .env_remove("STRONGROOM_STATE"),
    );
    done.refused(&["runs no guests with encrypted disks", "libvirt-clients"]);
}

#[test]
fn a_machine_is_made_started_changed_stopped_and_forgotten_by_command() {
    let hosted = Hosted::with_pool();
    for (volume, offering) in [("root", "secret"), ("raw", "secret-raw"), ("open", "plain")] {
        hosted.ok(&["volume", "create", volume, "--offering", offering, "--size", "8M"]);
    }
    let made = hosted.ok(&[
        "vm", "create", "guest", "--memory", "128M", "--disk", "root", "--disk", "raw:vdc",
    ]);
    assert_eq!(made["state"], "stopped");
    assert_eq!(made["memory"], 128 << 20);
    let disks = json!([
        {"target": "vda", "volume": "root", "read_only": false},
        {"target": "vdc", "volume": "raw", "read_only": false},
    ]);
    assert_eq!(made["disks"], disks);

    let started = hosted.ok(&["vm", "start", "guest"]);
    assert_eq!(
        (&started["state"], &started["host"]),
        (&json!("running"), &json!("local"))
    );
    assert_eq!(started["guest"]["state"], "running");
    let encryption = |shown: &Value| -> Vec<Value> {
        let disks = shown["guest"]["disks"].as_array().unwrap();
        disks.iter().map(|disk| disk["encryption"].clone()).collect()
    };
    assert_eq!(encryption(&started), ["luks1", "luks1"]);
    hosted.assert_no_secret();
    assert_ne!(hosted.listed(&["-q", "list", "--name"]), "");

    // While it runs, its volumes are its own.
    for work in [
        &["volume", "snapshot", "root", "s"][..],
        &["volume", "verify", "raw"],
        &["volume", "delete", "root"],
        &["volume", "resize", "root", "4M", "--shrink"],
    ] {
        hosted
            .run(work)
            .refused(&["virtual machine guest", "host local", "stop it first"]);
    }
    let attached = hosted.ok(&["vm", "attach", "guest", "open", "--read-only"]);
    assert_eq!(attached["disks"][1]["target"], "vdb", "the next free name");
    assert_eq!(
        encryption(&attached),
        [json!("luks1"), Value::Null, json!("luks1")]
    );
    hosted
        .run(&["vm", "delete", "guest"])
        .refused(&["runs on host local"]);
    hosted
        .run(&["vm", "attach", "guest", "root:vdd"])
        .refused(&["volume root is disk vda of virtual machine guest"]);

    // It grows under the guest, and exactly so.
    for (volume, target) in [("root", 0), ("raw", 2)] {
        let grown = hosted.ok(&["volume", "resize", volume, "12M"]);
        assert_eq!(grown["size"], 12 << 20);
        let shown = hosted.ok(&["vm", "show", "guest"]);
        assert_eq!(shown["guest"]["disks"][target]["size"], 12 << 20, "{volume}");
    }

    let stopped = hosted.ok(&["vm", "stop", "guest", "--power-off"]);
    assert_eq!(
        (&stopped["state"], &stopped["host"]),
        (&json!("stopped"), &Value::Null)
    );
    assert_eq!(hosted.listed(&["-q", "list", "--all", "--name"]), "");
    hosted.assert_no_secret();
    let detached = hosted.ok(&["vm", "detach", "guest", "vdb"]);
    assert_eq!(detached["disks"], disks);
    hosted.ok(&["volume", "delete", "open"]);
    hosted
        .run(&["volume", "delete", "root"])
        .refused(&["detach it first", "vm detach"]);
    hosted.ok(&["vm", "delete", "guest"]);
    assert_eq!(hosted.ok(&["vm", "list"]), json!([]));
    assert_eq!(hosted.machine.assert_sound(), ["raw", "root"]);
}

#[test]
fn a_volume_that_is_not_what_its_record_says_starts_nothing() {
    let hosted = Hosted::with_pool();
    hosted.ok(&[
        "volume",
        "create",
        "root",
        "--offering",
        "secret-raw",
        "--size",
        "8M",
    ]);
    hosted.ok(&["vm", "create", "guest", "--memory", "128M", "--disk", "root"]);
    let disk = hosted.machine.disk("root");
    let header = std::fs::read(&disk).unwrap();
    let mut damaged = header.clone();
    damaged[..6].fill(0);
    write(&disk, &damaged);
    hosted
        .run(&["vm", "start", "guest"])
        .refused(&["wrong disk", "luks1"]);
    let shown = hosted.ok(&["vm", "show", "guest"]);
    assert_eq!(
        (&shown["state"], &shown["host"]),
        (&json!("stopped"), &Value::Null)
    );
    assert_eq!(hosted.listed(&["-q", "list", "--all", "--name"]), "");
    hosted.assert_no_secret();
    write(&disk, &header);
    hosted.ok(&["vm", "start", "guest"]);
    hosted.ok(&["vm", "stop", "guest", "--power-off"]);
}

fn write(disk: &Path, bytes: &[u8]) {
    std::fs::write(disk, bytes).unwrap();
}

#[test]
fn what_makes_no_sense_is_refused_with_what_to_do() {
    let machine = Machine::new();
    machine.create("root", "plain", "1M");
    machine.ok(&["vm", "create", "guest", "--disk", "root"]);
    assert_eq!(machine.ok(&["vm", "list"])[0]["state"], "stopped");
    machine
        .run(&["vm", "show", "nobody"])
        .refused(&["there is no virtual machine nobody", "vm list"]);
    machine
        .run(&["vm", "create", "guest"])
        .refused(&["guest is there already"]);
    machine
        .run(&["vm", "create", "other", "--disk", "none"])
        .refused(&["there is no volume none"]);
    assert_eq!(
        machine.ok(&["vm", "list"]).as_array().unwrap().len(),
        1,
        "nothing of other is left"
    );
    machine
        .run(&["vm", "start", "guest"])
        .refused(&["start virtual machine guest", "libvirt-clients"]);
    let usage = machine.run(&["vm", "create", "x", "--cores", "0"]);
    assert_eq!(usage.code, Some(2), "{}", usage.stderr);
    let usage = machine.run(&["vm", "create", "x", "--disk", "root:sda"]);
    assert_eq!(usage.code, Some(2), "{}", usage.stderr);
    let hypervisor = machine.run(&["--hypervisor", "vbox:///session", "vm", "list"]);
    assert_eq!(hypervisor.code, Some(2), "{}", hypervisor.stderr);
    assert!(
        hypervisor.stderr.contains("no URI of a hypervisor"),
        "{}",
        hypervisor.stderr
    );
}

#[test]
fn an_overlay_is_flattened_under_its_guest_until_nothing_reads_from_the_template() {
    let hosted = Hosted::with_pool();
    let text = "this sentence is in the template ";
    let template = hosted.machine.path().join("template.raw");
    std::fs::write(&template, &text.repeat(1 << 17).as_bytes()[..4 << 20]).unwrap();
    hosted.ok(&["template", "add", "t", "--file", template.to_str().unwrap()]);
    let create = ["volume", "create", "lean", "--offering", "secret", "--size", "4M"];
    hosted.ok(&[&create[..], &["--template", "t", "--overlay"]].concat());
    hosted.ok(&["vm", "create", "guest", "--memory", "64M", "--disk", "lean"]);
    hosted.ok(&["vm", "start", "guest"]);
    let digest = |hosted: &Hosted| hosted.ok(&["volume", "verify", "lean", "--digest"])["sha256"].clone();

    let flat = hosted.ok(&["volume", "flatten", "lean"]);
    assert_eq!(flat["template"], Value::Null);
    let shown = hosted.ok(&["vm", "show", "guest"]);
    assert_eq!(shown["guest"]["disks"][0]["encryption"], "luks1");
    hosted.assert_no_secret();
    hosted.ok(&["vm", "stop", "guest", "--power-off"]);

    let raw = std::fs::read(hosted.machine.disk("lean")).unwrap();
    assert!(!raw.windows(text.len()).any(|window| window == text.as_bytes()));
    hosted.ok(&["template", "remove", "t"]);
    let copy = ["volume", "create", "copy", "--offering", "plain", "--size", "4M"];
    hosted.ok(&[&copy[..], &["--image", template.to_str().unwrap()]].concat());
    let content = hosted.ok(&["volume", "verify", "copy", "--digest"])["sha256"].clone();
    assert_eq!(digest(&hosted), content);
}

#[test]
fn a_machine_runs_on_a_host_elsewhere() {
    let hosted = Hosted::new();
    let machine = &hosted.machine;
    let (agent, control) = certificates(&machine.path().join("certificates"));
    let mut there = program();
    there.env("STRONGROOM_HYPERVISOR", hosted.lab.first().uri());
    let running = Agent::started(there, &agent, machine.path(), "127.0.0.1:0");
    add(machine, &running, &control).json();
    pool_on(machine, "main", &["far"]).json();
    machine.ok(&["offering", "create", "secret", "--encrypt"]);
    machine.create("root", "secret", "8M");
    machine.ok(&["vm", "create", "guest", "--memory", "128M", "--disk", "root"]);

    let started = machine.ok(&["vm", "start", "guest"]);
    assert_eq!(
        (&started["state"], &started["host"]),
        (&json!("running"), &json!("far"))
    );
    assert_eq!(started["guest"]["disks"][0]["encryption"], "luks1");
    assert_ne!(hosted.listed(&["-q", "list", "--name"]), "");
    hosted.assert_no_secret();
    machine.ok(&["vm", "stop", "guest", "--power-off"]);
    assert_eq!(hosted.listed(&["-q", "list", "--all", "--name"]), "");
    hosted.assert_no_secret();
}
