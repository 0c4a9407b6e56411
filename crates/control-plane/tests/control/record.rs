//! What the tables themselves refuse, whoever writes to them.

use strongroom_control_plane::ControlPlaneError;
use strongroom_passphrase_store::sqlite::Database;
use strongroom_passphrase_store::{FileKek, StoreError};
use strongroom_types::Call;

use crate::site::{Site, create, id};

#[track_caller]
fn refused(site: &Site, sql: &str, word: &str) {
    let connection = rusqlite::Connection::open(site.database()).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    let error = connection.execute_batch(sql).unwrap_err().to_string();
    assert!(error.contains(word), "{sql}: {error}");
}

#[test]
fn a_volume_is_encrypted_exactly_when_it_has_a_key() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    create(&control, "open", "plain");
    for (volume, change) in [
        ("vol", "passphrase = NULL"),
        ("vol", "encryption = NULL"),
        ("open", "encryption = 'luks1'"),
        ("open", "passphrase = 'x'"),
    ] {
        let sql = format!("UPDATE volumes SET {change} WHERE id = '{volume}'");
        refused(&site, &sql, "CHECK");
    }
}

#[test]
fn what_is_needed_cannot_be_removed() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    control
        .create_snapshot(&Call::new(), &id("vol"), &id("before"))
        .unwrap();
    for table in ["passphrases", "pools", "offerings", "volumes"] {
        refused(&site, &format!("DELETE FROM {table}"), "FOREIGN KEY");
    }
    // Volume and snapshot each need the key, even without the rows of the store that say so.
    let others = [
        "UPDATE volumes SET encryption = NULL, passphrase = NULL",
        "UPDATE snapshots SET passphrase = NULL",
    ];
    for needed_by in 0..others.len() {
        let sql: String = (0..others.len())
            .filter(|n| *n != needed_by)
            .map(|n| format!("{};", others[n]))
            .collect();
        let sql = format!("BEGIN; DELETE FROM passphrase_references; {sql} DELETE FROM passphrases");
        refused(&site, &sql, "FOREIGN KEY");
    }
    let sql = format!(
        "BEGIN; DELETE FROM passphrase_references; {}; DELETE FROM passphrases; ROLLBACK",
        others.join(";")
    );
    site.sql(&sql);
    site.assert_sound(&control);
}

#[test]
fn two_volumes_do_not_share_a_key_unmarked_and_one_volume_has_one_job() {
    let (site, control) = Site::new();
    create(&control, "a", "secret");
    create(&control, "b", "secret");
    let sql =
        "UPDATE volumes SET passphrase = (SELECT passphrase FROM volumes WHERE id = 'a') WHERE id = 'b'";
    refused(&site, sql, "UNIQUE");
    let marked = sql.replace("WHERE id = 'b'", ", shares_key_with = 'a' WHERE id = 'b'");
    site.sql(&format!("BEGIN; {marked}; ROLLBACK"));
    refused(&site, "UPDATE volumes SET disk = 'a' WHERE id = 'b'", "UNIQUE");
    let job = |id: &str| {
        format!(
            "INSERT INTO jobs VALUES ('{id}', 'a', 'create', 'begun', '\"create\"', 0, NULL, NULL, NULL);"
        )
    };
    site.sql(&job("one"));
    refused(&site, &job("other"), "UNIQUE");
}

#[test]
fn tables_of_a_newer_version_are_refused_and_left_alone() {
    let (site, control) = Site::new();
    drop(control);
    site.sql("UPDATE schema_versions SET version = 1000 WHERE component = 'control-plane'");
    let database = Database::open(site.database()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let kek = FileKek::create(place.path().join("kek")).unwrap();
    let refused = strongroom_control_plane::ControlPlane::open(
        database,
        std::sync::Arc::new(kek),
        std::sync::Arc::new(NoDrivers),
        std::sync::Arc::new(strongroom_endpoint_selector::RegisteredEndpoints::new()),
    )
    .unwrap_err();
    assert!(
        matches!(
            refused,
            ControlPlaneError::Store(StoreError::Newer { found: 1000, .. })
        ),
        "{refused:?}"
    );
}

#[derive(Debug)]
struct NoDrivers;

impl strongroom_control_plane::PoolDrivers for NoDrivers {
    fn driver(
        &self,
        _: &strongroom_control_plane::PoolRecord,
    ) -> Result<std::sync::Arc<dyn strongroom_storage_pool::PoolDriver>, strongroom_storage_pool::PoolError>
    {
        Err(strongroom_storage_pool::PoolError::unsupported("open", "none"))
    }
}

#[test]
fn a_row_that_makes_no_sense_is_named() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    for (change, back, word) in [
        ("format = 'vmdk'", "format = 'qcow2'", "unknown format"),
        ("encryption = 'rot13'", "encryption = 'luks1'", "unknown format"),
        ("device = NULL", "device = 1048576", "was never made"),
    ] {
        site.sql(&format!("UPDATE volumes SET {change}"));
        let error = control.volume(&id("vol")).unwrap_err();
        assert!(matches!(error, ControlPlaneError::DamagedRow { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("the row vol of table volumes") && text.contains(word),
            "{text}"
        );
        site.sql(&format!("UPDATE volumes SET {back}"));
    }
    control.volume(&id("vol")).unwrap();
    site.sql("INSERT INTO jobs VALUES ('j', 'vol', 'grow', 'begun', '\"create\"', 0, NULL, NULL, NULL)");
    let error = control.recover(&Call::new()).unwrap_err().to_string();
    assert!(error.contains("its kind is grow"), "{error}");
}
