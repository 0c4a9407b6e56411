//! What is refused, with what message, and that nothing is changed by it.

use std::path::Path;

use strongroom_control_plane::{ControlPlaneError, NewContent, SourceImage, TemplateImage};
use strongroom_endpoint_selector::{EndpointError, ErrorKind, HostCommand};
use strongroom_types::{Call, DiskFormat, GuestSize};

use crate::site::{Site, create, id, mib, new_volume};

#[track_caller]
fn says<T: std::fmt::Debug>(result: Result<T, ControlPlaneError>, text: &str) {
    assert_eq!(result.unwrap_err().to_string(), text);
}

#[test]
fn what_is_not_there_is_named() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    let call = Call::new();
    says(control.volume(&id("no")), "there is no volume no");
    says(
        control.grow_volume(&call, &id("no"), mib(2)),
        "there is no volume no",
    );
    says(control.delete_volume(&call, &id("no")), "there is no volume no");
    says(control.verify_volume(&call, &id("no")), "there is no volume no");
    says(control.snapshots(&id("no")), "there is no volume no");
    says(control.header_backups(&id("no")), "there is no volume no");
    let snapshot = "there is no snapshot s of volume vol";
    says(control.restore_snapshot(&call, &id("vol"), &id("s")), snapshot);
    says(control.delete_snapshot(&call, &id("vol"), &id("s")), snapshot);
    says(
        control.create_volume(&call, &new_volume("v", "no")),
        "there is no offering no",
    );
    let mut new = new_volume("v", "secret");
    new.pool = Some(id("no"));
    says(control.create_volume(&call, &new), "there is no pool no");
    says(control.pool_capabilities(&id("no")), "there is no pool no");
    site.assert_sound(&control);
}

#[test]
fn a_name_that_is_taken_stays_with_who_has_it() {
    let (site, control) = Site::new();
    create(&control, "vol", "secret");
    let call = Call::new();
    control.create_snapshot(&call, &id("vol"), &id("s")).unwrap();
    control.grow_volume(&call, &id("vol"), mib(2)).unwrap();
    let before = control.volume(&id("vol")).unwrap();
    says(
        control.create_volume(&call, &new_volume("vol", "plain")),
        "volume vol is there already; choose another name",
    );
    says(
        control.create_snapshot(&call, &id("vol"), &id("s")),
        "snapshot s of volume vol is there already; choose another name",
    );
    let offering = strongroom_control_plane::NewOffering::new(id("secret"), false, DiskFormat::Raw);
    says(
        control.create_offering(&offering),
        "offering secret is there already; choose another name",
    );
    assert_eq!(control.volume(&id("vol")).unwrap(), before);
    assert_eq!(control.snapshots(&id("vol")).unwrap()[0].guest, mib(1));
    site.assert_sound(&control);
}

#[test]
fn a_volume_is_not_made_smaller_by_growing_it() {
    let (site, control) = Site::new();
    let vol = create(&control, "vol", "secret");
    says(
        control.grow_volume(&Call::new(), &vol, GuestSize::new(512).unwrap()),
        "volume vol has 1048576 bytes, and 512 is less; shrinking it loses what is behind that, and has to be asked for",
    );
    site.assert_sound(&control);
}

#[test]
fn raw_volumes_have_no_snapshots() {
    let (site, control) = Site::new();
    let vol = create(&control, "vol", "secret-raw");
    says(
        control.create_snapshot(&Call::new(), &vol, &id("s")),
        "pool main keeps no snapshots of raw volumes",
    );
    site.assert_sound(&control);
}

#[test]
fn a_path_that_means_another_place_elsewhere_is_refused() {
    let (site, control) = Site::new();
    let vol = create(&control, "vol", "secret-raw");
    let call = Call::new();
    let relative = SourceImage::new(Path::new("images/b"), DiskFormat::Raw);
    let mut new = new_volume("v", "secret");
    new.content = NewContent::Image(TemplateImage::new("images/b", DiskFormat::Raw));
    for refused in [
        control.create_volume(&call, &new).map(drop),
        control.compare_content(&call, &vol, &relative).map(drop),
        control.replace_content(&call, &vol, &relative),
        control
            .back_up_header(&call, &vol, Path::new("vol.luks"))
            .map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(refused, ControlPlaneError::RelativePath { .. }),
            "{refused}"
        );
    }
    site.assert_sound(&control);
}

#[test]
fn what_somebody_else_put_into_the_pool_is_not_touched() {
    let (site, control) = Site::new();
    for (file, offering) in [
        ("vol.qcow2", "secret"),
        ("vol.luks", "secret-raw"),
        ("vol.raw", "plain-raw"),
    ] {
        let path = Path::new("/pools/main").join(file);
        site.host.inner.add_blank(&path, mib(1));
        let refused = control
            .create_volume(&Call::new(), &new_volume("vol", offering))
            .unwrap_err();
        assert!(
            matches!(refused, ControlPlaneError::Foreign { .. }),
            "{refused:?}"
        );
        assert!(refused.to_string().contains("vol"), "{refused}");
        assert!(site.host.inner.paths().contains(&path));
        let delete = strongroom_endpoint_selector::DeleteDisk::new(&path);
        strongroom_endpoint_selector::Endpoint::run(&*site.host, &Call::new(), &delete.into()).unwrap();
        site.assert_sound(&control);
    }
}

#[test]
fn what_appears_in_the_pool_at_the_last_moment_is_not_touched_either() {
    let (site, control) = Site::new();
    site.host.inner.fail_when(|command| match command {
        HostCommand::CreateDisk(_) => Some(EndpointError::new(
            ErrorKind::AlreadyExists,
            "CreateDisk",
            "it is there",
        )),
        HostCommand::DeleteDisk(c) => panic!("{} is removed", c.path.display()),
        _ => None,
    });
    let refused = control
        .create_volume(&Call::new(), &new_volume("vol", "secret"))
        .unwrap_err();
    assert_eq!(refused.kind(), Some(ErrorKind::AlreadyExists));
    site.assert_sound(&control);
}

#[test]
fn a_header_backup_never_replaces_a_file() {
    let (site, control) = Site::new();
    let vol = create(&control, "vol", "secret-raw");
    let path = Path::new("/backups/vol");
    site.host.inner.add_blank(path, mib(1));
    let refused = control.back_up_header(&Call::new(), &vol, path).unwrap_err();
    assert!(
        matches!(refused, ControlPlaneError::Taken { what: "file", .. }),
        "{refused}"
    );
    assert!(site.host.inner.paths().contains(&path.to_owned()));
    assert_eq!(control.header_backups(&vol).unwrap(), []);
    // One that this database knows is refused whatever the host says of it.
    let backup = || control.back_up_header(&Call::new(), &vol, Path::new("/backups/a"));
    backup().unwrap();
    let refused = backup().unwrap_err();
    assert!(
        matches!(refused, ControlPlaneError::Taken { what: "file", .. }),
        "{refused}"
    );
    assert_eq!(site.backups(), [Path::new("/backups/a")]);
    assert_eq!(control.header_backups(&vol).unwrap().len(), 1);
}

#[test]
fn a_file_that_appears_at_the_last_moment_is_not_removed() {
    let (site, control) = Site::new();
    let vol = create(&control, "vol", "secret-raw");
    site.host.inner.fail_when(|command| match command {
        HostCommand::BackUpHeader(_) => Some(EndpointError::new(
            ErrorKind::AlreadyExists,
            "BackUpHeader",
            "it is there",
        )),
        HostCommand::DeleteDisk(c) => panic!("{} is removed", c.path.display()),
        _ => None,
    });
    let refused = control
        .back_up_header(&Call::new(), &vol, Path::new("/backups/vol"))
        .unwrap_err();
    assert_eq!(refused.kind(), Some(ErrorKind::AlreadyExists));
    site.assert_sound(&control);
}

#[test]
fn a_qcow2_volume_has_no_header_to_back_up() {
    let (site, control) = Site::new();
    let vol = create(&control, "vol", "secret");
    let refused = control
        .back_up_header(&Call::new(), &vol, Path::new("/backups/vol"))
        .unwrap_err();
    assert_eq!(refused.kind(), Some(ErrorKind::Unsupported), "{refused}");
    site.assert_sound(&control);
}

#[test]
fn a_missing_or_damaged_key_is_an_error_and_never_plaintext() {
    let (site, control) = Site::new();
    let vol = create(&control, "vol", "secret");
    let call = Call::new();
    let image = SourceImage::new(Path::new("/images/b"), DiskFormat::Raw);
    for damage in [
        "UPDATE passphrases SET sealed = zeroblob(length(sealed))",
        "UPDATE passphrases SET kek = 'another'",
        "UPDATE passphrases SET volume = 'another'",
        "PRAGMA foreign_keys = OFF; DELETE FROM passphrases",
    ] {
        site.sql("CREATE TABLE aside AS SELECT * FROM passphrases");
        site.sql(damage);
        let before = site.host.inner.commands().len();
        for refused in [
            control.verify_volume(&call, &vol).map(drop),
            control.grow_volume(&call, &vol, mib(2)).map(drop),
            control.create_snapshot(&call, &vol, &id("s")).map(drop),
            control.compare_content(&call, &vol, &image).map(drop),
            control.replace_content(&call, &vol, &image),
            control.with_key(&vol, |_| ()),
        ] {
            let refused = refused.unwrap_err();
            assert!(
                matches!(refused, ControlPlaneError::Key { .. }),
                "{damage}: {refused}"
            );
        }
        assert_eq!(site.host.inner.commands().len(), before, "no host was asked");
        site.sql("PRAGMA foreign_keys = OFF; DELETE FROM passphrases; INSERT INTO passphrases SELECT * FROM aside; DROP TABLE aside");
    }
    site.assert_sound(&control);
}

#[test]
fn a_disk_that_is_not_what_its_record_says_is_a_mismatch() {
    let (site, control) = Site::new();
    let vol = create(&control, "vol", "secret-raw");
    for (change, back, problem) in [
        (
            "guest = 2097152",
            "guest = 1048576",
            "its guest sees 1048576 bytes, not 2097152",
        ),
        (
            "device = 1048576",
            "device = 3145728",
            "its device has 3145728 bytes, not 1048576",
        ),
        (
            "format = 'qcow2'",
            "format = 'raw'",
            "pool main attaches a disk of another kind",
        ),
    ] {
        site.sql(&format!("UPDATE volumes SET {change}"));
        says(
            control.verify_volume(&Call::new(), &vol),
            &format!("volume vol is not what its record says: {problem}"),
        );
        site.sql(&format!("UPDATE volumes SET {back}"));
    }
    site.assert_sound(&control);
}
