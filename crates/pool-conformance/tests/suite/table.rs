//! For each check a driver that fails it and no other.

use std::collections::{BTreeMap, BTreeSet};

use strongroom_pool_conformance::{checks, run};

use crate::mutant::{Mutant, Spoil};
use crate::{
    mutants_of_content, mutants_of_faults, mutants_of_pools, mutants_of_snapshots, mutants_of_volumes,
};

fn table() -> BTreeMap<&'static str, Spoil> {
    let parts: [&[(&'static str, Spoil)]; 5] = [
        mutants_of_pools::TABLE,
        mutants_of_volumes::TABLE,
        mutants_of_content::TABLE,
        mutants_of_faults::TABLE,
        mutants_of_snapshots::TABLE,
    ];
    let all: Vec<_> = parts.concat();
    let table: BTreeMap<_, _> = all.iter().copied().collect();
    assert_eq!(table.len(), all.len(), "no check is there twice");
    table
}

#[test]
fn every_check_has_a_fault_and_every_fault_a_check() {
    let names: BTreeSet<_> = checks().iter().map(|check| check.name).collect();
    assert_eq!(names.len(), checks().len(), "every name is there once");
    let faults: BTreeSet<_> = table().into_keys().collect();
    assert_eq!(names, faults);
}

#[test]
fn each_fault_fails_exactly_its_check() {
    let table: Vec<_> = table().into_iter().collect();
    std::thread::scope(|scope| {
        let half = table.len().div_ceil(2);
        let wrong: Vec<_> = table
            .chunks(half)
            .map(|part| scope.spawn(move || part.iter().filter_map(wrong).collect::<Vec<_>>()))
            .collect();
        let wrong: Vec<_> = wrong.into_iter().flat_map(|part| part.join().unwrap()).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    });
}

/// What is wrong with the failures that a fault brings.
fn wrong((name, spoil): &(&'static str, Spoil)) -> Option<String> {
    let report = run(&Mutant::new(*spoil).site());
    let failed: Vec<_> = report.failures().map(|result| result.check.name).collect();
    let why = || {
        report
            .failures()
            .map(|result| format!("{:?}", result.outcome))
            .collect::<Vec<_>>()
    };
    (failed != [*name]).then(|| format!("{name} fails {failed:#?}: {:#?}", why()))
}
