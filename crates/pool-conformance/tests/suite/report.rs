use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use strongroom_pool_conformance::{Outcome, Report, Site, checks, run, run_only, run_program};
use strongroom_storage_pool::{ErrorKind, PoolError};

use crate::faulty::{Faults, Faulty, Memory, error};
use crate::site::{gold, in_memory};

const SOME: [&str; 3] = [
    "create-gives-the-exact-size",
    "usage-adds-up",
    "encryption-is-refused-where-there-is-none",
];

fn faulty(faults: Faults) -> Site {
    let pool = Arc::new(gold());
    let driver = Faulty {
        inner: Arc::clone(&pool) as _,
        faults,
        memory: Memory::default(),
    };
    in_memory(&pool, driver)
}

/// One check passes, one fails, one is not tested.
fn mixed() -> Site {
    faulty(Faults {
        usage: Some(Arc::new(|_, _, _| {
            Err(error(ErrorKind::Io, "<the> cable & \u{1b}[31m the \"plug\""))
        })),
        ..Faults::default()
    })
}

fn only(site: &Site) -> Report {
    run_only(site, &SOME).unwrap()
}

#[test]
fn a_report_says_for_each_check_what_became_of_it_and_for_each_failure_what_to_do() {
    let text = only(&mixed()).to_string();
    let mut lines = text.lines();
    let mut next = |name: &str, word: &str| {
        let line = lines.next().unwrap();
        assert!(line.starts_with(name) && line.contains(word), "{line:?}");
        line.find(word).unwrap()
    };
    let columns = [
        next("usage-adds-up ", "FAILED"),
        next("create-gives-the-exact-size ", "passed"),
        next(
            "encryption-is-refused-where-there-is-none ",
            "not tested  the pool does not have",
        ),
    ];
    assert_eq!(columns, [columns[0]; 3], "{text}");
    for part in [
        "The pool says how full it is",
        "expected: usage succeeds",
        "seen:     faulty: input/output error: <the> cable",
        "to do:    ",
        "1 passed, 1 failed, 1 not tested, in 0.",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains('\u{1b}'), "nothing moves a terminal's cursor");
}

#[test]
fn junit_xml_has_a_case_for_each_check_with_its_time_failure_and_reason() {
    let xml = only(&mixed()).to_junit("gold & <silver>").unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap();
    let suite = document.root_element().first_element_child().unwrap();
    let counts = ["name", "tests", "failures", "skipped"].map(|name| suite.attribute(name).unwrap());
    assert_eq!(counts, ["gold & <silver>", "3", "1", "1"]);
    let cases: Vec<_> = suite
        .children()
        .filter(|node| node.has_tag_name("testcase"))
        .collect();
    let names: Vec<_> = cases.iter().map(|case| case.attribute("name").unwrap()).collect();
    assert_eq!(
        names,
        [
            "usage-adds-up",
            "create-gives-the-exact-size",
            "encryption-is-refused-where-there-is-none"
        ]
    );
    for case in &cases {
        let time: f64 = case.attribute("time").unwrap().parse().unwrap();
        assert!(time < 60.0);
    }
    let child = |number: usize| cases[number].first_element_child();
    let failure = child(0).unwrap();
    assert!(failure.has_tag_name("failure"));
    assert!(
        failure
            .attribute("message")
            .unwrap()
            .contains("no more is free than there is")
    );
    assert!(failure.text().unwrap().contains("the \"plug\""), "{failure:?}");
    assert_eq!(child(1), None);
    let skipped = child(2).unwrap();
    assert!(skipped.has_tag_name("skipped"));
    assert_eq!(
        skipped.attribute("message"),
        Some("the pool does not have: no encryption")
    );
}

#[test]
fn a_name_that_no_check_has_is_refused_before_anything_runs() {
    let unknown = run_only(&mixed(), &["usage-adds-up", "no-such-check"]).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "there is no check \"no-such-check\"; --list names them all"
    );
}

#[test]
fn a_driver_that_panics_fails_the_check_and_the_suite_goes_on() {
    let site = faulty(Faults {
        usage: Some(Arc::new(|_, _, _| panic!("the driver fell over"))),
        ..Faults::default()
    });
    let report = run(&site);
    let failed: Vec<_> = report.failures().map(|r| r.check.name).collect();
    assert_eq!(failed, ["usage-adds-up"]);
    assert!(
        report.to_string().contains("a panic: the driver fell over"),
        "{report}"
    );
    assert_eq!(report.results.len(), checks().len());
}

#[test]
fn a_driver_that_never_answers_fails_the_check_and_the_suite_goes_on() {
    let site = faulty(Faults {
        usage: Some(Arc::new(|_, _, _| {
            loop {
                std::thread::park();
            }
        })),
        ..Faults::default()
    });
    let report = only(&site.with_patience(Duration::from_millis(300)));
    let failed: Vec<_> = report.failures().map(|r| r.check.name).collect();
    assert_eq!(failed, ["usage-adds-up"]);
    assert!(
        report.to_string().contains("the driver answers within 300ms"),
        "{report}"
    );
}

#[test]
fn a_driver_that_does_not_open_fails_every_check_and_says_why() {
    let site = Site::new(|| Err::<Faulty, PoolError>(error(ErrorKind::Io, "no such array")));
    let report = only(&site);
    assert_eq!(report.failures().count(), 3);
    assert!(
        report
            .to_string()
            .contains("faulty: input/output error: no such array")
    );
}

#[test]
fn what_a_check_made_is_gone_when_it_ends() {
    let pool = Arc::new(gold());
    let report = run(&in_memory(&pool, Arc::clone(&pool)));
    assert!(report.passed(), "{report}");
    assert_eq!((pool.volumes(), pool.templates()), (vec![], vec![]));
}

fn program(site: &Site, arguments: &[&str]) -> (ExitCode, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = arguments.iter().map(Into::into);
    let code = run_program(site, arguments, &mut out, &mut err);
    (
        code,
        String::from_utf8(out).unwrap(),
        String::from_utf8(err).unwrap(),
    )
}

#[test]
fn the_program_runs_what_it_is_told_and_its_code_says_whether_something_failed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.xml");
    let arguments = ["--only", SOME[0], SOME[2], "--junit", file.to_str().unwrap()];
    let (code, out, err) = program(&mixed(), &arguments);
    assert_eq!((code, err.as_str()), (ExitCode::SUCCESS, ""));
    assert!(
        out.ends_with(" s\n") && out.contains("1 passed, 0 failed, 1 not tested"),
        "{out}"
    );
    let xml = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        roxmltree::Document::parse(&xml)
            .unwrap()
            .descendants()
            .filter(|n| n.has_tag_name("testcase"))
            .count(),
        2
    );

    let (code, out, _) = program(&mixed(), &["--only", "usage-adds-up"]);
    assert_eq!(code, ExitCode::FAILURE);
    assert!(out.contains("1 failed"), "{out}");
}

#[test]
fn the_program_lists_helps_and_refuses_what_it_does_not_know() {
    let (code, out, _) = program(&mixed(), &["--list"]);
    assert_eq!(code, ExitCode::SUCCESS);
    for check in checks() {
        assert!(out.contains(&format!("{}\n    {}", check.name, check.sentence)));
    }
    let (code, out, _) = program(&mixed(), &["--help"]);
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(out.contains("--junit FILE"));
    for (arguments, word) in [
        (&["--what"][..], "\"--what\" is no argument"),
        (&["--only"], "--only without a name"),
        (&["--junit"], "--junit without a file"),
        (&["--only", "none"], "there is no check \"none\""),
        (
            &["--only", "usage-adds-up", "--junit", "/nowhere/at/all"],
            "cannot write to /nowhere/at/all",
        ),
    ] {
        let (code, _, err) = program(&mixed(), arguments);
        assert_eq!(code, ExitCode::from(2));
        assert!(err.contains(word), "{word:?} is not in {err:?}");
    }
    assert!(!Path::new("/nowhere").exists());
}

#[test]
fn every_name_is_short_lower_case_words_and_every_sentence_is_one() {
    for check in checks() {
        let words = check.name.split('-');
        let plain = words
            .clone()
            .all(|word| word.chars().all(|c| c.is_ascii_lowercase()) && !word.is_empty());
        assert!(plain && words.count() > 2, "{}", check.name);
        assert!(
            check.sentence.ends_with('.') && check.sentence.starts_with(char::is_uppercase)
                || check.sentence.starts_with("get"),
            "{}",
            check.sentence
        );
    }
    let outcomes = only(&mixed()).results.into_iter().map(|result| result.outcome);
    assert!(outcomes.into_iter().any(|outcome| outcome == Outcome::Passed));
}
