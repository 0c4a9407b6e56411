use strongroom_secret::Passphrase;
use strongroom_storage_pool::{ErrorKind, PoolError, SnapshotAction, VolumeKey};

use crate::site::{Site, both, contains, id, template};

const TEXT: &str = "a text that must not lie in the storage; ";

#[test]
fn the_storage_keeps_neither_the_content_nor_the_passphrase() {
    for site in both() {
        site.create_with("secret", 1, site.encrypted(), template(&site.image(TEXT)))
            .unwrap();
        site.snapshot("secret", SnapshotAction::Create).unwrap();
        site.write("secret", TEXT);
        let (all, passphrase) = (
            site.at_rest(),
            std::str::from_utf8(site.key.expose_secret()).unwrap(),
        );
        assert!(all.len() > 1 << 20);
        assert!(
            !contains(&all, TEXT) && !contains(&all, passphrase),
            "{:?}",
            site.driver
        );

        // The same look finds the text of a plain volume.
        site.create_with("open", 1, VolumeKey::Plain, template(&site.image(TEXT)))
            .unwrap();
        assert!(contains(&site.at_rest(), TEXT), "{:?}", site.driver);
    }
}

#[test]
fn another_key_opens_nothing_and_changes_nothing() {
    for site in both() {
        let (made, other) = (
            site.create("vol", 1, site.encrypted()).unwrap(),
            Passphrase::generate().unwrap(),
        );
        let wrong = |result: Result<_, PoolError>| {
            let error = result.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::WrongKey), "{error}");
        };
        wrong(site.create("vol", 1, VolumeKey::Encrypted(&other)));
        wrong(site.grow("vol", 2, VolumeKey::Encrypted(&other)));
        let plain = site.grow("vol", 2, VolumeKey::Plain).unwrap_err();
        assert_eq!(plain.kind(), ErrorKind::InvalidRequest, "{plain}");
        assert_eq!(
            site.driver.get(&site.cx(), &id("vol")).unwrap(),
            Some(made.clone())
        );
        assert_eq!(site.create("vol", 1, site.encrypted()).unwrap(), made);
    }
}

/// LUKS is the host agent's matter; that the service stretches such a passphrase is between it and this driver.
#[test]
fn a_passphrase_that_somebody_thought_up_opens_its_volume_too() {
    let mut site = Site::new(false);
    let words = b"correct \"horse\" \\ battery \xc3\xa4".to_vec();
    site.key = Passphrase::import(words.into()).unwrap();
    site.create("vol", 1, site.encrypted()).unwrap();
    site.restart();
    site.create("vol", 1, site.encrypted()).unwrap();
    let record = String::from_utf8(site.at_rest())
        .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
    assert!(record.contains("\"stretch\": true"));
}
