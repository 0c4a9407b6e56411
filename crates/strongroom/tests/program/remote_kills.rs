//! Killed with signal 9, agent or control plane, in the middle of a command: what was begun is finished or undone.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::machine::{Machine, program};
use crate::remote::{Agent, add, certificates, pool_on};

/// A control plane whose pool `main` is on the host `far`, whose tools wait at a gate when that is closed.
struct Far {
    machine: Machine,
    certificates: PathBuf,
    agent: Option<Agent>,
}

impl Far {
    fn new() -> Self {
        let machine = Machine::bare();
        let (certificates, control) = certificates(&machine.path().join("certificates"));
        let mut far = Self {
            machine,
            certificates,
            agent: None,
        };
        far.start("127.0.0.1:0");
        add(&far.machine, far.agent.as_ref().unwrap(), &control).json();
        pool_on(&far.machine, "main", &["far"]).json();
        far.machine.ok(&["offering", "create", "secret", "--encrypt"]);
        far
    }

    fn start(&mut self, listen: &str) {
        let mut command = program();
        command.arg("--tools").arg(self.machine.tools());
        let (certificates, scratch) = (&self.certificates, self.machine.path());
        self.agent = Some(Agent::started(command, certificates, scratch, listen));
    }

    /// Kills the agent. Answers where it listened.
    fn kill_agent(&mut self) -> String {
        self.agent.take().unwrap().address.clone()
    }

    fn place(&self, name: &str) -> PathBuf {
        self.machine.path().join(name)
    }

    /// From now on a tool says that it was started, and waits until the gate opens, or for half a minute.
    fn close_gate(&self) {
        fs::write(self.place("gate"), "").unwrap();
        for tool in ["qemu-img", "cryptsetup"] {
            self.machine.replace_tool(
                tool,
                "here=\"${0%/*}/..\"\n: > \"$here/started\"\nfor turn in $(seq 600); do [ -e \"$here/gate\" ] || break; sleep 0.05; done\nexec \"$REAL\" \"$@\"",
            );
        }
    }

    fn open_gate(&self) {
        fs::remove_file(self.place("gate")).unwrap();
        self.machine.restore_tools();
    }

    /// Begins to make a volume, and waits until a tool is at work on it.
    fn begin(&self) -> Child {
        self.close_gate();
        let args = [
            "volume",
            "create",
            "vol-1",
            "--offering",
            "secret",
            "--size",
            "8M",
        ];
        let mut command = self.machine.command(&args);
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until("a tool is started", || self.place("started").exists());
        child
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it never came to this: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn kill(mut process: Child) {
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn an_agent_killed_in_the_middle_of_a_create_leaves_nothing_and_the_same_command_makes_the_volume_once() {
    let mut far = Far::new();
    let create = far.begin();
    let address = far.kill_agent();
    far.open_gate();
    far.start(&address);
    let ended = create.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    // The agent that runs now was never asked, and says so; what the other one began is undone.
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("is not known"), "{said}");
    assert_eq!(far.machine.assert_sound(), Vec::<String>::new());
    assert_eq!(far.machine.count("volumes"), 0);
    far.machine.create("vol-1", "secret", "8M");
    assert_eq!(far.machine.assert_sound(), ["vol-1"]);
}

#[test]
fn a_create_that_lost_its_agent_for_long_is_undone_by_the_first_command_after_that_is_back() {
    let mut far = Far::new();
    let create = far.begin();
    let address = far.kill_agent();
    kill(create);
    far.open_gate();
    // Meanwhile other work goes on, and says what is left to do.
    let listed = far.machine.run(&["volume", "list"]);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    assert!(
        listed.stderr.contains("vol-1") && listed.stderr.contains("far"),
        "{}",
        listed.stderr
    );
    assert_eq!(far.machine.count("jobs"), 1);
    far.start(&address);
    assert_eq!(far.machine.assert_sound(), Vec::<String>::new());
    assert_eq!(far.machine.count("volumes"), 0);
    far.machine.create("vol-1", "secret", "8M");
    assert_eq!(far.machine.assert_sound(), ["vol-1"]);
}

#[test]
fn a_disk_that_is_finished_after_its_control_plane_was_killed_is_removed_by_the_next_one() {
    let far = Far::new();
    kill(far.begin());
    far.open_gate();
    until("the agent has finished the disk", || {
        far.machine
            .pool_files()
            .iter()
            .any(|name| name.starts_with("vol-1."))
    });
    assert_eq!(far.machine.assert_sound(), Vec::<String>::new());
    assert_eq!(far.machine.count("volumes"), 0);
    far.machine.create("vol-1", "secret", "8M");
    assert_eq!(far.machine.assert_sound(), ["vol-1"]);
}

#[test]
fn a_control_plane_that_starts_while_the_agent_still_works_for_the_one_before_it_leaves_no_disk_behind() {
    let far = Far::new();
    kill(far.begin());
    // The gate is still closed: the agent stops that work before it takes a command from the new process.
    let early = far.machine.run(&["volume", "list"]);
    assert_eq!(early.code, Some(0), "{}", early.stderr);
    assert!(early.stderr.contains("this is undone"), "{}", early.stderr);
    far.open_gate();
    assert_eq!(far.machine.assert_sound(), Vec::<String>::new());
    assert_eq!(far.machine.count("volumes"), 0);
    far.machine.create("vol-1", "secret", "8M");
    assert_eq!(far.machine.assert_sound(), ["vol-1"]);
}
