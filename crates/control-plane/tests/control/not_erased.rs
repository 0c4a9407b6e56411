//! A delete overwrites nothing but what is proved to be the volume's, and says what it did not overwrite.

use std::path::{Path, PathBuf};

use strongroom_control_plane::{ControlPlane, ControlPlaneError, Erasure, JobKind, VolumeState};
use strongroom_endpoint_selector::{
    CreateDisk, DeleteDisk, Disk, DiskContent, DiskLocation, Endpoint, EndpointError, ErrorKind, HostCommand,
    Protection, VerifyDisk,
};
use strongroom_passphrase_store::{KekError, KekId, KeyEncryptionKey};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, DiskFormat, EncryptionFormat};
use zeroize::Zeroizing;

use crate::fragile::Burn;
use crate::site::{Site, create, id, mib};

fn delete(control: &ControlPlane) -> Erasure {
    control.delete_volume(&Call::new(), &id("vol")).unwrap()
}

fn take_away(site: &Site, path: &Path) {
    site.host
        .run(&Call::new(), &DeleteDisk::new(path).into())
        .unwrap();
}

/// Puts another volume's disk in this place.
fn exchange(site: &Site, path: &Path, format: DiskFormat, luks: EncryptionFormat) -> Passphrase {
    take_away(site, path);
    let key = Passphrase::generate().unwrap();
    let protection = Protection::Luks {
        format: luks,
        key: &key,
    };
    let made = CreateDisk::new(path, format, mib(1), protection, DiskContent::Blank);
    site.host.run(&Call::new(), &made.into()).unwrap();
    key
}

fn count(site: &Site, command: &str) -> usize {
    site.host
        .inner
        .commands()
        .iter()
        .filter(|c| *c == command)
        .count()
}

/// What the next process says of the delete that it finishes.
fn recovered(site: &Site) -> Erasure {
    let (_, recovered) = site.recover();
    let delete = recovered.into_iter().find(|r| r.job == Some(JobKind::Delete));
    delete.unwrap().erasure.unwrap()
}

/// No row and no key is left, and nobody says that keyslots were overwritten.
#[track_caller]
fn assert_forgotten_but_not_erased(site: &Site, erasure: &Erasure, reason: &str) {
    assert_eq!(count(site, "EraseKeyslots"), 0, "{erasure:?}");
    assert!(
        !erasure.destroyed.iter().any(|d| d.contains("keyslots")),
        "{erasure:?}"
    );
    assert!(erasure.left[0].contains(reason), "{erasure:?}");
    for table in ["volumes", "passphrases", "passphrase_references", "jobs"] {
        assert_eq!(site.count(table), 0, "{table}");
    }
}

#[test]
fn a_disk_that_the_key_does_not_open_is_not_overwritten() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    let path = site.host.inner.paths().remove(0);
    let key = exchange(&site, &path, DiskFormat::Qcow2, EncryptionFormat::Luks1);
    let erasure = delete(&control);
    assert_forgotten_but_not_erased(&site, &erasure, "the key does not open");
    assert!(erasure.left[1].contains("may be another volume's"), "{erasure:?}");
    let location = DiskLocation::File(path.clone());
    let protection = Protection::Luks {
        format: EncryptionFormat::Luks1,
        key: &key,
    };
    let disk = Disk::new(&location, DiskFormat::Qcow2, protection);
    site.host
        .run(&Call::new(), &VerifyDisk::new(disk).into())
        .unwrap();
    let begin = format!("the keyslots on {} were not overwritten: ", path.display());
    assert!(erasure.left[0].starts_with(&begin), "{erasure:?}");
}

#[test]
fn a_disk_that_is_something_else_is_not_overwritten() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    site.host.inner.fail_when(|command| {
        let error = EndpointError::new(ErrorKind::WrongDisk, command.name(), "no header there");
        matches!(command, HostCommand::VerifyDisk(_)).then_some(error)
    });
    assert_forgotten_but_not_erased(&site, &delete(&control), "no header there");
    assert_eq!(site.disks(), Vec::<String>::new());
}

#[test]
fn without_the_key_nothing_is_overwritten() {
    for damage in [
        "UPDATE passphrases SET sealed = zeroblob(length(sealed))",
        "PRAGMA foreign_keys = OFF; UPDATE passphrases SET kek = 'another'",
    ] {
        let (site, control) = Site::new();
        create(&control, "vol", "secret");
        site.sql(damage);
        let erasure = delete(&control);
        assert_forgotten_but_not_erased(&site, &erasure, "the key of volume vol cannot be had");
        assert!(erasure.left[0].starts_with("the keyslots of volume vol were not overwritten: "));
        assert_eq!(erasure.destroyed[0], "disk removed from pool main");
    }
}

/// A key service that is out of order.
#[derive(Debug)]
struct Silent(std::sync::Arc<dyn KeyEncryptionKey>);

impl KeyEncryptionKey for Silent {
    fn id(&self) -> &KekId {
        self.0.id()
    }
    fn version(&self) -> u32 {
        self.0.version()
    }
    fn seal(&self, _: &[u8], _: &[u8]) -> Result<Vec<u8>, KekError> {
        self.unseal(0, &[], &[]).map(|_| Vec::new())
    }
    fn unseal(&self, _: u32, _: &[u8], _: &[u8]) -> Result<Zeroizing<Vec<u8>>, KekError> {
        let reason = "no answer".to_owned();
        Err(KekError::Unavailable { reason })
    }
}

#[test]
fn a_key_service_that_does_not_answer_is_waited_for() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    drop(control);
    let control = site.start_with_kek(Silent);
    let refused = control.delete_volume(&Call::new(), &id("vol")).unwrap_err();
    assert!(matches!(refused, ControlPlaneError::Key { .. }), "{refused:?}");
    let state = control.volume(&id("vol")).unwrap().state;
    assert_eq!(state, VolumeState::Failed(JobKind::Delete));
    assert_eq!(site.disks(), ["vol"]);
    drop(control);
    let erasure = recovered(&site);
    assert_eq!(erasure.destroyed[0], "keyslots overwritten");
    assert_eq!(erasure.left, Vec::<String>::new());
}

#[test]
fn a_disk_that_is_gone_is_no_hindrance_and_is_not_called_removed() {
    for (offering, lines) in [
        (
            "secret",
            &[
                "the disk was not there, so its keyslots were not overwritten",
                "the disk was not there, so pool main removed none",
            ][..],
        ),
        ("plain", &["the disk was not there, so pool main removed none"]),
    ] {
        let (site, control) = Site::new();
        create(&control, "vol", offering);
        take_away(&site, &site.host.inner.paths().remove(0));
        let erasure = delete(&control);
        assert_eq!(erasure.left, lines);
        let said = erasure.destroyed.iter().any(|d| d.contains("disk removed"));
        assert!(!said, "{erasure:?}");
        site.assert_sound(&control);
    }
}

#[test]
fn half_erased_keyslots_are_erased_again_without_proof() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    site.fuse.kill_after("EraseKeyslots");
    assert!(site.fuse.run(&control, delete).is_none());
    std::mem::forget(control);
    assert_eq!(site.count("jobs WHERE step = 'proved'"), 1);
    let proofs = count(&site, "VerifyDisk");
    let erasure = recovered(&site);
    assert_eq!(count(&site, "VerifyDisk"), proofs, "no key opens it any more");
    assert_eq!(count(&site, "EraseKeyslots"), 2);
    assert_eq!(
        erasure.destroyed[..2],
        ["keyslots overwritten", "disk removed from pool main"]
    );
    assert_eq!(erasure.left, Vec::<String>::new());
    site.assert_sound(&site.start());
}

#[test]
fn a_recovered_delete_says_what_the_dead_process_did_not_destroy() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    site.host.inner.fail_when(|command| {
        let error = EndpointError::new(ErrorKind::WrongDisk, command.name(), "no header there");
        matches!(command, HostCommand::VerifyDisk(_)).then_some(error)
    });
    site.fuse.kill_after("DeleteDisk");
    assert!(site.fuse.run(&control, delete).is_none());
    std::mem::forget(control);
    site.host.inner.fail_when(|command| {
        let again = matches!(
            command,
            HostCommand::VerifyDisk(_) | HostCommand::EraseKeyslots(_)
        );
        assert!(!again, "the step is done: {}", command.name());
        None
    });
    let (_, recovered) = site.recover();
    let erasure = recovered[0].erasure.as_ref().unwrap();
    assert_eq!(erasure.left.len(), 1, "{erasure:?}");
    assert_eq!(
        erasure.destroyed[0], "disk removed from pool main",
        "the dead process had seen it"
    );
    let text = recovered[0].to_string();
    let begin = "volume vol: an earlier process began to delete it; this is finished now; not destroyed: the keyslots on ";
    assert!(text.starts_with(begin), "{text}");
    assert!(text.contains("no header there"), "{text}");
}

fn with_backup(site: &Site, control: &ControlPlane) -> PathBuf {
    create(control, "vol", "secret-raw");
    let path = Path::new("/backups/vol");
    control.back_up_header(&Call::new(), &id("vol"), path).unwrap();
    assert_eq!(site.backups(), [path]);
    path.to_owned()
}

#[test]
fn a_whole_disk_in_the_place_of_a_header_backup_is_not_touched() {
    for luks in [EncryptionFormat::Luks1, EncryptionFormat::Luks2] {
        let (site, control) = Site::new();
        let path = with_backup(&site, &control);
        let key = exchange(&site, &path, DiskFormat::Raw, luks);
        let erasure = delete(&control);
        assert_eq!(
            erasure.left,
            [
                "/backups/vol is not the header backup that was made there but a whole disk, and stays as it is"
            ]
        );
        let location = DiskLocation::File(path);
        let disk = Disk::new(
            &location,
            DiskFormat::Raw,
            Protection::Luks {
                format: luks,
                key: &key,
            },
        );
        let opened = site.host.run(&Call::new(), &VerifyDisk::new(disk).into());
        opened.unwrap();
        assert_eq!(site.count("header_backups"), 0);
        assert_eq!(site.count("passphrases"), 0);
    }
}

#[test]
fn a_file_without_a_header_in_the_place_of_a_header_backup_is_not_removed() {
    let (site, control) = Site::new();
    let path = with_backup(&site, &control);
    site.host.inner.fail_when(move |command| {
        let error = EndpointError::new(ErrorKind::WrongDisk, command.name(), "it is a letter");
        matches!(command, HostCommand::EraseKeyslots(c) if c.location.path() == path).then_some(error)
    });
    let erasure = delete(&control);
    assert_eq!(erasure.left.len(), 1, "{erasure:?}");
    let begin = "/backups/vol is no header backup whose keyslots could be overwritten, and stays as it is: ";
    assert!(erasure.left[0].starts_with(begin), "{erasure:?}");
    assert!(erasure.left[0].contains("it is a letter"), "{erasure:?}");
    assert_eq!(site.backups(), [Path::new("/backups/vol")]);
    assert_eq!(site.count("header_backups"), 0);
}

#[test]
fn a_header_backup_that_is_gone_is_not_called_removed() {
    let (site, control) = Site::new();
    let path = with_backup(&site, &control);
    take_away(&site, &path);
    let erasure = delete(&control);
    assert_eq!(
        erasure.left,
        ["header backup /backups/vol was not there, so its keyslots were not overwritten"]
    );
    let said = erasure.destroyed.iter().any(|d| d.contains("/backups/vol"));
    assert!(!said, "{erasure:?}");
}

/// What the finished delete answered, but for the line that names the random id of the key.
fn lines(erasure: Erasure) -> Vec<String> {
    assert_eq!(erasure.left, Vec::<String>::new());
    let mut lines = erasure.destroyed;
    lines.retain(|line| !line.starts_with("sealed key"));
    lines
}

#[test]
fn killed_at_any_moment_the_answer_is_that_of_a_delete_that_was_not() {
    let (site, control) = Site::new();
    with_backup(&site, &control);
    let whole = lines(delete(&control));
    for moment in 1.. {
        let (site, control) = Site::new();
        with_backup(&site, &control);
        site.fuse.light(moment, Burn::Kill);
        let done = site.fuse.run(&control, delete);
        site.fuse.put_out();
        if done.is_some() {
            assert!(moment > 10, "{moment}");
            return;
        }
        std::mem::forget(control);
        assert_eq!(lines(recovered(&site)), whole, "moment {moment}");
    }
}

#[test]
fn a_pool_that_refuses_its_place_is_waited_for_and_the_keyslots_are_overwritten_then() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    site.host.inner.fail_when(|command| {
        let error = EndpointError::new(ErrorKind::WrongDisk, command.name(), "of another installation");
        matches!(command, HostCommand::OpenDirectory(_)).then_some(error)
    });
    for _ in 0..2 {
        let refused = control.delete_volume(&Call::new(), &id("vol")).unwrap_err();
        assert_eq!(refused.kind(), Some(ErrorKind::WrongDisk), "{refused:?}");
        let state = control.volume(&id("vol")).unwrap().state;
        assert_eq!(state, VolumeState::Failed(JobKind::Delete));
        assert_eq!(site.count("jobs WHERE step = 'keyslots-erased'"), 0);
    }
    assert_eq!(
        (count(&site, "EraseKeyslots"), site.disks()),
        (0, vec!["vol".to_owned()])
    );
    site.host.inner.fail_when(|_| None);
    let erasure = delete(&control);
    assert_eq!(erasure.destroyed[0], "keyslots overwritten");
    assert_eq!(erasure.left, Vec::<String>::new());
}
