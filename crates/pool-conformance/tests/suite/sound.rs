use std::path::Path;
use std::sync::Arc;

use strongroom_pool_conformance::{Report, Site, run, run_only};
use strongroom_storage_pool::fake::MemoryPool;
use strongroom_storage_pool::{Capabilities, Encryption, PoolDriver, PoolError, SizeRule};
use strongroom_types::{ByteSize, EncryptionFormat};

use crate::site::{MemoryGuest, gold, in_memory, node, sound_on_host};

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
            "no-key-is-in-the-storage",
            "clone-with-a-shared-key-opens-with-it",
            "limits-again-are-fine",
        ]
    );
}

/// Why the look for ciphertext says nothing on this site.
fn no_look(site: &Site) -> String {
    let report = run_only(site, &["the-storage-has-ciphertext"]).unwrap();
    let why = report
        .not_tested()
        .map(|result| format!("{:?}", result.outcome))
        .next();
    why.unwrap_or_else(|| report.to_string())
}

#[test]
fn a_look_that_sees_no_plain_content_proves_nothing() {
    let blind = memory(gold()).with_stored(|_, _| Ok(b"LUKS\xba\xbe".to_vec()));
    let why = no_look(&blind);
    assert!(
        why.contains("does not see the content of a plain raw volume"),
        "{why}"
    );
    let broken = memory(gold()).with_stored(|_, _| Err(std::io::Error::other("no way in")));
    assert!(no_look(&broken).contains("cannot be read: no way in"));
}

#[test]
fn without_a_look_of_its_own_a_site_is_not_asked_what_it_cannot_show() {
    let bare = |pool: MemoryPool| {
        let pool = Arc::new(pool);
        let guest = Arc::new(MemoryGuest(Arc::clone(&pool)));
        let open = move || Ok::<_, PoolError>(Arc::clone(&pool));
        Site::new(open).with_host(node()).with_guest(guest)
    };
    let why = no_look(&bare(gold().with_encryption(Encryption::InStorage)));
    assert!(why.contains("the host sees plain content"), "{why}");
    let why = no_look(&bare(gold()));
    assert!(why.contains("No such file"), "{why}");
}

#[test]
fn a_site_that_cannot_see_volumes_says_so() {
    let pool = Arc::new(gold().with_encryption(Encryption::InStorage));
    let sized = Arc::clone(&pool);
    let put = move |name: &str, bytes: &[u8]| {
        let path = Path::new("/images").join(name);
        sized.add_image(&path, ByteSize::bytes(bytes.len().try_into().unwrap()));
        Ok(path)
    };
    let site = Site::new(move || Ok::<_, PoolError>(Arc::clone(&pool))).with_images(put);
    let report = run(&site);
    assert!(report.passed(), "{report}");
    let not = left(&report);
    assert!(not.contains(&"the-key-opens-the-volume"), "{not:?}");
    assert!(!not.contains(&"create-gives-the-exact-size"), "{not:?}");
}
