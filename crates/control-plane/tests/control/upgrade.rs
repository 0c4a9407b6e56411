//! A database of an earlier version is brought up to date with all that is in it.

use strongroom_control_plane::{JobKind, Outcome};
use strongroom_types::Call;

use crate::site::{Site, create, id};

/// Takes the tables back to what the second version of them was, with the rows that they have.
const BACK: &str = "
    PRAGMA foreign_keys = OFF;
    BEGIN;
    CREATE TABLE old_volumes (
        id TEXT PRIMARY KEY,
        offering TEXT NOT NULL REFERENCES offerings (id) ON DELETE RESTRICT,
        pool TEXT NOT NULL REFERENCES pools (id) ON DELETE RESTRICT,
        format TEXT NOT NULL,
        guest INTEGER NOT NULL CHECK (guest > 0 AND guest % 512 = 0),
        device INTEGER CHECK (device > 0 AND device % 512 = 0),
        encryption TEXT,
        passphrase TEXT UNIQUE REFERENCES passphrases (id) ON DELETE RESTRICT,
        CHECK ((encryption IS NULL) = (passphrase IS NULL))
    ) STRICT;
    INSERT INTO old_volumes SELECT id, offering, pool, format, guest, device, encryption, passphrase FROM volumes;
    DROP TABLE vm_jobs;
    DROP TABLE vm_disks;
    DROP TABLE vms;
    DROP TABLE volumes;
    ALTER TABLE old_volumes RENAME TO volumes;
    DROP INDEX jobs_by_template;
    ALTER TABLE jobs DROP COLUMN template;
    ALTER TABLE pools DROP COLUMN prepared;
    DROP TABLE template_copies;
    DROP TABLE templates;
    DROP TABLE exports;
    DROP TABLE installation;
    UPDATE schema_versions SET version = 2 WHERE component = 'control-plane';
    COMMIT;";

#[test]
fn volumes_snapshots_backups_jobs_and_keys_of_an_earlier_version_are_kept() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    control
        .create_snapshot(&Call::new(), &id("vol"), &id("s"))
        .unwrap();
    create(&control, "raw", "secret-raw");
    let backup = std::path::Path::new("/backups/raw");
    control.back_up_header(&Call::new(), &id("raw"), backup).unwrap();
    create(&control, "open", "plain");
    let before = control.volumes().unwrap();
    site.fuse.kill_after("EraseKeyslots");
    let killed = site.fuse.run(&control, |control| {
        control.delete_volume(&Call::new(), &id("vol")).map(drop)
    });
    assert!(killed.is_none());
    std::mem::forget(control);
    site.sql(BACK);

    let control = site.start();
    let after = control.volumes().unwrap();
    assert_eq!(after.len(), before.len());
    for (now, then) in after.iter().zip(&before) {
        assert_eq!(
            (&now.id, &now.disk),
            (&then.id, &then.id),
            "a disk had its volume's name"
        );
        assert_eq!((&now.passphrase, now.guest), (&then.passphrase, then.guest));
        assert_eq!((&now.template, &now.disk_of), (&None, &None));
    }
    assert_eq!(control.snapshots(&id("vol")).unwrap().len(), 1);
    assert_eq!(control.header_backups(&id("raw")).unwrap().len(), 1);
    let recovered = control.recover(&Call::new()).unwrap();
    let delete = recovered.iter().find(|r| r.job == Some(JobKind::Delete));
    assert_eq!(delete.unwrap().outcome, Outcome::Finished);
    assert_eq!(site.assert_sound(&control).len(), 2);
}

#[test]
fn a_pool_of_an_earlier_version_is_prepared_at_the_first_start_that_can() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    drop(control);
    site.sql("UPDATE pools SET prepared = 0");
    let marks = || {
        let commands = site.host.inner.commands();
        commands.iter().filter(|c| *c == "MarkDirectory").count()
    };
    let before = marks();
    site.broken.lock().unwrap().insert(id("main"));
    let (_, recovered) = site.recover();
    assert_eq!(recovered, [], "a pool that is away keeps nobody from starting");
    assert_eq!(site.count("pools WHERE prepared = 0"), 1);
    site.broken.lock().unwrap().clear();
    let (control, _) = site.recover();
    assert_eq!((site.count("pools WHERE prepared = 0"), marks()), (0, before + 1));
    site.recover();
    assert_eq!(marks(), before + 1, "and not again");
    site.assert_sound(&control);
}
