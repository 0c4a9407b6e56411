use std::os::unix::fs::{MetadataExt, PermissionsExt};

use strongroom_cryptsetup::{Content, CryptsetupError, Overwrite, Precaution, RestoreOnto, Target, Uuid};
use strongroom_types::EncryptionFormat;

use crate::place::{BOTH, Place, call, cheap, cryptsetup, fresh, key, on_file_and_loop, room, write};

#[test]
fn an_erased_volume_opens_no_more_until_a_backup_brings_it_back() {
    let tool = cryptsetup();
    for format in BOTH {
        on_file_and_loop(room(format), |path| {
            let (place, mine) = (Place::new(), key());
            let target = Target::new(format, path).unwrap();
            let how = fresh();
            let volume = tool
                .format(&call(), &target, &how, &mine, Overwrite::Nothing)
                .unwrap()
                .header
                .uuid;
            let backup = tool
                .back_up_header(&call(), &target, place.path("backup"))
                .unwrap();

            for _ in 0..2 {
                tool.erase(&call(), &target, volume).unwrap();
                let opened = tool.test_passphrase(&call(), &target, &mine);
                assert!(
                    matches!(opened, Err(CryptsetupError::NoKeyslot { .. })),
                    "{opened:?}"
                );
            }
            let added = tool.add_key(&call(), &target, &mine, &mine, cheap(), Precaution::Waived);
            assert!(
                matches!(added, Err(CryptsetupError::NoKeyslot { .. })),
                "{added:?}"
            );

            let header = tool
                .restore_header(&call(), &backup, &target, &mine, RestoreOnto::SameVolume)
                .unwrap();
            assert_eq!(header.uuid, volume);
            tool.test_passphrase(&call(), &target, &mine).unwrap();
            assert!(backup.is_current(&target).unwrap());
        });
    }
}

#[test]
fn an_erase_leaves_nothing_of_a_keyslot() {
    let sectors = |path: &std::path::Path| -> std::collections::BTreeSet<Vec<u8>> {
        // The metadata of either version is shorter than this.
        let behind_metadata = 32 << 10;
        let bytes = std::fs::read(path).unwrap();
        bytes[behind_metadata..].chunks(512).map(<[u8]>::to_vec).collect()
    };
    for format in BOTH {
        let (place, first, second) = (Place::new(), key(), key());
        let target = place.volume(format, &first);
        let tool = cryptsetup();
        let before = sectors(target.device());
        tool.add_key(&call(), &target, &first, &second, cheap(), Precaution::Waived)
            .unwrap();
        let keyslot: Vec<_> = sectors(target.device()).difference(&before).cloned().collect();
        assert!(
            keyslot.len() >= 500,
            "4000 stripes of 64 bytes: {}",
            keyslot.len()
        );
        let volume = tool.uuid(&call(), &target).unwrap();
        tool.erase(&call(), &target, volume).unwrap();
        let after = sectors(target.device());
        let left = keyslot.iter().filter(|sector| after.contains(*sector)).count();
        assert_eq!(left, 0, "{format}");
    }
}

#[test]
fn an_erase_names_its_volume() {
    for format in BOTH {
        let (place, mine) = (Place::new(), key());
        let target = place.volume(format, &mine);
        let other = Uuid::new_v4();
        let refused = cryptsetup().erase(&call(), &target, other);
        assert!(matches!(refused, Err(CryptsetupError::WrongVolume { expected, .. }) if expected == other));
        cryptsetup().test_passphrase(&call(), &target, &mine).unwrap();
    }
    let place = Place::new();
    let refused = cryptsetup().erase(&call(), &place.blank(EncryptionFormat::Luks1), Uuid::nil());
    assert!(matches!(refused, Err(CryptsetupError::NotLuks { .. })));
}

/// cryptsetup 2.6.1 itself erases a LUKS1 volume when told `--type luks2`.
#[test]
fn a_volume_of_the_other_version_is_neither_erased_nor_backed_up() {
    let (place, mine) = (Place::new(), key());
    let made = place.volume(EncryptionFormat::Luks1, &mine);
    let uuid = cryptsetup().uuid(&call(), &made).unwrap();
    let mistaken = Target::new(EncryptionFormat::Luks2, made.device()).unwrap();
    let is_other = |e: CryptsetupError| {
        matches!(
            e,
            CryptsetupError::WrongFormat {
                expected: EncryptionFormat::Luks2,
                found: EncryptionFormat::Luks1,
                ..
            }
        )
    };
    assert!(is_other(
        cryptsetup().erase(&call(), &mistaken, uuid).unwrap_err()
    ));
    assert!(is_other(
        cryptsetup()
            .back_up_header(&call(), &mistaken, place.path("b"))
            .unwrap_err()
    ));
    assert!(is_other(
        cryptsetup()
            .test_passphrase(&call(), &mistaken, &mine)
            .unwrap_err()
    ));
    assert!(is_other(cryptsetup().uuid(&call(), &mistaken).unwrap_err()));
    assert!(!cryptsetup().is_luks(&call(), &mistaken).unwrap());
    cryptsetup().test_passphrase(&call(), &made, &mine).unwrap();
}

#[test]
fn a_backup_is_private_and_never_replaces_a_file() {
    for format in BOTH {
        let (place, mine) = (Place::new(), key());
        let target = place.volume(format, &mine);
        let tool = cryptsetup();
        let backup = tool
            .back_up_header(&call(), &target, place.path("backup"))
            .unwrap();
        assert_eq!(
            std::fs::metadata(backup.path()).unwrap().permissions().mode() & 0o7777,
            0o400
        );
        assert_eq!(backup.uuid(), tool.uuid(&call(), &target).unwrap());
        let before = std::fs::read(backup.path()).unwrap();
        let again = tool.back_up_header(&call(), &target, backup.path());
        assert!(matches!(again, Err(CryptsetupError::Exists { path }) if path == backup.path()));
        assert!(std::fs::read(backup.path()).unwrap() == before);
        std::os::unix::fs::symlink("nowhere", place.path("link")).unwrap();
        let link = tool.back_up_header(&call(), &target, place.path("link"));
        assert!(matches!(link, Err(CryptsetupError::Exists { .. })), "{link:?}");
        assert!(!place.path("nowhere").exists());
        let nowhere = tool.back_up_header(&call(), &target, place.path("no such directory/backup"));
        assert!(
            matches!(nowhere, Err(CryptsetupError::BadParameters { .. })),
            "{nowhere:?}"
        );

        let known = tool.header_backup(&call(), format, backup.path()).unwrap();
        assert_eq!(known, backup);
    }
}

#[test]
fn only_a_key_of_the_backup_lets_it_be_restored() {
    let (place, old, new) = (Place::new(), key(), key());
    let target = place.volume(EncryptionFormat::Luks1, &old);
    let tool = cryptsetup();
    let backup = tool
        .back_up_header(&call(), &target, place.path("backup"))
        .unwrap();
    tool.change_key(&call(), &target, &old, &new, cheap(), Precaution::Backup(&backup))
        .unwrap();
    let refused = tool.restore_header(&call(), &backup, &target, &new, RestoreOnto::SameVolume);
    assert!(matches!(refused, Err(CryptsetupError::WrongPassphrase { path }) if path == backup.path()));
    tool.test_passphrase(&call(), &target, &new).unwrap();
    tool.restore_header(&call(), &backup, &target, &old, RestoreOnto::SameVolume)
        .unwrap();
    tool.test_passphrase(&call(), &target, &old).unwrap();
}

#[test]
fn a_lost_header_is_restored_when_that_is_said() {
    for format in BOTH {
        let (place, mine) = (Place::new(), key());
        let target = place.volume(format, &mine);
        let tool = cryptsetup();
        let backup = tool
            .back_up_header(&call(), &target, place.path("backup"))
            .unwrap();
        let header = fresh().header_size(format).get() as usize;
        for damage in [vec![0; header], vec![0xa5; header]] {
            write(target.device(), 0, &damage);
            let lost = tool.restore_header(&call(), &backup, &target, &mine, RestoreOnto::SameVolume);
            assert!(matches!(lost, Err(CryptsetupError::NotLuks { .. })), "{lost:?}");
            tool.restore_header(&call(), &backup, &target, &mine, RestoreOnto::LostHeader)
                .unwrap();
            tool.test_passphrase(&call(), &target, &mine).unwrap();
        }
        // Of LUKS2, both copies.
        for copy in [0, 16 << 10]
            .into_iter()
            .take(if format == EncryptionFormat::Luks1 { 1 } else { 2 })
        {
            write(target.device(), copy + 168, &[0xff; 40]);
        }
        let garbled = tool.restore_header(&call(), &backup, &target, &mine, RestoreOnto::SameVolume);
        assert!(
            matches!(garbled, Err(CryptsetupError::NotLuks { .. })),
            "{garbled:?}"
        );
        tool.restore_header(&call(), &backup, &target, &mine, RestoreOnto::LostHeader)
            .unwrap();
    }
}

/// cryptsetup 2.6.1 itself restores over a file system, over another volume, and makes a short file longer.
#[test]
fn a_backup_goes_onto_nothing_but_its_own_volume() {
    for format in BOTH {
        let (place, mine) = (Place::new(), key());
        let tool = cryptsetup();
        let target = place.volume(format, &mine);
        let backup = tool
            .back_up_header(&call(), &target, place.path("backup"))
            .unwrap();
        let restore = |onto: &Target| {
            let before = std::fs::read(onto.device()).unwrap();
            let ways = [RestoreOnto::SameVolume, RestoreOnto::LostHeader];
            let refused = ways.map(|way| {
                tool.restore_header(&call(), &backup, onto, &mine, way)
                    .unwrap_err()
            });
            assert!(std::fs::read(onto.device()).unwrap() == before);
            refused
        };
        let other = Target::new(format, place.file("other", room(format))).unwrap();
        tool.format(&call(), &other, &fresh(), &mine, Overwrite::Nothing)
            .unwrap();
        let both = restore(&other);
        assert!(
            both.iter()
                .all(|e| matches!(e, CryptsetupError::WrongVolume { .. })),
            "{both:?}"
        );

        let lvm = Target::new(format, place.file("lvm", room(format))).unwrap();
        write(lvm.device(), 512, b"LABELONE");
        let both = restore(&lvm);
        assert!(
            both.iter().all(|e| matches!(
                e,
                CryptsetupError::NotBlank {
                    found: Content::Lvm2,
                    offset: 512,
                    ..
                }
            )),
            "{both:?}"
        );

        let short = Target::new(format, place.file("short", fresh().header_size(format).get())).unwrap();
        let both = restore(&short);
        assert!(
            both.iter().all(|e| matches!(e, CryptsetupError::TooSmall { .. })),
            "{both:?}"
        );
        assert_eq!(std::fs::metadata(short.device()).unwrap().blocks(), 0);
    }
}

#[test]
fn a_backup_of_before_a_new_format_is_not_restored_over_it() {
    for format in BOTH {
        let (place, mine) = (Place::new(), key());
        let tool = cryptsetup();
        let (target, how) = (place.blank(format), fresh());
        tool.format(&call(), &target, &how, &mine, Overwrite::Nothing)
            .unwrap();
        let old = tool.back_up_header(&call(), &target, place.path("old")).unwrap();
        tool.format(&call(), &target, &how, &mine, Overwrite::OurUnfinished)
            .unwrap();
        let present = tool.back_up_header(&call(), &target, place.path("new")).unwrap();
        let volume = tool.uuid(&call(), &target).unwrap();
        assert_eq!(volume, old.uuid());
        for erased in [false, true] {
            for onto in [RestoreOnto::SameVolume, RestoreOnto::LostHeader] {
                let refused = tool.restore_header(&call(), &old, &target, &mine, onto);
                assert!(
                    matches!(&refused, Err(CryptsetupError::OtherVolumeKey { backup, .. }) if backup == old.path()),
                    "{format}, erased: {erased}: {refused:?}"
                );
            }
            tool.erase(&call(), &target, volume).unwrap();
        }
        tool.restore_header(&call(), &present, &target, &mine, RestoreOnto::SameVolume)
            .unwrap();
    }
}

#[test]
fn a_volume_is_no_backup_of_itself() {
    for format in BOTH {
        let (place, first, second) = (Place::new(), key(), key());
        let target = place.volume(format, &first);
        let alias = place.path("alias");
        std::fs::hard_link(target.device(), &alias).unwrap();
        for path in [target.device(), &alias] {
            let pretended = cryptsetup().header_backup(&call(), format, path).unwrap();
            let safe = Precaution::Backup(&pretended);
            let refused = cryptsetup().add_key(&call(), &target, &first, &second, cheap(), safe);
            assert!(
                matches!(&refused, Err(CryptsetupError::BackupIsVolume { path: named }) if named == path),
                "{refused:?}"
            );
        }
    }
}

#[test]
fn a_damaged_backup_is_none() {
    for format in BOTH {
        let (place, mine) = (Place::new(), key());
        let tool = cryptsetup();
        let target = place.volume(format, &mine);
        let backup = tool
            .back_up_header(&call(), &target, place.path("backup"))
            .unwrap();
        std::fs::set_permissions(backup.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
        let file = std::fs::File::options().write(true).open(backup.path()).unwrap();
        for length in [1 << 20, 4096, 100] {
            file.set_len(length).unwrap();
            let cut = tool.header_backup(&call(), format, backup.path());
            assert!(matches!(cut, Err(CryptsetupError::Header { .. })), "{cut:?}");
        }
        let refused = tool.restore_header(&call(), &backup, &target, &mine, RestoreOnto::SameVolume);
        assert!(
            matches!(refused, Err(CryptsetupError::Header { .. })),
            "{refused:?}"
        );
        tool.test_passphrase(&call(), &target, &mine).unwrap();
    }
}
