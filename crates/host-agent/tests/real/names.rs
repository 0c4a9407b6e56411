//! A path is that file, whatever its bytes would mean to a tool.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use strongroom_endpoint_selector::{
    BackUpHeader, CompareContent, CreateDisk, DeleteDisk, Disk, DiskContent, DiskLocation, EraseKeyslots,
    ErrorKind, FormatDevice, GrowDisk, HostAnswer, HostCommand, InspectDisk, OpenDirectory, Protection,
    ReplaceContent, Sameness, SnapshotAction, SnapshotDisk, SweepStaging, VerifyDisk,
};
use strongroom_types::DiskFormat;

use crate::bench::{Bench, LUKS1, pattern, raw, size};

#[test]
fn disks_live_their_life_under_any_name() {
    let bench = Bench::new();
    for name in [
        &b"with,comma,file.driver=null-co"[..],
        b"json:{\"driver\":\"null-co\"}",
        b"nbd:localhost:1",
        b"-leading-dash",
        b"--help",
        b"line\nfeed",
        b"not-utf8-\xff\xfe",
        b"a=b:c,,d %s $(id) \\",
        "größe".as_bytes(),
    ] {
        for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
            let name = OsStr::from_bytes(name);
            let place = bench.place.path().join(name);
            fs::create_dir(&place).unwrap();
            let (path, template) = (place.join(name), place.join("template,raw"));
            fs::write(&template, pattern(1 << 20)).unwrap();
            let content = DiskContent::Template(raw(&template));
            bench.disk(CreateDisk::new(
                &path,
                format,
                size(1 << 20),
                bench.luks(),
                content,
            ));
            assert!(path.is_file());
            let location = DiskLocation::File(path.clone());
            let disk = Disk::new(&location, format, bench.luks());
            bench.verify(&location, format, bench.luks()).unwrap();
            assert_eq!(
                bench
                    .run(CompareContent::new(disk, raw(&template).into()))
                    .unwrap(),
                HostAnswer::Compared(Sameness::Identical)
            );
            bench.disk(GrowDisk::new(disk, size(2 << 20)));
            if format == DiskFormat::Qcow2 {
                bench.disk(SnapshotDisk::new(
                    disk,
                    &"one".parse().unwrap(),
                    SnapshotAction::Create,
                ));
            } else {
                let backup = place.join(OsStr::from_bytes(b"-backup,\n\xff"));
                bench.run(BackUpHeader::new(disk, &backup)).unwrap();
                fs::remove_file(backup).unwrap();
            }
            bench.run(EraseKeyslots::new(&location, format)).unwrap();
            let refused = bench.verify(&location, format, bench.luks()).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::WrongKey, "{refused}");
            bench.run(DeleteDisk::new(&path)).unwrap();
            fs::remove_file(&template).unwrap();
            fs::remove_dir(&place).unwrap();
        }
    }
    assert_eq!(bench.names(), Vec::<String>::new());
}

#[test]
fn a_name_of_a_file_and_one_of_a_device_are_not_mixed_up() {
    let bench = Bench::new();
    bench
        .create("disk", DiskFormat::Raw, 1 << 20, Protection::Plain)
        .unwrap();
    let block = DiskLocation::block(bench.path("disk"));
    let refused = bench
        .verify(&block, DiskFormat::Raw, Protection::Plain)
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WrongDisk);
    assert!(refused.message().contains("is not a block device"), "{refused}");
    let relative = DiskLocation::File("disk".into());
    for refused in [
        bench
            .run(EraseKeyslots::new(&relative, DiskFormat::Raw))
            .unwrap_err(),
        bench
            .run(InspectDisk::new(&relative, DiskFormat::Raw, None))
            .unwrap_err(),
        bench.run(DeleteDisk::new("disk".as_ref())).unwrap_err(),
        bench.run(SweepStaging::new(".".as_ref())).unwrap_err(),
        bench.run(OpenDirectory::new(".".as_ref())).unwrap_err(),
    ] {
        assert_eq!(refused.kind(), ErrorKind::InvalidRequest, "{refused}");
    }
}

#[test]
fn a_symlink_under_the_name_of_a_disk_is_refused_and_its_target_left_alone() {
    let bench = Bench::new();
    let header = bench.path("header");
    for (format, protection) in [
        (DiskFormat::Raw, Protection::Plain),
        (DiskFormat::Raw, bench.luks()),
        (DiskFormat::Qcow2, bench.luks()),
    ] {
        bench.create("target", format, 1 << 20, protection).unwrap();
        let (link, before) = (bench.path("link"), fs::read(bench.path("target")).unwrap());
        std::os::unix::fs::symlink(bench.path("target"), &link).unwrap();
        let image = bench.path("image");
        fs::write(&image, pattern(1 << 20)).unwrap();
        let location = DiskLocation::File(link.clone());
        let (v, snapshot) = ("v".parse().unwrap(), "one".parse().unwrap());
        let disk = Disk::new(&location, format, protection);
        for command in [
            HostCommand::from(InspectDisk::new(&location, format, protection.format())),
            FormatDevice::new(&v, &location, LUKS1, &bench.key).into(),
            VerifyDisk::new(disk).into(),
            GrowDisk::new(disk, size(2 << 20)).into(),
            ReplaceContent::new(disk, raw(&image).into()).into(),
            CompareContent::new(disk, raw(&image).into()).into(),
            EraseKeyslots::new(&location, format).into(),
            DeleteDisk::new(&link).into(),
        ] {
            let refused = bench.run(command).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::WrongDisk, "{refused}");
        }
        if format == DiskFormat::Qcow2 {
            let take = SnapshotDisk::new(disk, &snapshot, SnapshotAction::Create);
            assert_eq!(bench.run(take).unwrap_err().kind(), ErrorKind::WrongDisk);
        } else if protection.key().is_some() {
            let refused = bench.run(BackUpHeader::new(disk, &header)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::WrongDisk);
        }
        assert!(fs::read(bench.path("target")).unwrap() == before);
        assert!(link.is_symlink() && !header.exists());
        fs::remove_file(&link).unwrap();
        fs::remove_file(bench.path("target")).unwrap();
    }
}
