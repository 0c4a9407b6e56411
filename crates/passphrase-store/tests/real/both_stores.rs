//! One suite for every store: the fake behaves as the real one does.

use strongroom_passphrase_store::sqlite::{Database, InTransaction};
use strongroom_passphrase_store::{MemoryStore, Owner, OwnerKind, PassphraseStore, Purpose, StoreError};
use strongroom_types::PassphraseId;

use crate::{owner, record, sqlite, volume};

/// All that [`PassphraseStore`] promises.
fn keeps_its_promises(store: &dyn PassphraseStore) {
    an_inserted_record_comes_back_whole(store);
    what_is_there_already_stays(store);
    what_is_referred_to_cannot_be_removed(store);
    what_is_not_there_is_no_surprise(store);
}

fn an_inserted_record_comes_back_whole(store: &dyn PassphraseStore) {
    assert_eq!(store.ids().unwrap(), []);
    let (b, mut a) = (record("b"), record("a"));
    a.tenant = String::new();
    a.volume = volume("vol-2");
    a.purpose = Purpose::Backup;
    a.kek = "!~".parse().unwrap();
    a.kek_version = u32::MAX;
    a.sealed = (0..=255).collect();
    store.insert(&b).unwrap();
    store.insert(&a).unwrap();
    assert_eq!(store.get(&a.id).unwrap().unwrap(), a);
    assert_eq!(store.get(&b.id).unwrap().unwrap(), b);
    assert_eq!(store.ids().unwrap(), [a.id.clone(), b.id.clone()]);
    assert_eq!(
        store.ids_for(&volume("vol-1")).unwrap(),
        std::slice::from_ref(&b.id)
    );
    assert_eq!(
        store.ids_for(&volume("vol-2")).unwrap(),
        std::slice::from_ref(&a.id)
    );
    assert_eq!(store.ids_for(&volume("vol-3")).unwrap(), []);
    assert_eq!(store.references(&a.id).unwrap(), []);
    store.remove(&a.id).unwrap();
    assert_eq!(store.get(&a.id).unwrap(), None);
    store.remove(&b.id).unwrap();
    assert_eq!(store.ids().unwrap(), []);
}

fn what_is_there_already_stays(store: &dyn PassphraseStore) {
    let first = record("twice");
    let mut second = first.clone();
    second.sealed = b"other".to_vec();
    store.insert_for(&first, &owner("vol-1")).unwrap();
    for refused in [
        store.insert(&second).unwrap_err(),
        store.insert_for(&second, &owner("vol-2")).unwrap_err(),
    ] {
        assert!(
            matches!(&refused, StoreError::Exists { id } if *id == first.id),
            "{refused:?}"
        );
        assert_eq!(
            refused.to_string(),
            "a passphrase twice is in the store already and stays"
        );
    }
    assert_eq!(store.get(&first.id).unwrap().unwrap(), first);
    assert_eq!(store.references(&first.id).unwrap(), [owner("vol-1")]);
    store.remove_reference(&first.id, &owner("vol-1")).unwrap();
    store.remove(&first.id).unwrap();
}

fn what_is_referred_to_cannot_be_removed(store: &dyn PassphraseStore) {
    let kept = record("kept");
    let others = [
        Owner::new(OwnerKind::Snapshot, "snap-1"),
        Owner::new(OwnerKind::Backup, "b, with ' and ü"),
        Owner::new(OwnerKind::HeaderBackup, "h"),
        Owner::new(OwnerKind::Template, "t\n12:00 ok \u{1b}[2J"),
        Owner::new(OwnerKind::Snapshot, "snap-0"),
    ];
    store.insert_for(&kept, &owner("vol-1")).unwrap();
    for other in &others {
        store.add_reference(&kept.id, other).unwrap();
        store.add_reference(&kept.id, other).unwrap();
    }
    let mut all: Vec<Owner> = others.iter().cloned().chain([owner("vol-1")]).collect();
    all.sort();
    assert_eq!(store.references(&kept.id).unwrap(), all);

    let refused = store.remove(&kept.id).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Referenced { id, references } if *id == kept.id && *references == all),
        "{refused:?}"
    );
    assert_eq!(
        refused.to_string(),
        "passphrase kept is still needed by backup b, with ' and ü, header-backup h, snapshot snap-0, \
         snapshot snap-1, template t\\n12:00 ok \\u{1b}[2J, volume vol-1"
    );
    for (number, one) in all.iter().enumerate() {
        let refused = store.remove(&kept.id).unwrap_err();
        assert!(
            matches!(&refused, StoreError::Referenced { references, .. } if *references == all[number..]),
            "{refused:?}"
        );
        store.remove_reference(&kept.id, one).unwrap();
        store.remove_reference(&kept.id, one).unwrap();
    }
    assert_eq!(store.get(&kept.id).unwrap().unwrap(), kept);
    store.remove(&kept.id).unwrap();
    assert_eq!(store.get(&kept.id).unwrap(), None);
    // References are gone with it, should the id come back.
    store.insert(&kept).unwrap();
    assert_eq!(store.references(&kept.id).unwrap(), []);
    store.remove(&kept.id).unwrap();
}

fn what_is_not_there_is_no_surprise(store: &dyn PassphraseStore) {
    let missing: PassphraseId = "missing".parse().unwrap();
    assert_eq!(store.get(&missing).unwrap(), None);
    assert_eq!(store.references(&missing).unwrap(), []);
    store.remove(&missing).unwrap();
    store.remove_reference(&missing, &owner("vol-1")).unwrap();
    let refused = store.add_reference(&missing, &owner("vol-1")).unwrap_err();
    assert!(
        matches!(&refused, StoreError::NotFound { id } if *id == missing),
        "{refused:?}"
    );
    assert_eq!(refused.to_string(), "there is no passphrase missing in the store");
    assert_eq!(store.references(&missing).unwrap(), []);
}

#[test]
fn the_store_in_memory_keeps_its_promises() {
    keeps_its_promises(&MemoryStore::new());
    keeps_its_promises(&std::sync::Arc::new(MemoryStore::new()));
}

#[test]
fn the_store_in_sqlite_keeps_its_promises() {
    let directory = tempfile::tempdir().unwrap();
    keeps_its_promises(&sqlite(directory.path()));
}

#[test]
fn the_store_inside_a_transaction_keeps_its_promises() {
    let directory = tempfile::tempdir().unwrap();
    let mut database = Database::open(directory.path().join("keys.db")).unwrap();
    let transaction = database.connection_mut().transaction().unwrap();
    keeps_its_promises(&InTransaction::new(&transaction));
    transaction.commit().unwrap();
}

#[test]
fn threads_that_share_a_store_lose_nothing() {
    fn shared(store: &(dyn PassphraseStore + Sync)) {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for round in 0..25 {
                        let record = record(&format!("p-{thread}-{round}"));
                        store.insert_for(&record, &owner("vol-1")).unwrap();
                        assert_eq!(store.get(&record.id).unwrap().unwrap(), record);
                    }
                });
            }
        });
        assert_eq!(store.ids().unwrap().len(), 100);
    }
    let directory = tempfile::tempdir().unwrap();
    shared(&sqlite(directory.path()));
    shared(&MemoryStore::new());
}
