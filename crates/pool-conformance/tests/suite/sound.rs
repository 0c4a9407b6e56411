use std::sync::Arc;

use strongroom_pool_conformance::{Report, Site, run};
use strongroom_storage_pool::fake::MemoryPool;
use strongroom_storage_pool::{Capabilities, Encryption, PoolDriver, SizeRule};
use strongroom_types::EncryptionFormat;

use crate::site::{gold, in_memory, sound_on_host};

/// The names of the checks that were not tested.
fn left(report: &Report) -> Vec<&'static str> {
    report.not_tested().map(|result| result.check.name).collect()
}

#[track_caller]
fn passes(site: &Site) -> Report {
    let report = run(site);
    assert!(report.passed(), "{report}");
    report
}

fn memory(pool: MemoryPool) -> Site {
    let pool = Arc::new(pool);
    in_memory(&pool, Arc::clone(&pool))
}

#[test]
fn a_driver_that_keeps_every_promise_passes_with_each_encryption_and_each_size_rule() {
    for encryption in [
        Encryption::Unsupported,
        Encryption::OnHost(EncryptionFormat::Luks1),
        Encryption::OnHost(EncryptionFormat::Luks2),
        Encryption::InStorage,
    ] {
        for sizes in [SizeRule::Exact, SizeRule::DeviceRoundedTo(8 << 20)] {
            let mut capabilities = gold().capabilities();
            capabilities.sizes = sizes;
            passes(&memory(
                gold().with_capabilities(capabilities).with_encryption(encryption),
            ));
        }
    }
}

#[test]
fn a_driver_that_can_do_nothing_passes_and_the_rest_is_not_tested() {
    let report = passes(&memory(gold().with_capabilities(Capabilities::none())));
    let not = left(&report);
    assert!(not.contains(&"grow-gives-the-exact-size"), "{not:?}");
    assert!(
        !not.contains(&"what-the-pool-cannot-do-is-unsupported"),
        "{not:?}"
    );
}

#[test]
fn a_driver_that_has_a_host_do_everything_passes_through_every_fault() {
    let report = passes(&sound_on_host());
    let not: Vec<_> = left(&report);
    assert_eq!(
        not,
        [
            "storage-of-another-pool-is-refused",
            "encryption-is-refused-where-there-is-none",
            "clone-with-a-shared-key-opens-with-it",
            "limits-again-are-fine",
        ]
    );
}
