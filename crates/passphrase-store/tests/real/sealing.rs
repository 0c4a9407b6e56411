//! What is sealed opens again, and only then.

use std::collections::HashSet;

use proptest::prelude::*;
use rusqlite::types::Value;
use strongroom_passphrase_store::{
    FileKek, KekError, KekId, KeyEncryptionKey, Keyring, KeyringError, MemoryStore, PassphraseStore, Purpose,
    SealedRecord, StoreError,
};
use strongroom_secret::{Origin, Passphrase};
use strongroom_types::PassphraseId;
use zeroize::Zeroizing;

use crate::{place, sqlite, volume};

/// A record of a generated passphrase.
fn sealed(kek: &FileKek, of: &str) -> SealedRecord {
    let store = MemoryStore::new();
    let id = Keyring::new(&store, kek)
        .create(&volume(of), Purpose::Volume)
        .unwrap();
    store.get(&id).unwrap().unwrap()
}

fn open(kek: &dyn KeyEncryptionKey, record: &SealedRecord) -> Result<Passphrase, KeyringError> {
    let store = MemoryStore::new();
    store.insert(record).unwrap();
    Keyring::new(&store, kek).unseal(&record.id)
}

#[track_caller]
fn does_not_open(kek: &FileKek, record: &SealedRecord) {
    let refused = open(kek, record).unwrap_err();
    assert!(
        matches!(
            &refused,
            KeyringError::Kek { id, source: KekError::Unseal } if *id == record.id
        ),
        "{refused:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_passphrase_comes_out_as_it_went_in(text in "[^\r\n\0]{8,128}", generated: bool) {
        let (directory, kek) = place();
        let origin = if generated { Origin::Generated } else { Origin::Imported };
        let passphrase = Passphrase::restore(Zeroizing::new(text.clone().into_bytes()), origin).unwrap();
        let id = Keyring::new(&sqlite(directory.path()), &kek)
            .keep(&passphrase, &volume("vol-1"), Purpose::Volume)
            .unwrap();
        // Both opened anew, as the next start of a program does.
        let kek = FileKek::open(directory.path().join("kek")).unwrap();
        let out = Keyring::new(&sqlite(directory.path()), &kek).unseal(&id).unwrap();
        prop_assert_eq!(out.expose_secret(), text.as_bytes());
        prop_assert_eq!(out.origin(), origin);
    }

    #[test]
    fn bytes_that_nobody_sealed_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        let (_directory, kek) = place();
        let refused = kek.unseal(1, &bytes, b"").unwrap_err();
        prop_assert!(matches!(refused, KekError::Unseal));
    }
}

#[test]
fn a_record_with_any_bit_changed_does_not_open() {
    let (_directory, kek) = place();
    let record = sealed(&kek, "vol-1");
    open(&kek, &record).unwrap();
    for bit in 0..record.sealed.len() * 8 {
        let mut changed = record.clone();
        changed.sealed[bit / 8] ^= 1 << (bit % 8);
        does_not_open(&kek, &changed);
    }
}

#[test]
fn a_record_cut_at_any_length_or_made_longer_does_not_open() {
    let (_directory, kek) = place();
    let record = sealed(&kek, "vol-1");
    for length in 0..record.sealed.len() {
        let mut cut = record.clone();
        cut.sealed.truncate(length);
        does_not_open(&kek, &cut);
    }
    let mut longer = record;
    longer.sealed.push(0);
    does_not_open(&kek, &longer);
}

#[test]
fn a_record_with_any_field_of_another_does_not_open() {
    let (_directory, kek) = place();
    let (one, other) = (sealed(&kek, "vol-1"), sealed(&kek, "vol-2"));
    let exchanges: [fn(&mut SealedRecord, &SealedRecord); 6] = [
        |r, other| r.id = other.id.clone(),
        |r, other| r.volume = other.volume.clone(),
        |r, other| r.sealed = other.sealed.clone(),
        |r, _| r.purpose = Purpose::Backup,
        // The parts of the sealed bytes, each by itself: salt, and everything behind the commitment.
        |r, other| r.sealed[..32].copy_from_slice(&other.sealed[..32]),
        |r, other| r.sealed[64..].copy_from_slice(&other.sealed[64..]),
    ];
    for exchange in exchanges {
        let mut changed = one.clone();
        exchange(&mut changed, &other);
        does_not_open(&kek, &changed);
    }
}

#[test]
fn records_that_were_exchanged_between_volumes_in_the_database_do_not_open() {
    let (directory, kek) = place();
    let store = sqlite(directory.path());
    let keyring = Keyring::new(&store, &kek);
    let ids = ["vol-1", "vol-2"].map(|v| keyring.create(&volume(v), Purpose::Volume).unwrap());
    let cell = |column: &str, id: &PassphraseId| -> Value {
        let read = format!("SELECT {column} FROM passphrases WHERE id = ?1");
        store
            .database()
            .connection()
            .query_row(&read, [id.as_str()], |row| row.get(0))
            .unwrap()
    };
    let write = |column: &str, id: &PassphraseId, value: &Value| {
        let write = format!("UPDATE passphrases SET {column} = ?1 WHERE id = ?2");
        store
            .database()
            .connection()
            .execute(&write, (value, id.as_str()))
            .unwrap();
    };
    let exchange = |column: &str| {
        let [one, other] = [cell(column, &ids[0]), cell(column, &ids[1])];
        assert_ne!(one, other);
        write(column, &ids[0], &other);
        write(column, &ids[1], &one);
    };
    for columns in [vec!["sealed"], vec!["volume"], vec!["sealed", "volume"]] {
        columns.iter().for_each(|column| exchange(column));
        for id in &ids {
            let refused = keyring.unseal(id).unwrap_err();
            assert!(
                matches!(
                    &refused,
                    KeyringError::Kek {
                        source: KekError::Unseal,
                        ..
                    }
                ),
                "{columns:?}: {refused:?}"
            );
        }
        columns.iter().for_each(|column| exchange(column));
        for id in &ids {
            keyring.unseal(id).unwrap();
        }
    }
}

#[test]
fn another_key_is_named_in_the_refusal() {
    let ((_one, kek), (_two, other)) = (place(), place());
    let record = sealed(&kek, "vol-1");
    let refused = open(&other, &record).unwrap_err();
    assert!(matches!(&refused, KeyringError::WrongKek { .. }), "{refused:?}");
    assert_eq!(
        refused.to_string(),
        format!(
            "passphrase {} was sealed by the key {}, and {} is at hand; use the key file that belongs to this store",
            record.id,
            kek.id(),
            other.id()
        )
    );
    // Renaming the key in the record does not help.
    let mut renamed = record;
    renamed.kek = other.id().clone();
    does_not_open(&other, &renamed);
}

#[test]
fn a_record_of_another_version_is_refused_by_its_number() {
    let (_directory, kek) = place();
    let mut record = sealed(&kek, "vol-1");
    record.kek_version = 2;
    let refused = open(&kek, &record).unwrap_err();
    assert!(
        matches!(
            &refused,
            KeyringError::Kek {
                source: KekError::Version {
                    sealed_by: 2,
                    have: 1
                },
                ..
            }
        ),
        "{refused:?}"
    );
}

#[test]
fn what_is_sealed_without_the_store_opens_when_it_is_there() {
    let (_directory, kek) = place();
    let store = MemoryStore::new();
    let keyring = Keyring::new(&store, &kek).for_tenant("acme");
    let record = keyring.seal_new(&volume("vol-1"), Purpose::Backup).unwrap();
    assert_eq!(store.ids().unwrap(), []);
    assert_eq!(
        (record.tenant.as_str(), &record.volume, record.purpose),
        ("acme", &volume("vol-1"), Purpose::Backup)
    );
    store.insert_for(&record, &crate::owner("vol-1")).unwrap();
    let passphrase = keyring.unseal(&record.id).unwrap();
    assert_eq!(passphrase.origin(), Origin::Generated);
}

#[test]
fn a_tenant_neither_unseals_nor_destroys_what_is_of_another() {
    let (directory, kek) = place();
    let store = sqlite(directory.path());
    let nobody = Keyring::new(&store, &kek);
    let (acme, other) = (nobody.for_tenant("acme"), nobody.for_tenant("other"));
    let id = acme.create(&volume("vol-1"), Purpose::Volume).unwrap();
    assert_eq!(store.get(&id).unwrap().unwrap().tenant, "acme");
    store.remove_reference(&id, &crate::owner("vol-1")).unwrap();
    for stranger in [nobody, other] {
        for refused in [
            stranger.unseal(&id).unwrap_err(),
            stranger.destroy(&id).unwrap_err(),
        ] {
            assert!(
                matches!(&refused, KeyringError::WrongTenant { id: named } if *named == id),
                "{refused:?}"
            );
            assert!(!refused.to_string().contains("acme"), "{refused}");
        }
    }
    // Giving it another tenant in the database does not help.
    store
        .database()
        .connection()
        .execute("UPDATE passphrases SET tenant = 'other'", [])
        .unwrap();
    let refused = other.unseal(&id).unwrap_err();
    assert!(
        matches!(
            &refused,
            KeyringError::Kek {
                source: KekError::Unseal,
                ..
            }
        ),
        "{refused:?}"
    );
    store
        .database()
        .connection()
        .execute("UPDATE passphrases SET tenant = 'acme'", [])
        .unwrap();
    acme.unseal(&id).unwrap();
    acme.destroy(&id).unwrap();
    acme.destroy(&id).unwrap();
    assert_eq!(store.ids().unwrap(), []);
}

#[test]
fn a_record_that_is_not_there_is_an_error() {
    let (_directory, kek) = place();
    let refused = Keyring::new(&MemoryStore::new(), &kek)
        .unseal(&"missing".parse().unwrap())
        .unwrap_err();
    assert!(
        matches!(&refused, KeyringError::Store(StoreError::NotFound { .. })),
        "{refused:?}"
    );
}

#[test]
fn no_two_records_share_salt_nonce_or_ciphertext() {
    let (_directory, kek) = place();
    let mut seen = HashSet::new();
    for _ in 0..500 {
        let bytes = kek.seal(&[0; 515], b"the same").unwrap();
        for part in [0..32, 32..64, 64..76, 76..92, 591..607] {
            assert!(seen.insert(bytes[part].to_vec()));
        }
    }
}

#[test]
fn debug_shows_no_key() {
    let (directory, kek) = place();
    let text = std::fs::read_to_string(directory.path().join("kek")).unwrap();
    let key = text.lines().nth(2).unwrap().strip_prefix("key ").unwrap();
    let shown = format!("{kek:?} {kek:#?}");
    assert!(shown.contains(kek.id().as_str()));
    assert!(!shown.contains(&key[..16]), "{shown}");
    assert!(!shown.contains(&format!("{:?}", &hex::decode(key).unwrap()[..4]).replace(['[', ']'], "")));
}

#[test]
fn the_name_of_a_key_is_short_and_printable() {
    for bad in ["", "two words", "schlüssel", "line\n", &"a".repeat(129)] {
        let refused = bad.parse::<KekId>().unwrap_err();
        assert!(matches!(refused, KekError::Id { length } if length == bad.len()));
    }
    assert_eq!("a".repeat(128).parse::<KekId>().unwrap().as_str().len(), 128);
}
