//! Whose a directory is: pools in pools, files in pools, two installations with one directory, and what is removed.

use std::fs;

use serde_json::{Value, json};

use crate::machine::{Machine, Mounted, is_root, outcome, program};

/// The same machine, as another installation sees it.
fn other(machine: &Machine, args: &[&str]) -> crate::machine::Outcome {
    let state = machine.path().join("other-state");
    let (state, tools) = (state.to_str().unwrap().to_owned(), machine.tools());
    let mut command = program();
    command.args([
        "--state",
        &state,
        "--tools",
        tools.to_str().unwrap(),
        "--output",
        "json",
    ]);
    outcome(command.args(args))
}

#[test]
fn a_directory_of_another_installation_is_refused_until_it_is_taken_over_on_purpose() {
    let machine = Machine::new();
    machine.create("v", "secret", "1M");
    let pool = machine.pool();
    let add = ["pool", "add", "main", "--directory", pool.to_str().unwrap()];
    let refused = other(&machine, &add);
    refused.refused(&["of another installation", "--take-over", "pool take-over"]);
    assert_eq!(other(&machine, &["pool", "list"]).json(), json!([]));
    assert_eq!(machine.assert_sound(), ["v"], "the first one did not notice");

    other(&machine, &[&add[..], &["--take-over"]].concat()).json();
    let lost = machine.run(&["volume", "create", "w", "--offering", "secret", "--size", "1M"]);
    lost.refused(&["of another installation"]);
    machine
        .run(&["volume", "verify", "v"])
        .refused(&["of another installation"]);
    assert_eq!(machine.pool_files().len(), 1, "nobody deleted anything");

    machine.ok(&["pool", "take-over", "main"]);
    assert_eq!(machine.assert_sound(), ["v"]);
    let listed = other(&machine, &["pool", "list"]).json();
    let error = listed[0]["error"].as_str().unwrap();
    assert!(error.contains("of another installation"), "{listed}");
    machine
        .run(&["pool", "take-over", "nowhere"])
        .refused(&["no pool nowhere"]);
}

#[test]
fn a_mark_of_an_earlier_version_becomes_that_of_the_first_installation_that_starts() {
    let machine = Machine::new();
    machine.create("v", "secret", "1M");
    let mark = machine.pool().join(".strongroom-pool");
    let owned = fs::read_to_string(&mark).unwrap();
    assert_eq!(owned.lines().count(), 3, "{owned}");
    fs::write(&mark, "strongroom pool\nmain\n").unwrap();
    let database = rusqlite::Connection::open(machine.state().join("strongroom.db")).unwrap();
    database.execute("UPDATE pools SET prepared = 0", []).unwrap();
    drop(database);
    assert_eq!(machine.assert_sound(), ["v"]);
    assert_eq!(fs::read_to_string(&mark).unwrap(), owned);
}

#[test]
fn no_pool_lies_in_another_or_around_the_state_and_no_export_lies_in_either() {
    let machine = Machine::new();
    machine.create("v", "plain", "1M");
    let (inner, state) = (machine.pool().join("inner"), machine.state());
    fs::create_dir(&inner).unwrap();
    let link = machine.path().join("link");
    std::os::unix::fs::symlink(&inner, &link).unwrap();
    let in_state = state.join("pool");
    fs::create_dir(&in_state).unwrap();
    for (directory, words) in [
        (&inner, ["lies in", "pool main"]),
        (&in_state, ["state directory", "outside"]),
        (&state, ["state directory", "outside"]),
        (&machine.path().to_owned(), ["state directory", "lies in"]),
    ] {
        let directory = directory.to_str().unwrap();
        machine
            .run(&["pool", "add", "second", "--directory", directory])
            .refused(&words);
    }
    for (directory, word) in [
        (machine.pool(), "pool main"),
        (link, "pool main"),
        (machine.pool().join("templates"), "pool main"),
        (state.clone(), "state directory"),
    ] {
        let to = directory.join("out.qcow2");
        machine
            .run(&["volume", "export", "v", "--to", to.to_str().unwrap()])
            .refused(&[word, "name another directory"]);
        assert!(!to.exists());
    }
    machine.create("raw", "secret-raw", "1M");
    let to = machine.pool().join("header");
    machine
        .run(&["volume", "back-up-header", "raw", "--to", to.to_str().unwrap()])
        .refused(&["pool main"]);
    fs::remove_dir(inner).unwrap();
    assert_eq!(machine.assert_sound(), ["raw", "v"]);
}

#[test]
fn a_bind_mount_of_a_pool_or_of_what_is_in_it_is_that_pool() {
    assert!(is_root(), "bind mounts need root");
    let machine = Machine::new();
    let (inner, again) = (machine.pool().join("inner"), machine.path().join("again"));
    fs::create_dir(&inner).unwrap();
    fs::create_dir(&again).unwrap();
    for directory in [machine.pool(), inner, machine.state()] {
        let mounted = Mounted::again(&directory, &again);
        machine
            .run(&["pool", "add", "second", "--directory", again.to_str().unwrap()])
            .refused(&["again lies in"]);
        drop(mounted);
    }
    assert_eq!(machine.ok(&["pool", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_file_of_the_state_directory_is_no_image() {
    let machine = Machine::new();
    let (database, link) = (machine.state().join("strongroom.db"), machine.path().join("link"));
    std::os::unix::fs::symlink(&database, &link).unwrap();
    for file in [database, link] {
        let file = file.to_str().unwrap();
        for args in [
            &["template", "add", "t", "--file", file, "--format", "raw"][..],
            &[
                "volume",
                "import",
                "--offering",
                "plain",
                "--from",
                file,
                "--format",
                "raw",
            ],
            &[
                "volume",
                "create",
                "v",
                "--offering",
                "plain",
                "--size",
                "8M",
                "--image",
                file,
                "--image-format",
                "raw",
            ],
        ] {
            machine
                .run(args)
                .refused(&["lies in the state directory", "name a file elsewhere"]);
        }
    }
    assert_eq!((machine.count("templates"), machine.count("volumes")), (0, 0));
}

#[test]
fn a_delete_waits_for_a_pool_that_another_installation_took_and_then_overwrites_the_keyslots() {
    let machine = Machine::new();
    machine.create("v", "secret", "1M");
    let pool = machine.pool();
    let add = ["pool", "add", "main", "--directory", pool.to_str().unwrap()];
    other(&machine, &[&add[..], &["--take-over"]].concat()).json();
    machine
        .run(&["volume", "delete", "v"])
        .refused(&["of another installation"]);
    let kept = machine.path().join("kept");
    fs::hard_link(pool.join(&machine.pool_files()[0]), &kept).unwrap();
    let before = fs::read(&kept).unwrap();
    machine.ok(&["pool", "take-over", "main"]);
    let finished = machine.run(&["volume", "list"]);
    assert!(
        finished
            .stderr
            .contains("began to delete it; this is finished now"),
        "{}",
        finished.stderr
    );
    assert!(
        !finished.stderr.contains("not overwritten"),
        "{}",
        finished.stderr
    );
    assert_eq!(machine.assert_sound(), Vec::<String>::new());
    assert_ne!(
        fs::read(&kept).unwrap(),
        before,
        "the keyslots are in another name of the file"
    );
}

#[test]
fn pools_and_offerings_are_removed_when_nothing_is_left_of_them() {
    let machine = Machine::new();
    let file = machine.path().join("t.raw");
    fs::write(&file, vec![7; 1 << 20]).unwrap();
    machine.ok(&["template", "add", "t", "--file", file.to_str().unwrap()]);
    machine.ok(&[
        "volume",
        "create",
        "v",
        "--offering",
        "secret",
        "--size",
        "1M",
        "--template",
        "t",
    ]);
    machine
        .run(&["pool", "remove", "main"])
        .refused(&["pool main has volumes: v", "volume move"]);
    machine
        .run(&["offering", "remove", "secret"])
        .refused(&["offering secret has volumes: v"]);
    machine.ok(&["volume", "delete", "v"]);
    let left = machine.ok(&["offering", "remove", "secret"]);
    let left: Vec<_> = left.as_array().unwrap().iter().map(|o| o["id"].clone()).collect();
    assert_eq!(left, ["plain", "secret-raw"]);
    machine
        .run(&["offering", "remove", "secret"])
        .refused(&["no offering secret"]);
    assert_eq!(machine.ok(&["pool", "remove", "main"]), json!([]));
    assert_eq!(fs::read_dir(machine.pool().join("templates")).unwrap().count(), 0);
    machine
        .run(&["pool", "remove", "main"])
        .refused(&["no pool main"]);
    let again = machine.ok(&[
        "pool",
        "add",
        "main",
        "--directory",
        machine.pool().to_str().unwrap(),
    ]);
    assert_eq!(again["error"], Value::Null);
    // A pool whose storage is gone goes all the same, when that is said.
    machine.ok(&[
        "volume",
        "create",
        "v",
        "--offering",
        "plain",
        "--size",
        "1M",
        "--template",
        "t",
    ]);
    machine.ok(&["volume", "delete", "v"]);
    fs::remove_dir_all(machine.pool()).unwrap();
    machine.run(&["pool", "remove", "main"]).refused(&["not there"]);
    assert_eq!(
        machine.ok(&["pool", "remove", "main", "--keep-copies"]),
        json!([])
    );
    machine.ok(&["template", "remove", "t"]);
}

#[test]
fn an_error_is_one_json_object_with_advice_where_json_was_asked_for() {
    let machine = Machine::new();
    machine.create("v", "secret", "1M");
    machine.ok(&["volume", "snapshot", "v", "s"]);
    let shrink = ["volume", "resize", "v", "512K", "--shrink"];
    let refused = machine.run(&shrink);
    let line = refused.stderr.lines().last().unwrap();
    let error: Value = serde_json::from_str(line).unwrap();
    assert!(
        error["error"].as_str().unwrap().contains("1 snapshots"),
        "{error}"
    );
    assert!(
        error["advice"]
            .as_str()
            .unwrap()
            .contains("volume snapshot v NAME --delete"),
        "{error}"
    );
    assert!(
        !line.contains("lose-snapshots"),
        "a shrink has no such option: {line}"
    );
    let text = outcome(&mut machine.command_as("table", &shrink));
    assert!(text.stderr.starts_with("strongroom: "), "{}", text.stderr);
    assert!(text.stderr.contains("NAME --delete"), "{}", text.stderr);
    let to = machine.path().join("out");
    machine
        .run(&[
            "volume",
            "export",
            "v",
            "--to",
            to.to_str().unwrap(),
            "--passphrase-fd",
            "99",
        ])
        .refused(&[
            "file descriptor 99 is not open in this process",
            "--passphrase-fd 99 99<FILE",
        ]);
}
