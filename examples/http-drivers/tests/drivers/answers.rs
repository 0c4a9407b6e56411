use std::time::Duration;

use strongroom_endpoint_selector::RegisteredEndpoints;
use strongroom_storage_pool::{ErrorKind, SnapshotAction, VolumeKey};
use strongroom_types::{Call, Cancellation};

use crate::site::{both, host, id, template};

const TEXT: &str = "content of a template; ";

#[test]
fn an_answer_that_was_lost_is_asked_for_again() {
    for site in both() {
        site.service().lose_answers(1);
        let made = site.create("vol", 1, site.encrypted()).unwrap();
        site.service().lose_answers(2);
        site.snapshot("vol", SnapshotAction::Create).unwrap();
        site.service().lose_answers(1);
        assert_eq!(
            site.grow("vol", 2, site.encrypted()).unwrap().guest.get(),
            2 * made.guest.get()
        );
        site.service().fail_requests(2);
        site.driver.delete(&site.cx(), &id("vol")).unwrap();
        assert_eq!(site.driver.get(&site.cx(), &id("vol")).unwrap(), None);
    }
}

#[test]
fn when_every_answer_is_lost_the_same_create_again_finds_what_was_made() {
    for site in both() {
        site.service().lose_answers(100);
        let lost = site.create("vol", 1, site.encrypted()).unwrap_err();
        assert_eq!(lost.kind(), ErrorKind::Io, "{lost}");
        site.service().lose_answers(0);
        let made = site.create("vol", 1, site.encrypted()).unwrap();
        assert_eq!(site.driver.get(&site.cx(), &id("vol")).unwrap(), Some(made));
    }
}

#[test]
fn a_volume_whose_template_was_never_written_is_not_there_until_create_finishes_it() {
    for mut site in both() {
        let image = site.image(TEXT);
        std::fs::rename(&image, image.with_extension("away")).unwrap();
        let failed = site
            .create_with("vol", 1, site.encrypted(), template(&image))
            .unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::NotFound, "{failed}");
        assert_eq!(site.driver.get(&site.cx(), &id("vol")).unwrap(), None);
        let attached = site.driver.attach(&site.cx(), &id("vol"), &host()).unwrap_err();
        assert_eq!(attached.kind(), ErrorKind::NotFound, "{attached}");

        site.restart();
        std::fs::rename(image.with_extension("away"), &image).unwrap();
        site.create_with("vol", 1, site.encrypted(), template(&image))
            .unwrap();
        assert!(site.reads("vol", TEXT), "{:?}", site.driver);
    }
}

#[test]
fn a_call_that_is_over_asks_nothing() {
    for mut site in both() {
        let cancelled = Cancellation::new();
        cancelled.cancel();
        site.call = Call::new().with_cancellation(cancelled);
        let error = site.create("vol", 1, site.encrypted()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
        site.call = Call::new().with_timeout(Duration::ZERO);
        let error = site.create("vol", 1, site.encrypted()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
        site.call = Call::new();
        assert_eq!(site.driver.get(&site.cx(), &id("vol")).unwrap(), None);
    }
}

#[test]
fn a_service_that_is_not_there_is_an_error_and_not_an_empty_pool() {
    for mut site in both() {
        site.create("vol", 1, site.encrypted()).unwrap();
        site.service = None;
        let error = site.driver.get(&site.cx(), &id("vol")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    }
}

#[test]
fn only_what_takes_a_host_asks_for_one() {
    for mut site in both() {
        site.hosts = RegisteredEndpoints::new();
        site.create("plain", 1, VolumeKey::Plain).unwrap();
        let encrypted = site.create("encrypted", 1, site.encrypted());
        if site.luks {
            let error = encrypted.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoHost, "{error}");
            assert_eq!(site.driver.get(&site.cx(), &id("encrypted")).unwrap(), None);
        } else {
            assert_eq!(encrypted.unwrap().encryption, None);
        }
    }
}

#[test]
fn a_volume_is_seen_on_a_host_only_while_it_is_attached_there() {
    for site in both() {
        site.create("vol", 1, site.encrypted()).unwrap();
        let seen = || std::fs::read_dir(site.service().exports()).unwrap().count();
        assert_eq!(seen(), 0, "{:?}", site.driver);
        let at = site.driver.attach(&site.cx(), &id("vol"), &host()).unwrap();
        assert_eq!(site.driver.attach(&site.cx(), &id("vol"), &host()).unwrap(), at);
        // What the driver has done meanwhile does not end the attachment.
        site.create("vol", 1, site.encrypted()).unwrap();
        let open = std::fs::File::open(at.location.path()).unwrap();
        let busy = site.driver.detach(&site.cx(), &id("vol"), &host()).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
        drop(open);
        site.driver.detach(&site.cx(), &id("vol"), &host()).unwrap();
        assert_eq!(seen(), 0);
        let gone = std::fs::File::open(at.location.path()).unwrap_err();
        assert_eq!(gone.kind(), std::io::ErrorKind::NotFound);
    }
}
