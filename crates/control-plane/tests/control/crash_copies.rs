//! Killed at any instant while one disk is made from another: the next start finishes or undoes it, and no volume is without a disk
//! that its key opens.

use std::path::Path;
use std::sync::Arc;

use strongroom_control_plane::{
    ControlPlane, ExportAs, JobKind, MoveVolume, NewClone, NewContent, NewExport, NewImport, Outcome,
    Reinstall, Sameness, SourceImage,
};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, DiskFormat, VolumeId};
use zeroize::Zeroizing;

use crate::crash::{assert_job, killed_on_site};
use crate::site::{Site, create, id, mib, new_volume};

fn volume() -> VolumeId {
    id("vol")
}

/// A passphrase as a user has it.
pub(crate) fn users() -> Passphrase {
    Passphrase::import(Zeroizing::new(b"correct horse battery staple".to_vec())).unwrap()
}

/// A site with a volume `vol` that has the template's content.
fn with_volume(content: NewContent, offering: &'static str) -> impl Fn() -> (Site, Arc<ControlPlane>) {
    move || {
        let (site, control) = Site::with_template();
        let mut new = new_volume("vol", offering);
        new.content = content.clone();
        control.create_volume(&Call::new(), &new).unwrap();
        (site, control)
    }
}

fn full(offering: &'static str) -> impl Fn() -> (Site, Arc<ControlPlane>) {
    with_volume(NewContent::Template(id("t")), offering)
}

fn holds(control: &ControlPlane, volume: &str, content: &str) -> bool {
    let image = SourceImage::new(Path::new(content), DiskFormat::Raw);
    let same = control
        .compare_content(&Call::new(), &id(volume), &image)
        .unwrap();
    same == Sameness::Identical
}

#[test]
fn a_killed_create_from_a_template_is_undone_and_the_template_can_be_removed() {
    for content in [NewContent::Template(id("t")), NewContent::Overlay(id("t"))] {
        let recovered = killed_on_site(
            Site::with_template,
            {
                // A kill is at a moment of its own in every process, so what is asked for is the same in each.
                let overlay = matches!(content, NewContent::Overlay(_));
                move |control| {
                    let mut new = new_volume("vol", "secret");
                    new.check_digest = true;
                    new.content = match overlay {
                        true => NewContent::Overlay(id("t")),
                        false => NewContent::Template(id("t")),
                    };
                    control.create_volume(&Call::new(), &new).map(drop)
                }
            },
            |site, control| {
                control.volume(&volume()).unwrap_err();
                control.remove_template(&Call::new(), &id("t")).unwrap();
                assert_eq!(site.count("template_copies"), 0);
            },
        );
        assert_job(&recovered, JobKind::Create, Outcome::Undone);
    }
}

#[test]
fn a_killed_reinstall_leaves_the_old_content_or_the_new_one() {
    for offering in ["secret", "secret-raw", "plain"] {
        let recovered = killed_on_site(
            || {
                let (site, control) = full(offering)();
                site.put_image("/images/new", "/content/new");
                if offering == "secret-raw" {
                    let backup = Path::new("/backups/vol");
                    control.back_up_header(&Call::new(), &volume(), backup).unwrap();
                }
                (site, control)
            },
            |control| {
                let image = strongroom_control_plane::TemplateImage::new("/images/new", DiskFormat::Raw);
                let new = Reinstall::new(volume(), NewContent::Image(image));
                control.reinstall_volume(&Call::new(), &new).map(drop)
            },
            |_, control| {
                let new = holds(control, "vol", "/images/new");
                assert!(new || holds(control, "vol", "/images/t"));
                // A header backup opens what the volume has, or is gone.
                let backups = control.header_backups(&volume()).unwrap().len();
                assert_eq!(backups, usize::from(!new && offering == "secret-raw"));
            },
        );
        assert_job(&recovered, JobKind::Reinstall, Outcome::Undone);
        assert_job(&recovered, JobKind::Delete, Outcome::Finished);
    }
}

#[test]
fn a_killed_move_leaves_the_volume_in_one_pool_or_the_other_with_its_content() {
    for offering in ["secret", "secret-raw", "plain"] {
        let recovered = killed_on_site(
            full(offering),
            |control| {
                let new = MoveVolume::new(volume(), id("other"));
                control.move_volume(&Call::new(), &new).map(drop)
            },
            |_, control| {
                let pool = control.volume(&volume()).unwrap().pool;
                assert!(["main", "other"].contains(&pool.as_str()), "{pool}");
                assert!(holds(control, "vol", "/images/t"));
            },
        );
        assert_job(&recovered, JobKind::Move, Outcome::Undone);
        assert_job(&recovered, JobKind::Delete, Outcome::Finished);
    }
}

#[test]
fn a_killed_clone_is_undone_and_its_source_is_as_it_was() {
    for pool in ["main", "other"] {
        let recovered = killed_on_site(
            full("secret"),
            move |control| {
                let mut new = NewClone::new(volume());
                (new.id, new.pool) = (Some(id("clone")), Some(id(pool)));
                control.clone_volume(&Call::new(), &new).map(drop)
            },
            |_, control| {
                control.volume(&id("clone")).unwrap_err();
                assert!(holds(control, "vol", "/images/t"));
            },
        );
        assert_job(&recovered, JobKind::Clone, Outcome::Undone);
    }
}

#[test]
fn a_killed_flatten_is_finished() {
    let recovered = killed_on_site(
        with_volume(NewContent::Overlay(id("t")), "secret"),
        |control| control.flatten_volume(&Call::new(), &volume()).map(drop),
        |_, control| {
            assert!(holds(control, "vol", "/images/t"));
            if control.volume(&volume()).unwrap().template.is_none() {
                control.remove_template(&Call::new(), &id("t")).unwrap();
                assert!(holds(control, "vol", "/images/t"));
            }
        },
    );
    assert_job(&recovered, JobKind::Flatten, Outcome::Finished);
}

#[test]
fn a_killed_shrink_leaves_one_of_the_two_sizes_and_the_record_says_which() {
    let recovered = killed_on_site(
        full("secret-raw"),
        |control| {
            control
                .shrink_volume(&Call::new(), &volume(), mib_half())
                .map(drop)
        },
        |_, control| {
            let size = control.volume(&volume()).unwrap().guest;
            assert!([mib(1), mib_half()].contains(&size), "{size}");
        },
    );
    assert_job(&recovered, JobKind::Shrink, Outcome::Finished);
}

fn mib_half() -> strongroom_types::GuestSize {
    strongroom_types::GuestSize::new(1 << 19).unwrap()
}

#[test]
fn an_export_that_was_being_made_is_undone() {
    for declassify in [false, true] {
        let recovered = killed_on_site(
            full("secret"),
            move |control| {
                let key = users();
                let protection = match declassify {
                    true => ExportAs::Declassified("a test"),
                    false => ExportAs::Sealed(&key),
                };
                let mut new = NewExport::new(volume(), "/exports/vol", DiskFormat::Raw, protection);
                new.check_digest = true;
                control.export_volume(&Call::new(), &new).map(drop)
            },
            |site, control| {
                let there = site.host.inner.paths().contains(&"/exports/vol".into());
                assert_eq!(there, control.exports().unwrap().len() == 1);
            },
        );
        assert_job(&recovered, JobKind::Export, Outcome::Undone);
    }
}

#[test]
fn a_killed_import_is_undone_and_the_image_stays() {
    let recovered = killed_on_site(
        || {
            let (site, control) = full("secret")();
            let key = users();
            let new = NewExport::new(volume(), "/exports/vol", DiskFormat::Raw, ExportAs::Sealed(&key));
            control.export_volume(&Call::new(), &new).unwrap();
            (site, control)
        },
        |control| {
            let key = users();
            let mut new = NewImport::new(id("secret"), "/exports/vol", DiskFormat::Raw);
            (new.id, new.key, new.check_digest) = (Some(id("new")), Some(&key), true);
            control.import_volume(&Call::new(), &new).map(drop)
        },
        |site, control| {
            control.volume(&id("new")).unwrap_err();
            assert!(site.host.inner.paths().contains(&"/exports/vol".into()));
        },
    );
    assert_job(&recovered, JobKind::Import, Outcome::Undone);
}

#[test]
fn a_killed_removal_of_a_template_is_finished() {
    killed_on_site(
        || {
            let (site, control) = full("secret")();
            create(&control, "another", "plain");
            (site, control)
        },
        |control| control.remove_template(&Call::new(), &id("t")),
        |site, control| {
            assert_eq!(control.templates().unwrap(), []);
            let copies = site.host.inner.paths();
            assert!(
                !copies.iter().any(|p| p.starts_with("/pools/main/templates")),
                "{copies:?}"
            );
        },
    );
}
