//! The driver suite, run by the program on a pool of the state directory.

use std::fs;

use serde_json::Value;

use crate::machine::{Machine, outcome};

const SIZE: &str = "create-gives-the-exact-size";
const AGAIN: &str = "create-again-is-the-same-volume";
const NO_ENCRYPTION: &str = "encryption-is-refused-where-there-is-none";

fn check<'a>(machine: &Machine, output: &str, more: &[&'a str]) -> crate::machine::Outcome {
    let args: Vec<&'a str> = [&["pool", "check", "main"], more].concat();
    outcome(&mut machine.command_as(output, &args))
}

#[test]
fn a_sound_pool_passes_and_says_so_in_each_form() {
    let machine = Machine::new();
    let junit = machine.path().join("report.xml");
    let only = ["--only", SIZE, NO_ENCRYPTION, "--junit", junit.to_str().unwrap()];
    let told = check(&machine, "json", &only).json();
    assert_eq!(told["pool"], "main");
    assert_eq!(
        (&told["passed"], &told["failed"], &told["not_tested"]),
        (&1.into(), &0.into(), &1.into())
    );
    let entries = told["checks"].as_array().unwrap();
    assert_eq!((entries.len(), &entries[0]["name"]), (2, &SIZE.into()));
    assert_eq!(
        (&entries[0]["outcome"], &entries[0]["detail"]),
        (&"passed".into(), &Value::Null)
    );
    assert!(entries[0]["sentence"].as_str().unwrap().ends_with('.'), "{told}");
    assert!(entries[0]["seconds"].as_f64().unwrap() > 0.0, "{told}");
    assert_eq!(entries[1]["outcome"], "not_tested");
    assert_eq!(entries[1]["detail"], "the pool does not have: no encryption");

    let xml = fs::read_to_string(&junit).unwrap();
    let xml = roxmltree::Document::parse(&xml).unwrap();
    let cases: Vec<_> = xml
        .descendants()
        .filter(|node| node.has_tag_name("testcase"))
        .map(|case| case.attribute("name").unwrap())
        .collect();
    assert_eq!(cases, [SIZE, NO_ENCRYPTION]);

    let text = check(&machine, "table", &["--only", AGAIN]);
    assert_eq!(text.code, Some(0), "{}", text.stderr);
    assert!(text.stdout.contains(&format!("{AGAIN}  ")), "{}", text.stdout);
    assert!(
        text.stdout.contains("1 passed, 0 failed, 0 not tested"),
        "{}",
        text.stdout
    );
    assert!(machine.pool_files().is_empty(), "{:?}", machine.pool_files());
}

#[test]
fn a_pool_that_breaks_a_promise_is_told_and_the_code_says_so() {
    let machine = Machine::new();
    // After the probe, which says that this machine makes volumes.
    machine.replace_tool("qemu-img", r#"[ "$1" = create ] && exit 1; exec "$REAL" "$@""#);
    let junit = machine.path().join("report.xml");
    let run = check(
        &machine,
        "json",
        &["--only", SIZE, "--junit", junit.to_str().unwrap()],
    );
    run.refused(&["pool main fails 1 of 1 checks"]);
    let told: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(
        (&told["failed"], &told["checks"][0]["outcome"]),
        (&1.into(), &"failed".into())
    );
    let detail = told["checks"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("expected: create of"), "{detail}");
    assert!(fs::read_to_string(&junit).unwrap().contains("<failure"));
}

#[test]
fn a_pool_with_volumes_is_checked_only_when_that_is_said_and_they_are_left_alone() {
    let machine = Machine::new();
    machine.create("vol", "secret", "1M");
    check(&machine, "json", &["--only", AGAIN]).refused(&["1 volumes", "--with-volumes"]);
    let told = check(
        &machine,
        "json",
        &[
            "--with-volumes",
            "--only",
            AGAIN,
            "recover-takes-nothing-that-is-whole",
        ],
    )
    .json();
    assert_eq!(told["passed"], 2);
    assert_eq!(machine.assert_sound(), ["vol"]);
}

#[test]
fn what_cannot_be_checked_is_refused_before_anything_is_made() {
    let machine = Machine::bare().with_pool_and_offerings();
    check(&machine, "json", &["--only", AGAIN]).refused(&["host probe"]);
    machine.ok(&["host", "probe"]);
    machine
        .run(&["pool", "check", "other"])
        .refused(&["there is no pool other"]);
    let unknown = check(&machine, "json", &["--only", "create-agian-is-the-same-volume"]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);
    assert!(unknown.stderr.contains(AGAIN), "{}", unknown.stderr);
    let nowhere = machine.path().join("nowhere/report.xml");
    check(
        &machine,
        "json",
        &["--only", AGAIN, "--junit", nowhere.to_str().unwrap()],
    )
    .refused(&["cannot write to", "nowhere/report.xml"]);
    let late = outcome(&mut machine.command(&["--timeout", "0", "pool", "check", "main", "--only", AGAIN]));
    late.refused(&["deadline"]);
    assert!(machine.pool_files().is_empty(), "{:?}", machine.pool_files());
}
