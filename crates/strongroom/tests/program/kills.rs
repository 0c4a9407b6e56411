//! Killed at any instant, the next start finishes or undoes the work.

use std::fs;
use std::time::{Duration, Instant};

use crate::machine::{Machine, tool};

/// Kills the program when it starts a tool for the given time, and counts the starts.
fn kill_at(machine: &Machine, number: u32) {
    for tool in ["qemu-img", "cryptsetup"] {
        machine.replace_tool(
            tool,
            &format!(
                "echo x >> \"${{0%/*}}/../started\"\n[ \"$(wc -l < \"${{0%/*}}/../started\")\" -ne {number} ] || kill -KILL $PPID\nexec \"$REAL\" \"$@\""
            ),
        );
    }
    let _ = fs::remove_file(machine.path().join("started"));
}

/// Runs the command once for every tool that it starts, killed at that start; then once to its end. In between everything is
/// sound, and `check` says whether what is there is the old state or the new one.
fn killed_at_each_tool(machine: &Machine, args: &[&str], check: impl Fn(&Machine)) {
    for number in 1.. {
        assert!(number < 60, "the command starts ever more tools");
        kill_at(machine, number);
        let outcome = machine.run(args);
        let killed = outcome.code.is_none();
        machine.restore_tools();
        if !killed {
            outcome.json();
            assert!(number > 1, "no tool was started");
            break;
        }
        machine.assert_sound();
        check(machine);
    }
    machine.assert_sound();
}

fn size(machine: &Machine, volume: &str) -> u64 {
    machine.ok(&["volume", "show", volume])["size"].as_u64().unwrap()
}

#[test]
fn killed_at_each_tool_of_a_create() {
    let machine = Machine::new();
    machine.create("keep", "secret-raw", "1M");
    let template = machine.path().join("template.raw");
    fs::write(&template, vec![42; 1 << 20]).unwrap();
    let args = [
        "volume",
        "create",
        "new",
        "--offering",
        "secret-raw",
        "--size",
        "1M",
        "--image",
        template.to_str().unwrap(),
    ];
    killed_at_each_tool(&machine, &args, |machine| {
        let ids = machine.assert_sound();
        assert_eq!(ids, ["keep"], "a create that was killed is undone");
    });
    assert_eq!(machine.assert_sound(), ["keep", "new"]);
}

#[test]
fn killed_at_each_tool_of_grow_snapshot_restore_and_delete() {
    let machine = Machine::new();
    machine.create("vol", "secret", "1M");
    killed_at_each_tool(&machine, &["volume", "snapshot", "vol", "before"], |_| {});
    killed_at_each_tool(&machine, &["volume", "resize", "vol", "2M"], |machine| {
        assert!([1 << 20, 2 << 20].contains(&size(machine, "vol")));
    });
    killed_at_each_tool(&machine, &["volume", "restore", "vol", "before"], |machine| {
        assert!([1 << 20, 2 << 20].contains(&size(machine, "vol")));
    });
    assert_eq!(size(&machine, "vol"), 1 << 20);
    machine.ok(&["volume", "delete", "vol"]);
    assert_eq!(machine.assert_sound(), Vec::<String>::new());
}

#[test]
fn killed_at_each_tool_of_a_header_backup_and_of_the_erasure_after_it() {
    let machine = Machine::new();
    machine.create("vol", "secret-raw", "1M");
    let backups = machine.path().join("backups");
    fs::create_dir(&backups).unwrap();
    let file = backups.join("vol.luks");
    let left = || fs::read_dir(&backups).unwrap().count();
    let args = ["volume", "back-up-header", "vol", "--to", file.to_str().unwrap()];
    killed_at_each_tool(&machine, &args, |_| {
        assert_eq!(left(), 0, "a backup that was killed leaves no key material");
    });
    assert_eq!(left(), 1);
    machine.run(&args).refused(&["vol.luks", "already"]);
    let shown = machine.ok(&["volume", "show", "vol"]);
    assert_eq!(shown["header_backups"], serde_json::json!([file]));
    machine.ok(&["volume", "delete", "vol"]);
    assert_eq!(left(), 0);
    assert_eq!(machine.assert_sound(), Vec::<String>::new());
}

#[test]
fn killed_at_each_tool_of_what_makes_one_disk_from_another() {
    let machine = Machine::new();
    let template = machine.path().join("template.raw");
    fs::write(&template, vec![42; 1 << 20]).unwrap();
    machine.ok(&["template", "add", "t", "--file", template.to_str().unwrap()]);
    let create = [
        "volume",
        "create",
        "vol",
        "--offering",
        "secret",
        "--size",
        "1M",
        "--template",
        "t",
    ];
    let overlay = [&create[..], &["--overlay"]].concat();
    killed_at_each_tool(&machine, &overlay, |machine| {
        assert_eq!(machine.assert_sound(), Vec::<String>::new());
    });
    let digest = |machine: &Machine| machine.ok(&["volume", "verify", "vol", "--digest"])["sha256"].clone();
    let content = digest(&machine);
    let kept = |machine: &Machine| assert_eq!(digest(machine), content);
    killed_at_each_tool(&machine, &["volume", "clone", "vol", "twin"], |machine| {
        assert_eq!(machine.assert_sound(), ["vol"]);
    });
    killed_at_each_tool(&machine, &["volume", "reinstall", "vol", "--template", "t"], kept);
    // Killed after the exchange, it is there; so each time it goes to the format that it has not.
    for number in 1.. {
        let there = machine.ok(&["volume", "show", "vol"])["format"] == "qcow2";
        let to = if there { "raw" } else { "qcow2" };
        kill_at(&machine, number);
        let outcome = machine.run(&["volume", "move", "vol", "--to", "main", "--format", to]);
        machine.restore_tools();
        kept(&machine);
        assert_eq!(machine.assert_sound(), ["twin", "vol"]);
        if outcome.code.is_some() {
            outcome.json();
            assert!(number > 1, "no tool was started");
            break;
        }
    }
    assert_eq!(machine.assert_sound(), ["twin", "vol"]);
}

#[test]
fn a_killed_export_leaves_no_file() {
    let machine = Machine::new();
    machine.create("vol", "secret", "1M");
    let exports = machine.path().join("exports");
    fs::create_dir(&exports).unwrap();
    let file = exports.join("vol.qcow2");
    // A passphrase of a user's is stretched for seconds at each opening; in clear the steps are the same.
    let to = ["volume", "export", "vol", "--to", file.to_str().unwrap()];
    let args = [&to[..], &["--declassify", "a test"]].concat();
    killed_at_each_tool(&machine, &args, |machine| {
        let made = machine.ok(&["volume", "exports"]).as_array().unwrap().len();
        assert_eq!(fs::read_dir(&exports).unwrap().count(), made);
    });
    assert!(file.exists());
}

#[test]
fn a_tool_that_outlives_the_killed_program_is_waited_for() {
    let machine = Machine::new();
    machine.create("vol", "secret", "1M");
    for (action, args) in [
        ("-c", &["volume", "snapshot", "vol", "first"][..]),
        ("-a", &["volume", "restore", "vol", "first"]),
        ("-d", &["volume", "snapshot", "vol", "first", "--delete"]),
    ] {
        // Ends with the test's directory, should the test fail.
        let place = machine.path().display();
        let wait = format!(
            "case \" $* \" in *\" {action} \"*) touch \"${{0%/*}}/../waiting\"; while [ ! -e \"${{0%/*}}/../go\" ] && [ -d {place} ]; do read -r _ < /proc/self/stat; done;; esac; exec \"$REAL\" \"$@\""
        );
        machine.replace_tool("qemu-img", &wait);
        let mut killed = machine.start(args);
        while !machine.path().join("waiting").exists() {
            assert_eq!(killed.try_wait().unwrap(), None, "{args:?} ended early");
            std::thread::yield_now();
        }
        killed.kill().unwrap();
        killed.wait().unwrap();
        machine.restore_tools();
        let hurried = machine.run(&["--timeout", "1", "volume", "list"]);
        hurried.refused(&["left running", &killed.id().to_string()]);
        let mut next = machine.start(&["volume", "list"]);
        fs::write(machine.path().join("go"), "").unwrap();
        assert_eq!(next.wait().unwrap().code(), Some(0));
        for name in ["waiting", "go"] {
            fs::remove_file(machine.path().join(name)).unwrap();
        }
        machine.assert_sound();
        let recorded = machine.ok(&["volume", "show", "vol"])["snapshots"].clone();
        let disk = machine.disk("vol");
        let info = tool(
            "qemu-img",
            &["info", "--output=json", "-f", "qcow2", disk.to_str().unwrap()],
        );
        let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
        let inside = info["snapshots"].as_array().map_or(0, Vec::len);
        assert_eq!(recorded.as_array().unwrap().len(), inside, "{args:?}: {recorded}");
        // The next round begins with a snapshot, whatever became of this one.
        if action == "-c" && inside == 0 {
            machine.ok(&["volume", "snapshot", "vol", "first"]);
        }
    }
}

#[test]
fn killed_at_random_moments() {
    let machine = Machine::new();
    machine.create("keep", "secret-raw", "1M");
    // A fixed sequence, so that a failure can be run again.
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    for round in 0..25 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let after = Duration::from_micros(random >> 47);
        let there = machine.assert_sound();
        let args: &[&str] = match round % 3 {
            0 if there.len() == 1 => &[
                "volume",
                "create",
                "v",
                "--offering",
                "secret-raw",
                "--size",
                "1M",
            ],
            1 => &[
                "volume",
                "resize",
                "keep",
                if round % 2 == 0 { "8M" } else { "4M" },
            ],
            _ if there.len() == 2 => &["volume", "delete", "v"],
            _ => &[
                "volume",
                "create",
                "v",
                "--offering",
                "secret-raw",
                "--size",
                "1M",
            ],
        };
        let mut child = machine.start(args);
        let begun = Instant::now();
        while begun.elapsed() < after && child.try_wait().unwrap().is_none() {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let ids = machine.assert_sound();
        assert!(ids == ["keep"] || ids == ["keep", "v"], "round {round}: {ids:?}");
    }
}
