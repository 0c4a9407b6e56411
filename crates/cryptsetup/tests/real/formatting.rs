use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use strongroom_cryptsetup::{Cipher, CryptsetupError, Kdf, Luks2Area, Overwrite, Pbkdf, SectorSize, Target};
use strongroom_types::{ByteSize, EncryptionFormat, PayloadOffset};

use crate::place::{BOTH, Place, call, cheap, cryptsetup, fresh, key, on_file_and_loop, room};

#[test]
fn a_blank_device_becomes_a_volume_that_only_its_key_opens() {
    let tool = cryptsetup();
    for format in BOTH {
        on_file_and_loop(room(format), |path| {
            let (mine, other) = (key(), key());
            let target = Target::new(format, path).unwrap();
            let how = fresh();
            let made = tool
                .format(&call(), &target, &how, &mine, Overwrite::Nothing)
                .unwrap();
            assert_eq!(made.geometry.guest().get(), 4 << 20);
            assert_eq!(made.geometry.device().get(), room(format));
            assert_eq!(made.header.format, format);
            assert_eq!(made.header.payload_offset.get(), how.header_size(format).get());
            assert_eq!(
                (made.header.cipher.as_str(), made.header.key_bits),
                ("aes-xts-plain64", Some(512))
            );
            assert_eq!(made.header.sector_size, 512);
            assert_eq!(tool.uuid(&call(), &target).unwrap(), made.header.uuid);
            assert!(tool.is_luks(&call(), &target).unwrap());
            tool.test_passphrase(&call(), &target, &mine).unwrap();
            let wrong = tool.test_passphrase(&call(), &target, &other);
            assert!(
                matches!(wrong, Err(CryptsetupError::WrongPassphrase { path }) if path == target.device())
            );
        });
    }
}

#[test]
fn a_generated_key_costs_the_least_in_both_versions() {
    for format in BOTH {
        let (place, mine) = (Place::new(), key());
        let target = place.volume(format, &mine);
        let header = cryptsetup().header(&call(), &target).unwrap();
        let kdf = Kdf::Pbkdf2 {
            hash: "sha256".into(),
            iterations: 1000,
        };
        assert_eq!(
            header
                .keyslots
                .iter()
                .map(|(n, s)| (*n, s.kdf.clone()))
                .collect::<Vec<_>>(),
            [(0, kdf)]
        );
    }
}

#[test]
fn every_option_is_found_again_in_the_header() {
    let (place, mine) = (Place::new(), key());
    let target = place.blank(EncryptionFormat::Luks2);
    let how = strongroom_cryptsetup::Format::new(
        strongroom_cryptsetup::Uuid::new_v4(),
        Pbkdf::argon2id(ByteSize::mib(1), 4, 1).unwrap(),
    )
    .cipher(Cipher::Aes128Xts)
    .label("--type luks1, ü".parse().unwrap())
    .sector_size(SectorSize::B4096)
    .area(Luks2Area::SMALLEST);
    let header = cryptsetup()
        .format(&call(), &target, &how, &mine, Overwrite::Nothing)
        .unwrap()
        .header;
    assert_eq!((header.key_bits, header.sector_size), (Some(256), 4096));
    assert_eq!(header.label.as_deref(), Some("--type luks1, ü"));
    assert_eq!(header.payload_offset.get(), 1 << 20);
    let argon = Kdf::Argon2 {
        variant: "argon2id".into(),
        iterations: 4,
        kibibytes: 1024,
        threads: 1,
    };
    assert_eq!(header.keyslots.get(&0).map(|slot| &slot.kdf), Some(&argon));

    let target = place.blank(EncryptionFormat::Luks1);
    let how = fresh().cipher(Cipher::Aes128Xts);
    let header = cryptsetup()
        .format(&call(), &target, &how, &mine, Overwrite::Nothing)
        .unwrap()
        .header;
    assert_eq!(
        (header.key_bits, header.payload_offset),
        (Some(256), PayloadOffset::LUKS1_CRYPTSETUP)
    );
}

#[test]
fn a_measured_cost_stays_within_its_memory() {
    let (place, mine) = (Place::new(), key());
    let target = place.blank(EncryptionFormat::Luks2);
    let cost = Pbkdf::measured_within(ByteSize::mib(32)).unwrap();
    let how = strongroom_cryptsetup::Format::new(strongroom_cryptsetup::Uuid::new_v4(), cost);
    let header = cryptsetup()
        .format(&call(), &target, &how, &mine, Overwrite::Nothing)
        .unwrap()
        .header;
    let Some(Kdf::Argon2 { kibibytes, .. }) = header.keyslots.get(&0).map(|slot| &slot.kdf) else {
        panic!(
            "cryptsetup's own choice for LUKS2 is Argon2, found {:?}",
            header.keyslots
        );
    };
    assert!(*kibibytes <= 32 << 10, "{kibibytes} KiB");
}

#[test]
fn no_name_of_a_file_is_taken_for_anything_else() {
    let place = Place::new();
    for name in [
        &b"--"[..],
        b"-q",
        b"--help",
        b"a,b c=d",
        b"luks:x",
        b"new\nline",
        b"\xff\xfe",
    ] {
        let mine = key();
        let path = place.file(OsStr::from_bytes(name), room(EncryptionFormat::Luks1));
        let target = Target::new(EncryptionFormat::Luks1, &path).unwrap();
        let tool = cryptsetup();
        tool.format(&call(), &target, &fresh(), &mine, Overwrite::Nothing)
            .unwrap();
        let backup = tool
            .back_up_header(&call(), &target, place.path([name, b".bak"].concat().into_os()))
            .unwrap();
        assert_eq!(backup.uuid(), tool.uuid(&call(), &target).unwrap());
        tool.test_passphrase(&call(), &target, &mine).unwrap();
    }
}

trait IntoOs {
    fn into_os(self) -> std::ffi::OsString;
}

impl IntoOs for Vec<u8> {
    fn into_os(self) -> std::ffi::OsString {
        std::os::unix::ffi::OsStringExt::from_vec(self)
    }
}

#[test]
fn a_device_without_room_for_a_sector_is_refused_untouched() {
    let tool = cryptsetup();
    for format in BOTH {
        let header = fresh().header_size(format).get();
        for bytes in [512, 4096, header - 512, header] {
            on_file_and_loop(bytes, |path| {
                let target = Target::new(format, path).unwrap();
                let refused = tool.format(&call(), &target, &fresh(), &key(), Overwrite::Nothing);
                assert!(
                    matches!(refused, Err(CryptsetupError::TooSmall { .. })),
                    "{bytes}: {refused:?}"
                );
                assert_eq!(
                    strongroom_cryptsetup::inspect(&call(), path, strongroom_cryptsetup::Look::Whole)
                        .unwrap(),
                    strongroom_cryptsetup::Inspection::Blank
                );
                let seen = std::fs::metadata(path).unwrap();
                assert!(!seen.is_file() || seen.len() == bytes);
            });
        }
        on_file_and_loop(header + 512, |path| {
            let target = Target::new(format, path).unwrap();
            let made = tool
                .format(&call(), &target, &fresh(), &key(), Overwrite::Nothing)
                .unwrap();
            assert_eq!(made.geometry.guest().get(), 512);
        });
    }
}

#[test]
fn sizes_that_are_none_are_refused_untouched() {
    let place = Place::new();
    for bytes in [0, 1, 511, (20 << 20) + 1] {
        let path = place.file(bytes.to_string(), bytes);
        let target = Target::new(EncryptionFormat::Luks1, &path).unwrap();
        let refused = cryptsetup().format(&call(), &target, &fresh(), &key(), Overwrite::Nothing);
        assert!(
            matches!(refused, Err(CryptsetupError::Size { .. })),
            "{bytes}: {refused:?}"
        );
        let seen = std::fs::metadata(&path).unwrap();
        assert_eq!((seen.len(), seen.blocks()), (bytes, 0));
    }
    let path = place.file("odd", (20 << 20) + 512);
    let target = Target::new(EncryptionFormat::Luks2, &path).unwrap();
    let how = fresh().sector_size(SectorSize::B4096);
    let refused = cryptsetup().format(&call(), &target, &how, &key(), Overwrite::Nothing);
    assert!(
        matches!(refused, Err(CryptsetupError::SectorSize { sector: 4096, .. })),
        "{refused:?}"
    );
    assert_eq!(std::fs::metadata(&path).unwrap().blocks(), 0);
}

#[test]
fn what_luks1_lacks_is_refused_and_not_left_out_in_silence() {
    let place = Place::new();
    let target = place.blank(EncryptionFormat::Luks1);
    let area = Luks2Area::SMALLEST;
    for (how, missing) in [
        (fresh().label("x".parse().unwrap()), "label"),
        (fresh().sector_size(SectorSize::B4096), "sector size"),
        (fresh().area(area), "size of its header"),
    ] {
        let refused = cryptsetup().format(&call(), &target, &how, &key(), Overwrite::Nothing);
        assert!(matches!(refused, Err(CryptsetupError::Luks2Only { option, .. }) if option == missing));
    }
    let argon = Pbkdf::argon2id(ByteSize::mib(1), 4, 1).unwrap();
    let how = strongroom_cryptsetup::Format::new(strongroom_cryptsetup::Uuid::new_v4(), argon);
    let refused = cryptsetup().format(&call(), &target, &how, &key(), Overwrite::Nothing);
    assert!(matches!(refused, Err(CryptsetupError::Pbkdf(_))));
    assert!(!cryptsetup().is_luks(&call(), &target).unwrap());
    let mine = key();
    cryptsetup()
        .format(&call(), &target, &fresh(), &mine, Overwrite::Nothing)
        .unwrap();
    let added = cryptsetup().add_key(
        &call(),
        &target,
        &mine,
        &key(),
        argon,
        strongroom_cryptsetup::Precaution::Waived,
    );
    assert!(matches!(added, Err(CryptsetupError::Pbkdf(_))));
    let header = cryptsetup().header(&call(), &target).unwrap();
    assert_eq!(header.keyslots.len(), 1);
    assert_eq!(cheap(), Pbkdf::pbkdf2(1000).unwrap());
}
