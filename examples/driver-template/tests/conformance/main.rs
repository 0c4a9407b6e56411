//! The driver against every sentence of its contract.
#![cfg(test)]

mod refusals;
mod site;

#[test]
fn the_driver_keeps_its_contract() {
    let directory = tempfile::tempdir().unwrap();
    let report = strongroom_pool_conformance::run(&site::of(directory.path()).unwrap());
    assert!(report.passed(), "{report}");
}
