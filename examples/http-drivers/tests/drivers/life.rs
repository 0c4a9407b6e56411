use std::time::{Duration, Instant};

use strongroom_storage_pool::{ErrorKind, LimitVolume, QosLimits, SnapshotAction};

use crate::site::{MIB, both, id, template};

const FIRST: &str = "what the guest wrote first, ";
const LATER: &str = "and what it wrote later, all over it; ";

#[test]
fn a_volume_lives_from_creation_to_deletion_and_its_guest_reads_what_it_wrote() {
    for site in both() {
        let made = site
            .create_with("vol", 1, site.encrypted(), template(&site.image(FIRST)))
            .unwrap();
        assert_eq!(made.guest.get(), MIB);
        assert!(site.reads("vol", FIRST), "{:?}", site.driver);

        site.snapshot("vol", SnapshotAction::Create).unwrap();
        site.write("vol", LATER);
        assert!(site.reads("vol", LATER), "{:?}", site.driver);
        let grown = site.grow("vol", 2, site.encrypted()).unwrap();
        assert_eq!(grown.guest.get(), 2 * MIB);
        assert_eq!(site.grow("vol", 2, site.encrypted()).unwrap(), grown);
        let smaller = site.grow("vol", 1, site.encrypted()).unwrap_err();
        assert_eq!(smaller.kind(), ErrorKind::InvalidRequest, "{smaller}");

        let restored = site.snapshot("vol", SnapshotAction::Restore).unwrap();
        assert_eq!(restored.guest.get(), MIB);
        assert!(site.reads("vol", FIRST), "{:?}", site.driver);
        let kept = site.driver.get(&site.cx(), &id("vol")).unwrap().unwrap();
        assert_eq!(kept.snapshots, ["before".parse().unwrap()]);
        let without = site.snapshot("vol", SnapshotAction::Delete).unwrap();
        assert_eq!(without.snapshots, []);

        site.driver.delete(&site.cx(), &id("vol")).unwrap();
        assert_eq!(site.driver.get(&site.cx(), &id("vol")).unwrap(), None);
        assert_eq!(site.at_rest(), [0; 0]);
    }
}

#[test]
fn volumes_outlive_the_service_and_their_keys_do_not() {
    for mut site in both() {
        let made = site
            .create_with("vol", 1, site.encrypted(), template(&site.image(FIRST)))
            .unwrap();
        site.restart();
        assert_eq!(site.driver.get(&site.cx(), &id("vol")).unwrap(), Some(made));
        if !site.luks {
            let locked = site
                .driver
                .attach(&site.cx(), &id("vol"), &crate::site::host())
                .unwrap_err();
            assert_eq!(locked.kind(), ErrorKind::PermissionDenied, "{locked}");
            assert!(locked.to_string().contains("unlock it"), "{locked}");
            // Any operation that shows the key unlocks the volume.
            site.create("vol", 1, site.encrypted()).unwrap();
        }
        assert!(site.reads("vol", FIRST), "{:?}", site.driver);
    }
}

#[test]
fn a_volume_with_a_limit_is_written_no_faster() {
    for site in both() {
        site.create("v", 1, site.encrypted()).unwrap();
        let (id, mut limits) = (id("v"), QosLimits::default());
        limits.bytes_per_second = Some(MIB / 2);
        let request = LimitVolume::new(&id, limits);
        site.driver.limit(&site.cx(), &request).unwrap();
        let begun = Instant::now();
        site.write("v", "content");
        // A host writes at most 128 KiB at once to a FUSE file, and waits for all but the last of it.
        assert!(
            begun.elapsed() >= Duration::from_millis(1500),
            "{:?}",
            begun.elapsed()
        );
    }
}
