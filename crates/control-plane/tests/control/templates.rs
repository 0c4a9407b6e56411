//! Templates, overlays on them, and what keeps a template from going.

use std::path::Path;

use strongroom_control_plane::{
    ControlPlaneError, NewContent, NewTemplate, Reinstall, Sameness, SourceImage,
};
use strongroom_endpoint_selector::{EndpointError, ErrorKind, HostCommand};
use strongroom_types::{Call, DiskFormat};

use crate::site::{Site, create, id, mib, new_volume};

fn overlay(control: &strongroom_control_plane::ControlPlane, offering: &str) {
    let mut new = new_volume("vol", offering);
    new.content = NewContent::Overlay(id("t"));
    control.create_volume(&Call::new(), &new).unwrap();
}

fn holds(control: &strongroom_control_plane::ControlPlane, content: &str) -> bool {
    let image = SourceImage::new(Path::new(content), DiskFormat::Raw);
    control.compare_content(&Call::new(), &id("vol"), &image).unwrap() == Sameness::Identical
}

#[test]
fn a_template_is_recorded_with_size_and_digest_and_its_name_is_not_given_again() {
    let (site, control) = Site::with_template();
    let template = &control.templates().unwrap()[0];
    assert_eq!((template.size, template.format), (mib(1), DiskFormat::Raw));
    assert_eq!(template.sha256.len(), 64);
    let again = NewTemplate::new(id("t"), "/images/t", DiskFormat::Raw);
    let refused = control
        .add_template(&Call::new(), &again)
        .unwrap_err()
        .to_string();
    assert_eq!(refused, "template t is there already; choose another name");
    let nowhere = NewTemplate::new(id("n"), "/images/none", DiskFormat::Raw);
    let refused = control.add_template(&Call::new(), &nowhere).unwrap_err();
    assert_eq!(refused.kind(), Some(ErrorKind::NotFound));
    let relative = NewTemplate::new(id("r"), "t.raw", DiskFormat::Raw);
    let refused = control.add_template(&Call::new(), &relative).unwrap_err();
    assert!(
        matches!(refused, ControlPlaneError::RelativePath { .. }),
        "{refused}"
    );
    assert_eq!(site.count("templates"), 1);
}

#[test]
fn an_overlay_reads_as_its_template_and_keeps_it_from_going() {
    for offering in ["secret", "plain"] {
        let (site, control) = Site::with_template();
        overlay(&control, offering);
        assert_eq!(control.volume(&id("vol")).unwrap().template, Some(id("t")));
        assert!(holds(&control, "/images/t"));
        let refused = control
            .remove_template(&Call::new(), &id("t"))
            .unwrap_err()
            .to_string();
        assert_eq!(
            refused,
            "template t is in use by vol; delete or flatten these first"
        );
        // The tables hold it as well.
        let error = rusqlite::Connection::open(site.database())
            .unwrap()
            .execute_batch("PRAGMA foreign_keys = ON; DELETE FROM template_copies; DELETE FROM templates")
            .unwrap_err();
        assert!(error.to_string().contains("FOREIGN KEY"), "{error}");
        site.sql("INSERT OR IGNORE INTO template_copies VALUES ('t', 'main')");
        site.assert_sound(&control);
        control.delete_volume(&Call::new(), &id("vol")).unwrap();
        control.remove_template(&Call::new(), &id("t")).unwrap();
        site.assert_sound(&control);
    }
}

#[test]
fn an_overlay_grows_takes_snapshots_and_is_flattened() {
    let (site, control) = Site::with_template();
    overlay(&control, "secret");
    let call = Call::new();
    control.grow_volume(&call, &id("vol"), mib(2)).unwrap();
    control.create_snapshot(&call, &id("vol"), &id("s")).unwrap();
    let refused = control.flatten_volume(&call, &id("vol")).unwrap_err();
    assert!(
        matches!(refused, ControlPlaneError::SnapshotsInTheWay { .. }),
        "a snapshot reads from the template as well: {refused}"
    );
    control.restore_snapshot(&call, &id("vol"), &id("s")).unwrap();
    control.delete_snapshot(&call, &id("vol"), &id("s")).unwrap();
    site.assert_sound(&control);
    let flat = control.flatten_volume(&call, &id("vol")).unwrap();
    assert_eq!((flat.template, flat.guest), (None, mib(2)));
    control.remove_template(&call, &id("t")).unwrap();
    assert!(holds(&control, "/images/t"));
    let refused = control.flatten_volume(&call, &id("vol")).unwrap_err().to_string();
    assert_eq!(refused, "volume vol depends on no template");
    site.assert_sound(&control);
}

#[test]
fn a_volume_is_reinstalled_as_an_overlay_and_back() {
    let (site, control) = Site::with_template();
    create(&control, "vol", "secret");
    for (content, lies_on) in [
        (NewContent::Overlay(id("t")), Some(id("t"))),
        (NewContent::Template(id("t")), None),
    ] {
        let new = Reinstall::new(id("vol"), content);
        let exchanged = control.reinstall_volume(&Call::new(), &new).unwrap();
        assert_eq!(exchanged.volume.template, lies_on);
        assert!(holds(&control, "/images/t"));
        site.assert_sound(&control);
    }
}

#[test]
fn a_template_that_changed_becomes_no_volume_whether_the_digest_is_checked_or_not() {
    let (site, control) = Site::with_template();
    strongroom_endpoint_selector::Endpoint::run(
        &*site.host,
        &Call::new(),
        &strongroom_endpoint_selector::DeleteDisk::new(Path::new("/images/t")).into(),
    )
    .unwrap();
    site.put_image("/images/t", "/content/another");
    for (number, check) in [true, false].into_iter().enumerate() {
        let mut new = new_volume(&format!("vol-{number}"), "secret");
        (new.content, new.check_digest) = (NewContent::Template(id("t")), check);
        let refused = control.create_volume(&Call::new(), &new).unwrap_err();
        assert_eq!(refused.kind(), Some(ErrorKind::UntrustedImage), "{refused}");
        assert_eq!(site.assert_sound(&control).len(), 0);
    }
}

#[test]
fn a_removal_that_a_pool_refuses_is_gone_on_with_and_no_volume_is_made_meanwhile() {
    let (site, control) = Site::with_template();
    overlay(&control, "secret");
    control.delete_volume(&Call::new(), &id("vol")).unwrap();
    site.host.inner.fail_when(|command| match command {
        HostCommand::DeleteDisk(_) => Some(EndpointError::new(ErrorKind::Io, "DeleteDisk", "no answer")),
        _ => None,
    });
    let refused = control.remove_template(&Call::new(), &id("t")).unwrap_err();
    assert!(matches!(refused, ControlPlaneError::Pool { .. }), "{refused}");
    assert!(control.templates().unwrap()[0].removing);
    let mut new = new_volume("vol", "secret");
    new.content = NewContent::Template(id("t"));
    let refused = control.create_volume(&Call::new(), &new).unwrap_err();
    assert!(
        matches!(refused, ControlPlaneError::TemplateGoing { .. }),
        "{refused}"
    );
    site.host.inner.fail_when(|_| None);
    let (control, _) = site.recover();
    assert_eq!(control.templates().unwrap(), []);
    site.assert_sound(&control);
}
