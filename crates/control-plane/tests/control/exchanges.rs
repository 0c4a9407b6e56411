//! A volume with another disk: reinstalled, or moved.

use std::path::Path;
use std::sync::Arc;

use strongroom_control_plane::{
    ControlPlane, ControlPlaneError, MoveVolume, NewContent, Reinstall, Sameness, SourceImage, VolumeState,
};
use strongroom_endpoint_selector::{
    DiskContent, Endpoint, EndpointError, ErrorKind, HostAnswer, HostCommand, RegisteredEndpoints,
};
use strongroom_types::{Call, DiskFormat, HostFacts};

use crate::fragile::FragileHost;
use crate::site::{Site, create, id, new_volume};

fn site(offering: &str) -> (Site, Arc<ControlPlane>) {
    let (site, control) = Site::with_template();
    let mut new = new_volume("vol", offering);
    new.content = NewContent::Template(id("t"));
    control.create_volume(&Call::new(), &new).unwrap();
    (site, control)
}

fn reinstall(control: &ControlPlane) -> Result<strongroom_control_plane::Exchanged, ControlPlaneError> {
    let mut new = Reinstall::new(id("vol"), NewContent::Template(id("t")));
    new.check_digest = true;
    control.reinstall_volume(&Call::new(), &new)
}

fn holds_template(control: &ControlPlane) -> bool {
    let image = SourceImage::new(Path::new("/images/t"), DiskFormat::Raw);
    control.compare_content(&Call::new(), &id("vol"), &image).unwrap() == Sameness::Identical
}

#[test]
fn a_reinstalled_volume_keeps_id_and_size_and_has_another_key_and_the_templates_content() {
    for offering in ["secret", "secret-raw", "plain"] {
        let (site, control) = site(offering);
        let other = SourceImage::new(Path::new("/content/other"), DiskFormat::Raw);
        control.replace_content(&Call::new(), &id("vol"), &other).unwrap();
        assert!(!holds_template(&control));
        let before = control.volume(&id("vol")).unwrap();
        let exchanged = reinstall(&control).unwrap();
        let after = exchanged.volume;
        assert_eq!(
            (&after.id, after.guest, &after.pool),
            (&before.id, before.guest, &before.pool)
        );
        assert!(holds_template(&control));
        assert_eq!(exchanged.former.left, Vec::<String>::new());
        if before.encryption.is_some() {
            assert_ne!(after.passphrase, before.passphrase);
            let key = format!("sealed key {} destroyed", before.passphrase.unwrap());
            assert_eq!(exchanged.former.destroyed[0], "keyslots overwritten");
            assert!(
                exchanged.former.destroyed.contains(&key),
                "{:?}",
                exchanged.former
            );
        }
        site.assert_sound(&control);
    }
}

#[test]
fn the_old_key_opens_until_the_new_disk_is_proved() {
    let (site, control) = site("secret");
    let before = control.volume(&id("vol")).unwrap();
    let mut verified = 0;
    site.host.inner.fail_when(move |command| {
        // The first proof is that of the new disk.
        let proof = matches!(command, HostCommand::VerifyDisk(_));
        verified += u32::from(proof);
        (proof && verified == 1)
            .then(|| EndpointError::new(ErrorKind::WrongKey, "VerifyDisk", "no key opens it"))
    });
    let refused = reinstall(&control).unwrap_err();
    assert_eq!(refused.kind(), Some(ErrorKind::WrongKey), "{refused}");
    assert_eq!(control.volume(&id("vol")).unwrap(), before);
    assert!(holds_template(&control));
    site.assert_sound(&control);
}

#[test]
fn snapshots_are_lost_only_when_that_is_said() {
    let (site, control) = site("secret");
    control
        .create_snapshot(&Call::new(), &id("vol"), &id("s"))
        .unwrap();
    let refused = reinstall(&control).unwrap_err().to_string();
    assert_eq!(
        refused,
        "volume vol has 1 snapshots, which cannot be kept when it is to be reinstalled; delete them first, or say that they may be lost"
    );
    let mut new = MoveVolume::new(id("vol"), id("other"));
    let refused = control.move_volume(&Call::new(), &new).unwrap_err();
    assert!(
        matches!(refused, ControlPlaneError::SnapshotsInTheWay { count: 1, .. }),
        "{refused}"
    );
    new.lose_snapshots = true;
    control.move_volume(&Call::new(), &new).unwrap();
    assert_eq!(control.snapshots(&id("vol")).unwrap(), []);
    site.assert_sound(&control);
}

#[test]
fn a_moved_volume_lies_elsewhere_with_its_content_and_another_key() {
    for (offering, format) in [
        ("secret", None),
        ("secret", Some(DiskFormat::Raw)),
        ("secret-raw", Some(DiskFormat::Qcow2)),
        ("plain", None),
    ] {
        let (site, control) = site(offering);
        let before = control.volume(&id("vol")).unwrap();
        let mut new = MoveVolume::new(id("vol"), id("other"));
        new.format = format;
        let moved = control.move_volume(&Call::new(), &new).unwrap();
        assert_eq!(moved.volume.pool.as_str(), "other");
        assert_eq!(moved.volume.disk, id("vol"), "its name is free there");
        assert_eq!(moved.volume.format, format.unwrap_or(before.format));
        assert_eq!(moved.former.left, Vec::<String>::new());
        assert_eq!(
            before.passphrase == moved.volume.passphrase,
            before.encryption.is_none()
        );
        assert!(holds_template(&control));
        site.assert_sound(&control);
        let refused = control.move_volume(&Call::new(), &MoveVolume::new(id("vol"), id("other")));
        assert!(matches!(refused.unwrap_err(), ControlPlaneError::InPlace { .. }));
    }
}

#[test]
fn a_volume_is_moved_to_another_format_in_its_own_pool() {
    let (site, control) = site("secret");
    let mut new = MoveVolume::new(id("vol"), id("main"));
    new.format = Some(DiskFormat::Raw);
    let moved = control.move_volume(&Call::new(), &new).unwrap();
    assert_eq!(moved.volume.format, DiskFormat::Raw);
    assert_ne!(moved.volume.disk, id("vol"), "the name was not free yet");
    assert!(holds_template(&control));
    // Header backups belong to the disk that they were taken of.
    control
        .back_up_header(&Call::new(), &id("vol"), Path::new("/backups/vol"))
        .unwrap();
    control
        .move_volume(&Call::new(), &MoveVolume::new(id("vol"), id("other")))
        .unwrap();
    assert_eq!(site.backups(), Vec::<std::path::PathBuf>::new());
    site.assert_sound(&control);
}

/// A host that makes every copy from another image than it was told.
#[derive(Debug)]
struct Mistaken(Arc<FragileHost>);

impl Endpoint for Mistaken {
    fn host(&self) -> HostFacts {
        self.0.host()
    }
    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        match command {
            HostCommand::CreateDisk(c) if matches!(c.content, DiskContent::Copy(_)) => {
                let mut other = *c;
                let image = SourceImage::new(Path::new("/content/other"), DiskFormat::Raw);
                other.content = DiskContent::Template(image);
                self.0.run(call, &other.into())
            }
            _ => self.0.run(call, command),
        }
    }
}

#[test]
fn a_copy_that_reads_otherwise_is_not_moved_to() {
    let (site, control) = site("secret");
    let before = control.volume(&id("vol")).unwrap();
    drop(control);
    let mut endpoints = RegisteredEndpoints::new();
    endpoints.register(Arc::new(Mistaken(site.host.clone())));
    let control = site.start_with(Arc::new(endpoints));
    let refused = control
        .move_volume(&Call::new(), &MoveVolume::new(id("vol"), id("other")))
        .unwrap_err();
    assert!(matches!(refused, ControlPlaneError::Changed { .. }), "{refused}");
    assert_eq!(
        refused.to_string(),
        "what volume vol would hold is not what volume vol is known to hold: it changed, or was damaged on the way"
    );
    assert_eq!(control.volume(&id("vol")).unwrap(), before);
    site.assert_sound(&control);
}

#[test]
fn a_former_disk_that_cannot_be_destroyed_now_does_not_hold_the_volume_up() {
    let (site, control) = site("secret");
    site.host.inner.fail_when(|command| {
        let error = EndpointError::new(ErrorKind::Io, command.name(), "the disk is stuck");
        matches!(command, HostCommand::EraseKeyslots(_)).then_some(error)
    });
    let moved = control
        .move_volume(&Call::new(), &MoveVolume::new(id("vol"), id("other")))
        .unwrap();
    assert_eq!(moved.volume.state, VolumeState::Ready);
    let left = &moved.former.left[0];
    assert!(
        left.contains("the disk is stuck") && left.contains("next start"),
        "{left}"
    );
    let volumes = control.volumes().unwrap();
    let former = volumes.iter().find(|v| v.disk_of.is_some()).unwrap();
    assert_eq!(
        (former.disk_of.clone(), former.pool.as_str()),
        (Some(id("vol")), "main")
    );
    assert!(holds_template(&control), "the volume is in order all the same");
    // A volume of the name may be made again, beside the disk that has it.
    control.delete_volume(&Call::new(), &former.id).unwrap_err();
    site.host.inner.fail_when(|_| None);
    let (control, recovered) = site.recover();
    let line = recovered[0].to_string();
    let sentence = format!(
        "volume {}, which stands for another disk of volume vol: an earlier process began to delete it; this is finished now",
        former.id
    );
    assert_eq!(line, sentence);
    assert_eq!(site.assert_sound(&control).len(), 1);
}

#[test]
fn a_name_that_a_former_disk_still_has_is_not_in_the_way_of_a_new_volume() {
    let (site, control) = site("secret");
    site.host.inner.fail_when(|command| {
        let error = EndpointError::new(ErrorKind::Io, command.name(), "the disk is stuck");
        matches!(command, HostCommand::EraseKeyslots(_)).then_some(error)
    });
    reinstall(&control).unwrap();
    site.host.inner.fail_when(|_| None);
    control.delete_volume(&Call::new(), &id("vol")).unwrap();
    create(&control, "vol", "secret");
    assert_ne!(control.volume(&id("vol")).unwrap().disk, id("vol"));
    let (control, _) = site.recover();
    assert_eq!(site.assert_sound(&control).len(), 1);
}
