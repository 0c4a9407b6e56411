use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use strongroom_cryptsetup::{Content, CryptsetupError, Format, Overwrite, Target};
use strongroom_types::EncryptionFormat;

use crate::place::{
    BOTH, Loop, Place, call, cryptsetup, fresh, is_root, key, on_file_and_loop, room, tool, write,
};

/// That a format of either version finds this and changes nothing.
fn refuses(path: &Path, content: Content, at: u64) {
    let before = std::fs::read(path).unwrap();
    for format in BOTH {
        for overwrite in [Overwrite::Nothing, Overwrite::OurUnfinished] {
            let target = Target::new(format, path).unwrap();
            let refused = cryptsetup().format(&call(), &target, &fresh(), &key(), overwrite);
            let Err(CryptsetupError::NotBlank {
                found,
                offset,
                path: named,
            }) = refused
            else {
                panic!("{content} was not refused: {refused:?}");
            };
            assert_eq!((found, offset), (content, at));
            assert_eq!(named, path);
        }
    }
    assert!(std::fs::read(path).unwrap() == before, "{content} was changed");
}

#[test]
fn volumes_of_either_version_are_refused() {
    let place = Place::new();
    for (format, content) in [
        (EncryptionFormat::Luks1, Content::Luks1),
        (EncryptionFormat::Luks2, Content::Luks2),
    ] {
        let path = place.file(format.as_str(), 20 << 20);
        let target = Target::new(format, &path).unwrap();
        cryptsetup()
            .format(&call(), &target, &fresh(), &key(), Overwrite::Nothing)
            .unwrap();
        refuses(&path, content, 0);
    }
    let second_header_only = place.path(EncryptionFormat::Luks2.as_str());
    write(&second_header_only, 0, &[0; 16 << 10]);
    refuses(&second_header_only, Content::Luks2, 16 << 10);
}

#[test]
fn images_and_file_systems_made_by_their_own_tools_are_refused() {
    let place = Place::new();
    let image = place.path("image");
    let made = tool(
        "qemu-img",
        "qemu-utils",
        &[
            "create".as_ref(),
            "-q".as_ref(),
            "-f".as_ref(),
            "qcow2".as_ref(),
            &image,
            "32M".as_ref(),
        ],
    );
    assert_eq!(made.code, 0, "{}", made.message());
    std::fs::File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(32 << 20)
        .unwrap();
    refuses(&image, Content::Qcow2, 0);

    let fs = place.file("ext4", 32 << 20);
    let made = tool("mkfs.ext4", "e2fsprogs", &["-q".as_ref(), &fs]);
    assert_eq!(made.code, 0, "{}", made.message());
    refuses(&fs, Content::Ext, 1080);
}

#[test]
fn signatures_of_tools_that_are_not_here_are_refused_where_their_formats_put_them() {
    let size = 32u64 << 20;
    for (content, offset, bytes) in [
        (Content::Gpt, 512, &b"EFI PART"[..]),
        (Content::Gpt, size - 512, b"EFI PART"),
        (Content::BootSector, 510, b"\x55\xaa"),
        (Content::Lvm2, 512, b"LABELONE"),
        (Content::Xfs, 0, b"XFSB"),
        (Content::Btrfs, 65600, b"_BHRfS_M"),
        (Content::Swap, 4086, b"SWAPSPACE2"),
        (Content::MdRaid, 4096, b"\xfc\x4e\x2b\xa9"),
    ] {
        let place = Place::new();
        let path = place.file("disk", size);
        write(&path, offset, bytes);
        refuses(&path, content, offset);
    }
}

#[test]
fn a_single_byte_of_unknown_data_is_refused() {
    let size = 40u64 << 20;
    for offset in [0, 17, 4096, (2 << 20) + 5, (16 << 20) + 1, size - 1] {
        let place = Place::new();
        let path = place.file("disk", size);
        write(&path, offset, b"!");
        let target = Target::new(EncryptionFormat::Luks1, &path).unwrap();
        let refused = cryptsetup().format(&call(), &target, &fresh(), &key(), Overwrite::Nothing);
        assert!(
            matches!(refused, Err(CryptsetupError::NotBlank { found: Content::Unknown, offset: at, .. }) if at == offset),
            "{refused:?}"
        );
        assert_eq!(
            refused
                .unwrap_err()
                .to_string()
                .matches(&format!("at byte {offset}"))
                .count(),
            1
        );
    }
}

#[test]
fn a_device_that_somebody_holds_is_busy() {
    if !is_root() {
        assert_ne!(rustix::process::geteuid().as_raw(), 0);
        println!("not run: only root can attach a loop device to hold");
        return;
    }
    let place = Place::new();
    let device = Loop::on(&place.file("disk", room(EncryptionFormat::Luks1)));
    let target = Target::new(EncryptionFormat::Luks1, device.path()).unwrap();
    let held = rustix::fs::open(device.path(), OFlags::RDONLY | OFlags::EXCL, Mode::empty()).unwrap();
    let refused = cryptsetup().format(&call(), &target, &fresh(), &key(), Overwrite::Nothing);
    assert!(matches!(refused, Err(CryptsetupError::Busy { path }) if path == device.path()));
    drop(held);
    cryptsetup()
        .format(&call(), &target, &fresh(), &key(), Overwrite::Nothing)
        .unwrap();
}

#[test]
fn what_is_no_disk_is_refused_before_cryptsetup_hangs_on_it() {
    let place = Place::new();
    let pipe = place.path("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let directory = place.path("directory");
    std::fs::create_dir(&directory).unwrap();
    for (path, kind) in [
        (&*pipe, "named pipe"),
        (&*directory, "directory"),
        (Path::new("/dev/null"), "character device"),
    ] {
        let target = Target::new(EncryptionFormat::Luks2, path).unwrap();
        let tool = cryptsetup();
        let is = |e: CryptsetupError| matches!(e, CryptsetupError::NotADisk { kind: k, .. } if k == kind);
        assert!(is(tool.is_luks(&call(), &target).unwrap_err()));
        assert!(is(tool.uuid(&call(), &target).unwrap_err()));
        assert!(is(tool.header(&call(), &target).unwrap_err()));
        assert!(is(tool.test_passphrase(&call(), &target, &key()).unwrap_err()));
        assert!(is(tool
            .format(&call(), &target, &fresh(), &key(), Overwrite::Nothing)
            .unwrap_err()));
    }
    let target = Target::new(EncryptionFormat::Luks2, place.path("missing")).unwrap();
    let missing = |e: CryptsetupError| matches!(e, CryptsetupError::DeviceMissing { .. });
    assert!(missing(cryptsetup().is_luks(&call(), &target).unwrap_err()));
    assert!(missing(
        cryptsetup()
            .test_passphrase(&call(), &target, &key())
            .unwrap_err()
    ));
    assert!(missing(
        cryptsetup()
            .format(&call(), &target, &fresh(), &key(), Overwrite::Nothing)
            .unwrap_err()
    ));
    assert!(!place.path("missing").exists());
}

#[test]
fn looking_leaves_a_sparse_file_sparse() {
    let place = Place::new();
    let path = place.file("disk", 1 << 40);
    let target = Target::new(EncryptionFormat::Luks1, &path).unwrap();
    let how = fresh();
    let cleared = how.clear(&call(), &target, Overwrite::Nothing).unwrap();
    assert_eq!(cleared.size().get(), 1 << 40);
    assert_eq!(std::fs::metadata(&path).unwrap().blocks(), 0);
}

#[test]
fn a_byte_in_the_middle_of_a_large_device_is_seen_and_not_formatted_over() {
    for offset in [17 << 20, 60_000_000, (79 << 20) - 1] {
        on_file_and_loop(80 << 20, |path| {
            write(path, offset, b"x");
            let target = Target::new(EncryptionFormat::Luks1, path).unwrap();
            let (how, mine, tool) = (fresh(), key(), cryptsetup());
            let refused = |how: &Format, overwrite| {
                let refused = tool.format(&call(), &target, how, &mine, overwrite);
                assert!(
                    matches!(refused, Err(CryptsetupError::NotBlank { offset: at, .. }) if at == offset),
                    "{refused:?}"
                );
            };
            refused(&how, Overwrite::Nothing);
            refused(&how, Overwrite::OurUnfinished);
        });
    }
}

#[test]
fn an_unfinished_format_of_ours_with_data_in_the_middle_is_refused() {
    on_file_and_loop(80 << 20, |path| {
        let target = Target::new(EncryptionFormat::Luks2, path).unwrap();
        let (how, mine, tool) = (fresh(), key(), cryptsetup());
        tool.format(&call(), &target, &how, &mine, Overwrite::Nothing)
            .unwrap();
        write(path, 60_000_000, b"x");
        let refused = tool.format(&call(), &target, &how, &mine, Overwrite::OurUnfinished);
        assert!(
            matches!(refused, Err(CryptsetupError::NotBlank { .. })),
            "{refused:?}"
        );
        tool.test_passphrase(&call(), &target, &mine).unwrap();
    });
}

#[test]
fn samples_are_taken_only_when_asked_for_and_miss_the_middle_of_a_device() {
    let (place, mine, tool) = (Place::new(), key(), cryptsetup());
    let path = place.path("full of zeros");
    std::fs::write(&path, vec![0; 67 << 20]).unwrap();
    write(&path, 65 << 20 | 7, b"x");
    let target = Target::new(EncryptionFormat::Luks1, &path).unwrap();
    let refused = tool.format(&call(), &target, &fresh(), &mine, Overwrite::Nothing);
    assert!(
        matches!(refused, Err(CryptsetupError::NotBlank { .. })),
        "{refused:?}"
    );
    let quick = fresh().look(strongroom_cryptsetup::Look::Samples);
    tool.format(&call(), &target, &quick, &mine, Overwrite::Nothing)
        .unwrap();
    tool.test_passphrase(&call(), &target, &mine).unwrap();
}
