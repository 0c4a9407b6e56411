use std::os::unix::fs::PermissionsExt;

use strongroom_cryptsetup::{
    Content, CryptsetupError, Inspection, Look, Overwrite, Precaution, RestoreOnto, Target, inspect,
};
use strongroom_types::{EncryptionFormat, PayloadOffset};

use crate::place::{BOTH, Loop, Place, call, cheap, cryptsetup, fresh, is_root, key, write};

fn detached(place: &Place, format: EncryptionFormat) -> Target {
    let payload = place.file(format!("payload-{format}"), 4 << 20);
    Target::new(format, payload)
        .unwrap()
        .with_header(place.path(format!("header-{format}")))
        .unwrap()
}

#[test]
fn a_detached_header_leaves_the_payload_blank_and_whole() {
    for format in BOTH {
        let (place, mine) = (Place::new(), key());
        let target = detached(&place, format);
        let tool = cryptsetup();
        let made = tool
            .format(&call(), &target, &fresh(), &mine, Overwrite::Nothing)
            .unwrap();
        assert_eq!(made.header.payload_offset, PayloadOffset::NONE);
        assert_eq!(made.geometry.guest().get(), 4 << 20);
        assert_eq!(
            inspect(&call(), target.device(), Look::Whole).unwrap(),
            Inspection::Blank
        );
        assert_eq!(
            std::fs::metadata(target.header_device())
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
        tool.test_passphrase(&call(), &target, &mine).unwrap();
        assert!(tool.is_luks(&call(), &target).unwrap());
        assert!(
            !tool
                .is_luks(&call(), &Target::new(format, target.device()).unwrap())
                .unwrap()
        );
    }
}

#[test]
fn every_operation_works_on_a_detached_header() {
    for format in BOTH {
        let (place, first, second) = (Place::new(), key(), key());
        let target = detached(&place, format);
        let tool = cryptsetup();
        let uuid = tool
            .format(&call(), &target, &fresh(), &first, Overwrite::Nothing)
            .unwrap()
            .header
            .uuid;
        let backup = tool
            .back_up_header(&call(), &target, place.path("backup"))
            .unwrap();
        let safe = Precaution::Backup(&backup);
        tool.add_key(&call(), &target, &first, &second, cheap(), safe)
            .unwrap();
        tool.remove_key(&call(), &target, &first, &second, Precaution::Waived)
            .unwrap();
        tool.erase(&call(), &target, uuid).unwrap();
        tool.restore_header(&call(), &backup, &target, &first, RestoreOnto::SameVolume)
            .unwrap();
        tool.change_key(&call(), &target, &first, &second, cheap(), safe)
            .unwrap();
        tool.test_passphrase(&call(), &target, &second).unwrap();
        assert_eq!(
            inspect(&call(), target.device(), Look::Whole).unwrap(),
            Inspection::Blank
        );
    }
}

#[test]
fn a_payload_or_header_that_holds_something_is_refused() {
    for format in BOTH {
        let place = Place::new();
        let tool = cryptsetup();
        let target = detached(&place, format);
        write(target.device(), (4 << 20) - 1, b"!");
        let refused = tool.format(&call(), &target, &fresh(), &key(), Overwrite::OurUnfinished);
        assert!(matches!(&refused, Err(CryptsetupError::NotBlank { path, .. }) if path == target.device()));
        assert!(!target.header_device().exists());

        write(target.device(), (4 << 20) - 1, b"\0");
        std::fs::write(target.header_device(), b"QFI\xfb").unwrap();
        let small = tool.format(&call(), &target, &fresh(), &key(), Overwrite::Nothing);
        assert!(
            matches!(small, Err(CryptsetupError::TooSmall { .. })),
            "{small:?}"
        );
        let file = std::fs::File::options()
            .write(true)
            .open(target.header_device())
            .unwrap();
        file.set_len(16 << 20).unwrap();
        let image = tool.format(&call(), &target, &fresh(), &key(), Overwrite::OurUnfinished);
        assert!(
            matches!(
                image,
                Err(CryptsetupError::NotBlank {
                    found: Content::Qcow2,
                    ..
                })
            ),
            "{image:?}"
        );
    }
}

#[test]
fn an_unfinished_detached_header_is_begun_anew() {
    for format in BOTH {
        let (place, mine) = (Place::new(), key());
        let target = detached(&place, format);
        let (tool, how) = (cryptsetup(), fresh());
        tool.format(&call(), &target, &how, &mine, Overwrite::Nothing)
            .unwrap();
        let again = tool.format(&call(), &target, &how, &mine, Overwrite::Nothing);
        assert!(
            matches!(again, Err(CryptsetupError::NotBlank { .. })),
            "{again:?}"
        );
        tool.format(&call(), &target, &how, &mine, Overwrite::OurUnfinished)
            .unwrap();
    }
}

#[test]
fn a_format_that_fails_takes_its_header_file_with_it() {
    let place = Place::new();
    let payload = place.file("payload", 4 << 20);
    let target = Target::new(EncryptionFormat::Luks1, payload).unwrap();
    let nowhere = target
        .clone()
        .with_header(place.path("no such directory/header"))
        .unwrap();
    let refused = cryptsetup().format(&call(), &nowhere, &fresh(), &key(), Overwrite::Nothing);
    assert!(
        matches!(refused, Err(CryptsetupError::Io { action: "create", .. })),
        "{refused:?}"
    );

    let target = target.with_header(place.path("header")).unwrap();
    let late = call().with_timeout(std::time::Duration::from_millis(5));
    match cryptsetup().format(&late, &target, &fresh(), &key(), Overwrite::Nothing) {
        Err(CryptsetupError::Run { .. } | CryptsetupError::Interrupted { .. }) => {
            assert!(!target.header_device().exists());
        }
        other => panic!("a format takes longer than 5 ms: {other:?}"),
    }
}

#[test]
fn a_header_may_lie_on_a_device_of_its_own() {
    if !is_root() {
        assert_ne!(rustix::process::geteuid().as_raw(), 0);
        println!("not run: only root can attach a loop device");
        return;
    }
    let (place, mine) = (Place::new(), key());
    let payload = Loop::on(&place.file("payload", 4 << 20));
    let header = Loop::on(&place.file("header", 2 << 20));
    let target = Target::new(EncryptionFormat::Luks1, payload.path())
        .unwrap()
        .with_header(header.path())
        .unwrap();
    let made = cryptsetup()
        .format(&call(), &target, &fresh(), &mine, Overwrite::Nothing)
        .unwrap();
    assert_eq!(made.geometry.guest().get(), 4 << 20);
    cryptsetup().test_passphrase(&call(), &target, &mine).unwrap();
}
