//! What a delete destroys, in which order, and what it does when something is gone or does not let itself be destroyed.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use strongroom_control_plane::{ControlPlane, ControlPlaneError, VolumeState};
use strongroom_endpoint_selector::{EndpointError, ErrorKind, HostCommand};
use strongroom_types::Call;

use crate::site::{Site, create, id};

/// Whether any file of the database has these bytes. The files stay open, because closing one would drop the locks by which SQLite
/// knows that the control plane uses them.
fn database_has(site: &Site, needle: &[u8]) -> bool {
    ["", "-wal"].iter().any(|ending| {
        let mut path = site.database().into_os_string();
        path.push(ending);
        let mut bytes = Vec::new();
        let Ok(mut file) = File::open(path) else {
            return false;
        };
        file.read_to_end(&mut bytes).unwrap();
        std::mem::forget(file);
        bytes.windows(needle.len()).any(|w| w == needle)
    })
}

/// The sealed bytes of the only key.
fn sealed(site: &Site) -> Vec<u8> {
    rusqlite::Connection::open(site.database())
        .unwrap()
        .query_row("SELECT sealed FROM passphrases", [], |row| row.get(0))
        .unwrap()
}

fn with_everything(control: &ControlPlane) -> String {
    create(control, "vol", "secret-raw");
    control
        .back_up_header(&Call::new(), &id("vol"), Path::new("/backups/vol"))
        .unwrap();
    let key = control.volume(&id("vol")).unwrap().passphrase.unwrap();
    key.to_string()
}

#[test]
fn keyslots_then_backups_then_disk_then_key() {
    let (site, control) = Site::new();
    let key = with_everything(&control);
    let before = site.host.inner.commands().len();
    let erasure = control.delete_volume(&Call::new(), &id("vol")).unwrap();
    assert_eq!(
        erasure.destroyed,
        [
            "keyslots overwritten".to_owned(),
            "keyslots in header backup /backups/vol overwritten".to_owned(),
            "header backup /backups/vol removed".to_owned(),
            "disk removed from pool main".to_owned(),
            format!("sealed key {key} destroyed"),
            "its traces in the database overwritten".to_owned(),
        ]
    );
    assert_eq!(erasure.left, Vec::<String>::new());
    let commands = site.host.inner.commands();
    let work: Vec<_> = commands
        .iter()
        .skip(before)
        .filter(|c| ["EraseKeyslots", "DeleteDisk"].contains(&c.as_str()))
        .collect();
    assert_eq!(
        work[..4],
        ["EraseKeyslots", "EraseKeyslots", "DeleteDisk", "DeleteDisk"]
    );
    for table in [
        "volumes",
        "passphrases",
        "passphrase_references",
        "header_backups",
        "jobs",
    ] {
        assert_eq!(site.count(table), 0, "{table}");
    }
    site.assert_sound(&control);
}

#[test]
fn the_sealed_key_is_in_no_file_of_the_database_afterwards() {
    let (site, control) = Site::new();
    let key = with_everything(&control);
    let bytes = sealed(&site);
    assert!(
        database_has(&site, &bytes),
        "the search finds it while it is there"
    );
    control.delete_volume(&Call::new(), &id("vol")).unwrap();
    assert!(!database_has(&site, &bytes));
    assert!(!database_has(&site, key.as_bytes()));
}

#[test]
fn a_process_that_died_before_it_truncated_the_log_is_made_up_for() {
    let (site, control) = Site::new();
    with_everything(&control);
    let bytes = sealed(&site);
    // A reader holds the log, so that it cannot be truncated.
    let reader = rusqlite::Connection::open(site.database()).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM passphrases").unwrap();
    let _: i64 = reader
        .query_row("SELECT count(*) FROM passphrases", [], |row| row.get(0))
        .unwrap();
    let erasure = control.delete_volume(&Call::new(), &id("vol")).unwrap();
    assert_eq!(erasure.left.len(), 1, "{erasure:?}");
    assert!(erasure.left[0].contains("the next start does"), "{erasure:?}");
    assert!(database_has(&site, &bytes));
    drop(reader);
    std::mem::forget(control);
    site.recover();
    assert!(!database_has(&site, &bytes));
}

#[test]
fn a_delete_without_a_host_keeps_the_key_until_there_is_one() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    drop(control);
    let control = site.start_with(std::sync::Arc::new(
        strongroom_endpoint_selector::RegisteredEndpoints::new(),
    ));
    let refused = control.delete_volume(&Call::new(), &id("vol")).unwrap_err();
    assert!(matches!(refused, ControlPlaneError::NoHost { .. }), "{refused:?}");
    assert!(matches!(
        control.volume(&id("vol")).unwrap().state,
        VolumeState::Failed(_)
    ));
    assert_eq!(site.count("passphrases"), 1);
    drop(control);
    let (control, recovered) = site.recover();
    let lines: Vec<_> = recovered.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        ["volume vol: an earlier process began to delete it; this is finished now"]
    );
    site.assert_sound(&control);
    assert_eq!(site.count("passphrases"), 0);
}

#[test]
fn what_is_erased_is_not_looked_at_again() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    site.host.inner.fail_when(|command| match command {
        HostCommand::DeleteDisk(_) => Some(EndpointError::new(ErrorKind::Io, "DeleteDisk", "the disk stays")),
        _ => None,
    });
    control.delete_volume(&Call::new(), &id("vol")).unwrap_err();
    let erasures = || {
        let commands = site.host.inner.commands();
        commands.iter().filter(|c| *c == "EraseKeyslots").count()
    };
    assert_eq!(erasures(), 1);
    // Neither by a second call nor by the next process: the header is dead, and need not be readable any more.
    control.delete_volume(&Call::new(), &id("vol")).unwrap_err();
    drop(control);
    let (control, _) = site.recover();
    assert_eq!(erasures(), 1);
    site.host.inner.fail_when(|_| None);
    let erasure = control.delete_volume(&Call::new(), &id("vol")).unwrap();
    assert_eq!(erasures(), 1);
    // The answer has what the earlier calls did.
    assert_eq!(
        erasure.destroyed[..2],
        ["keyslots overwritten", "disk removed from pool main"]
    );
    site.assert_sound(&control);
}

#[test]
fn other_volumes_keep_their_keys() {
    let (site, control) = Site::new();
    create(&control, "keep", "secret");
    create(&control, "vol", "secret");
    control.delete_volume(&Call::new(), &id("vol")).unwrap();
    assert_eq!(site.assert_sound(&control).len(), 1);
}

#[test]
fn the_id_of_a_deleted_volume_may_be_used_again_with_another_key() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    let first = control.volume(&id("vol")).unwrap().passphrase;
    control.delete_volume(&Call::new(), &id("vol")).unwrap();
    create(&control, "vol", "secret");
    assert_ne!(control.volume(&id("vol")).unwrap().passphrase, first);
    site.assert_sound(&control);
}
