//! Clones, exports and imports: what comes out, under which key, and what is recorded.

use std::path::Path;

use strongroom_control_plane::{
    ControlPlaneError, ExportAs, NewClone, NewContent, NewExport, NewImport, Sameness, SourceImage,
};
use strongroom_endpoint_selector::{EndpointError, ErrorKind, HostCommand};
use strongroom_storage_pool::fake::MemoryPool;
use strongroom_types::{Call, DiskFormat};

use crate::crash_copies::users;
use crate::site::{Site, able_host, create, id, mib, new_volume};

fn image(path: &str) -> SourceImage<'_> {
    SourceImage::new(Path::new(path), DiskFormat::Raw)
}

/// A site with a volume `vol` of this offering that has the template's content.
fn site(offering: &str) -> (Site, std::sync::Arc<strongroom_control_plane::ControlPlane>) {
    let (site, control) = Site::with_template();
    let mut new = new_volume("vol", offering);
    new.content = NewContent::Template(id("t"));
    control.create_volume(&Call::new(), &new).unwrap();
    (site, control)
}

fn clone_named(name: &str) -> NewClone {
    let mut new = NewClone::new(id("vol"));
    new.id = Some(id(name));
    new
}

#[test]
fn a_clone_has_the_content_and_a_key_of_its_own() {
    for (pool, check_digest) in [("main", false), ("other", true)] {
        let (site, control) = site("secret");
        let mut new = clone_named("clone");
        (new.pool, new.check_digest) = (Some(id(pool)), check_digest);
        let clone = control.clone_volume(&Call::new(), &new).unwrap();
        let source = control.volume(&id("vol")).unwrap();
        assert_eq!((clone.pool.as_str(), clone.guest), (pool, source.guest));
        assert_ne!(clone.passphrase, source.passphrase);
        assert_eq!(clone.shares_key_with, []);
        let same = control.compare_content(&Call::new(), &clone.id, &image("/images/t"));
        assert_eq!(same.unwrap(), Sameness::Identical);
        let keys = ["vol", "clone"].map(|volume| {
            let key = control.with_key(&id(volume), |key| key.expose_secret().to_vec());
            key.unwrap()
        });
        assert!(keys[0] != keys[1], "two volumes have one passphrase");
        control.delete_volume(&Call::new(), &id("vol")).unwrap();
        assert_eq!(site.assert_sound(&control).len(), 1);
    }
}

#[test]
fn a_key_is_shared_only_when_asked_for_and_that_is_recorded_with_both() {
    let (site, control) = Site::bare(able_host("local", &["pool"]));
    let (pool, control) = site.add_memory(control, MemoryPool::new(id("pool")));
    create(&control, "vol", "secret");
    let mut new = clone_named("clone");
    new.share_key = true;
    let clone = control.clone_volume(&Call::new(), &new).unwrap();
    let source = control.volume(&id("vol")).unwrap();
    assert_eq!(clone.passphrase, source.passphrase);
    assert_eq!(clone.shares_key_with, [id("vol")]);
    assert_eq!(source.shares_key_with, [id("clone")]);
    assert_eq!(site.count("passphrases"), 1);

    // The key outlives what it opens, and the delete says what else it opens.
    let erasure = control.delete_volume(&Call::new(), &id("vol")).unwrap();
    assert_eq!(
        erasure.lives_on,
        [
            "volume clone shares its passphrase and volume key: an old header of this volume opens that one, if it is still there"
        ]
    );
    assert!(
        !erasure
            .destroyed
            .iter()
            .any(|line| line.starts_with("sealed key")),
        "{erasure:?}"
    );
    assert_eq!(site.count("passphrases"), 1);
    control.with_key(&id("clone"), |_| ()).unwrap();
    // What was shared stays known after the source is gone.
    assert_eq!(control.volume(&id("clone")).unwrap().shares_key_with, [id("vol")]);
    let erasure = control.delete_volume(&Call::new(), &id("clone")).unwrap();
    assert!(
        erasure
            .destroyed
            .iter()
            .any(|line| line.starts_with("sealed key")),
        "{erasure:?}"
    );
    assert_eq!((site.count("passphrases"), pool.volumes()), (0, vec![]));
}

#[test]
fn a_key_is_not_shared_across_pools_nor_by_a_pool_that_does_not_say_so_nor_without_a_key() {
    let (_site, control) = site("secret");
    let mut new = clone_named("clone");
    new.share_key = true;
    let refused = control.clone_volume(&Call::new(), &new).unwrap_err().to_string();
    assert!(
        refused.contains("main makes no clones that share a key"),
        "{refused}"
    );
    create(&control, "open", "plain");
    let mut new = NewClone::new(id("open"));
    new.share_key = true;
    let refused = control.clone_volume(&Call::new(), &new).unwrap_err();
    assert!(
        matches!(refused, ControlPlaneError::NotEncrypted { .. }),
        "{refused}"
    );

    let (site, control) = Site::bare(able_host("local", &["one", "two"]));
    let (_, control) = site.add_memory(control, MemoryPool::new(id("one")));
    let (_, control) = site.add_memory(control, MemoryPool::new(id("two")));
    let mut vol = new_volume("vol", "secret");
    vol.pool = Some(id("one"));
    control.create_volume(&Call::new(), &vol).unwrap();
    let mut new = clone_named("clone");
    (new.share_key, new.pool) = (true, Some(id("two")));
    let refused = control.clone_volume(&Call::new(), &new).unwrap_err().to_string();
    assert!(
        refused.contains("only a clone beside it can share its key"),
        "{refused}"
    );
}

#[test]
fn a_copy_that_does_not_read_as_its_source_is_removed() {
    let (site, control) = site("secret");
    // The copy is read last, and reads otherwise.
    let mut digests = 0;
    site.host.inner.fail_after(move |command| {
        if !matches!(command, HostCommand::DigestContent(_)) {
            return None;
        }
        digests += 1;
        (digests == 2).then(|| EndpointError::new(ErrorKind::Io, "DigestContent", "a bad sector"))
    });
    let mut new = clone_named("clone");
    new.check_digest = true;
    let refused = control.clone_volume(&Call::new(), &new).unwrap_err();
    assert_eq!(refused.kind(), Some(ErrorKind::Io), "{refused}");
    site.host.inner.fail_after(|_| None);
    assert_eq!(site.assert_sound(&control).len(), 1);
}

#[test]
fn a_sealed_export_opens_with_the_callers_passphrase_and_is_imported_with_it() {
    let (site, control) = site("secret");
    let key = users();
    let mut export = NewExport::new(
        id("vol"),
        "/exports/vol",
        DiskFormat::Qcow2,
        ExportAs::Sealed(&key),
    );
    export.check_digest = true;
    let made = control.export_volume(&Call::new(), &export).unwrap();
    assert!(made.encrypted && made.declassified.is_none());
    assert_eq!(control.exports().unwrap(), [made]);

    let mut import = NewImport::new(id("secret-raw"), "/exports/vol", DiskFormat::Qcow2);
    (import.id, import.key, import.check_digest) = (Some(id("back")), Some(&key), true);
    let back = control.import_volume(&Call::new(), &import).unwrap();
    assert_eq!((back.guest, back.format), (mib(1), DiskFormat::Raw));
    let same = control.compare_content(&Call::new(), &back.id, &image("/images/t"));
    assert_eq!(same.unwrap(), Sameness::Identical);
    let own = control.with_key(&back.id, |own| own.expose_secret() != key.expose_secret());
    assert!(
        own.unwrap(),
        "the passphrase of an image must not become a volume's"
    );

    // Another passphrase does not open it, and nothing is left of the attempt.
    let wrong = strongroom_secret::Passphrase::generate().unwrap();
    (import.id, import.key) = (Some(id("no")), Some(&wrong));
    let refused = control.import_volume(&Call::new(), &import).unwrap_err();
    assert_eq!(refused.kind(), Some(ErrorKind::WrongKey), "{refused}");
    // And without one it is not taken for a plain image.
    (import.id, import.key) = (Some(id("no")), None);
    let refused = control.import_volume(&Call::new(), &import).unwrap_err();
    assert_eq!(refused.kind(), Some(ErrorKind::WrongDisk), "{refused}");
    assert_eq!(site.assert_sound(&control).len(), 2);
}

#[test]
fn an_encrypted_volume_is_written_in_clear_only_with_a_reason_which_stays() {
    let (site, control) = site("secret");
    let export = |protection| NewExport::new(id("vol"), "/exports/vol", DiskFormat::Raw, protection);
    for nothing_said in [ExportAs::Plain, ExportAs::Declassified("  ")] {
        let refused = control
            .export_volume(&Call::new(), &export(nothing_said))
            .unwrap_err();
        assert!(
            matches!(refused, ControlPlaneError::NotDeclassified { .. }),
            "{refused}"
        );
    }
    assert!(!site.host.inner.paths().contains(&"/exports/vol".into()));
    let reason = ExportAs::Declassified("migration to another cloud");
    control.export_volume(&Call::new(), &export(reason)).unwrap();
    // It is there in clear: a plain import takes it.
    let mut import = NewImport::new(id("plain"), "/exports/vol", DiskFormat::Raw);
    import.id = Some(id("open"));
    control.import_volume(&Call::new(), &import).unwrap();

    let erasure = control.delete_volume(&Call::new(), &id("vol")).unwrap();
    assert_eq!(
        erasure.lives_on,
        ["its content was written to /exports/vol on host local, in clear (migration to another cloud)"]
    );
    let kept = control.exports().unwrap();
    assert_eq!(
        kept[0].declassified.as_deref(),
        Some("migration to another cloud")
    );
    assert!(kept[0].volume_gone);
    // Another volume of that name has not been exported.
    create(&control, "vol", "secret");
    let erasure = control.delete_volume(&Call::new(), &id("vol")).unwrap();
    assert_eq!(erasure.lives_on, Vec::<String>::new());
}

#[test]
fn a_plain_volume_is_exported_plain_and_there_is_nothing_to_declassify() {
    let (_site, control) = site("plain");
    let reason = ExportAs::Declassified("a reason");
    let refused = control
        .export_volume(
            &Call::new(),
            &NewExport::new(id("vol"), "/exports/vol", DiskFormat::Raw, reason),
        )
        .unwrap_err();
    assert!(
        matches!(refused, ControlPlaneError::NotEncrypted { .. }),
        "{refused}"
    );
    let plain = NewExport::new(id("vol"), "/exports/vol", DiskFormat::Raw, ExportAs::Plain);
    control.export_volume(&Call::new(), &plain).unwrap();
    let refused = control.export_volume(&Call::new(), &plain).unwrap_err();
    assert!(matches!(refused, ControlPlaneError::Taken { .. }), "{refused}");
    assert_eq!(control.exports().unwrap().len(), 1);
}

#[test]
fn a_delete_settles_an_export_that_was_left() {
    let (site, control) = site("secret");
    let key = users();
    let export = NewExport::new(id("vol"), "/exports/vol", DiskFormat::Raw, ExportAs::Sealed(&key));
    let broken = |command: &HostCommand<'_>| match command {
        HostCommand::DeleteDisk(c) if c.path == Path::new("/exports/vol") => {
            Some(EndpointError::new(ErrorKind::Io, "DeleteDisk", "no answer"))
        }
        _ => None,
    };
    site.host.inner.fail_when(broken);
    site.host.inner.fail_after(|command| {
        let error = EndpointError::new(ErrorKind::Io, command.name(), "the answer got lost");
        matches!(command, HostCommand::CreateDisk(_)).then_some(error)
    });
    control.export_volume(&Call::new(), &export).unwrap_err();
    let state = control.volume(&id("vol")).unwrap().state;
    assert_eq!(state.to_string(), "error");
    control.delete_volume(&Call::new(), &id("vol")).unwrap_err();
    site.host.inner.fail_when(|_| None);
    site.host.inner.fail_after(|_| None);
    control.delete_volume(&Call::new(), &id("vol")).unwrap();
    assert!(!site.host.inner.paths().contains(&"/exports/vol".into()));
    assert_eq!(control.exports().unwrap(), []);
    site.assert_sound(&control);
}
