//! What goes wrong with cleaning up is no failure of the check after which it is done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use strongroom_pool_conformance::{Report, checks, run, run_only};
use strongroom_storage_pool::ErrorKind;

use crate::faulty::error;
use crate::mutant::{Mutant, Spoil};

fn failed(report: &Report) -> BTreeSet<&str> {
    report.failures().map(|result| result.check.name).collect()
}

/// The checks that promise something of delete, as far as this site has them tested.
const OF_DELETE: [&str; 4] = [
    "delete-removes-the-volume",
    "delete-of-nothing-is-fine",
    "delete-takes-the-snapshots-along",
    "a-call-that-is-over-does-nothing",
];

/// Those that say what delete does after a failure. They begin with a round in which nothing fails.
const MENDED_BY_DELETE: [&str; 3] = [
    "a-create-that-failed-leaves-nothing-behind",
    "a-delete-that-failed-is-finished-by-the-same-again",
    "a-clone-that-failed-is-finished-by-the-same-again",
];

#[track_caller]
fn fails_in_delete_only(spoil: Spoil, seen: &str) {
    let report = run(&Mutant::new(spoil).site());
    let (seldom, failed) = (BTreeSet::from(MENDED_BY_DELETE), failed(&report));
    let always: BTreeSet<_> = failed.difference(&seldom).copied().collect();
    assert_eq!(always, BTreeSet::from(OF_DELETE), "{report}");
    let cleaning = report.cleaning_up.as_ref().unwrap();
    assert!(cleaning.seen.contains(seen), "{cleaning}");
    let text = report.to_string();
    assert_eq!(text.matches("cleaning up failed").count(), 1, "{text}");
    assert_eq!(report.results.len(), checks().len());
}

#[test]
fn a_delete_that_fails_fails_the_checks_of_delete_and_is_told_once() {
    let spoil: Spoil = |m| {
        m.faults.delete = Some(Arc::new(|_, _, _, _| Err(error(ErrorKind::Io, "no way"))));
    };
    fails_in_delete_only(spoil, "delete failed: faulty: input/output error: no way");
}

#[test]
fn a_delete_that_panics_fails_the_checks_of_delete_and_is_told_once() {
    let spoil: Spoil = |m| {
        m.faults.delete = Some(Arc::new(|_, _, _, _| panic!("the driver fell over")));
    };
    fails_in_delete_only(spoil, "delete panicked; after ");
}

#[test]
fn where_hosts_do_the_work_the_checks_of_failures_that_delete_has_to_mend_fail_too() {
    let report = run(&Mutant::new(|m| {
        m.on_host().delete = Some(Arc::new(|d, _, cx, volume| {
            drop(d.get(cx, volume));
            Err(error(ErrorKind::Io, "no way"))
        }));
    })
    .site());
    let mut expected = BTreeSet::from(OF_DELETE);
    expected.extend(MENDED_BY_DELETE);
    expected.insert("delete-leaves-nothing-in-the-storage");
    assert_eq!(failed(&report), expected, "{report}");
}

#[test]
fn a_detach_that_hangs_when_it_cleans_up_fails_no_check_and_is_not_tried_again() {
    let site = Mutant::new(|m| {
        m.faults.detach = Some(Arc::new(|_, _, _, _, _| {
            loop {
                std::thread::park();
            }
        }));
    })
    .site();
    let names = [
        "create-gives-the-exact-size",
        "create-makes-what-was-asked",
        "usage-adds-up",
    ];
    let report = run_only(&site.with_patience(Duration::from_secs(2)), &names).unwrap();
    assert!(report.passed(), "{report}");
    // The second check had something to clean up as well.
    let cleaning = report.cleaning_up.as_ref().unwrap();
    assert!(
        cleaning
            .seen
            .ends_with("it did not end, so that nothing was cleaned up any more"),
        "{cleaning}"
    );
    assert!(report.took() < Duration::from_secs(4), "{report}");
}

#[test]
fn junit_xml_tells_of_cleaning_up_beside_the_cases() {
    let site = Mutant::new(|m| {
        m.faults.detach = Some(Arc::new(|_, _, _, _, _| Err(error(ErrorKind::Io, "no way"))));
    })
    .site();
    let report = run_only(&site, &["create-gives-the-exact-size"]).unwrap();
    assert!(report.passed(), "{report}");
    let xml = report.to_junit("gold").unwrap();
    let document = roxmltree::Document::parse(&xml).unwrap();
    let told = document
        .descendants()
        .find(|node| node.has_tag_name("system-err"))
        .unwrap();
    assert!(
        told.text()
            .unwrap()
            .contains("detach failed: faulty: input/output error: no way")
    );
    let suite = document.root_element().first_element_child().unwrap();
    assert_eq!(suite.attribute("failures"), Some("0"));
}
