//! What a disk may lie on, and how a header has to say so.
use std::fs;

use strongroom_endpoint_selector::{
    CreateDisk, Disk, DiskContent, ErrorKind, GrowDisk, Protection, ReplaceContent, ShrinkDisk, SourceImage,
    VerifyDisk,
};
use strongroom_types::DiskFormat;

use crate::bench::{Bench, raw, size, tool};
use crate::overlays::{images, overlay, qcow2};

const MIB: u64 = 1 << 20;

#[test]
fn a_disk_lies_on_what_is_said_or_is_refused() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    let copy = bench.path("images/copy.raw");
    fs::copy(&base, &copy).unwrap();
    overlay(&bench, "disk", 4 * MIB, bench.luks(), raw(&base)).unwrap();
    bench
        .create("alone", DiskFormat::Qcow2, 4 * MIB, bench.luks())
        .unwrap();
    let refused = |name: &str, said: Option<SourceImage<'_>>, kind: ErrorKind| {
        let location = bench.at(name);
        let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks()).on(said);
        for error in [
            bench.run(VerifyDisk::new(disk)).unwrap_err(),
            bench.run(GrowDisk::new(disk, size(8 * MIB))).unwrap_err(),
            bench
                .run(ReplaceContent::new(disk, raw(&copy).into()))
                .unwrap_err(),
        ] {
            assert_eq!(error.kind(), kind, "{name} {said:?}: {error}");
        }
    };
    let before = fs::read(bench.path("disk")).unwrap();
    refused("disk", None, ErrorKind::WrongDisk);
    refused("disk", Some(raw(&copy)), ErrorKind::WrongDisk);
    refused("disk", Some(qcow2(&base)), ErrorKind::WrongDisk);
    refused("alone", Some(raw(&base)), ErrorKind::WrongDisk);
    // What the image became since then.
    let there = fs::read(&base).unwrap();
    let mut luks = there.clone();
    luks[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
    fs::write(&base, luks).unwrap();
    refused("disk", Some(raw(&base)), ErrorKind::WrongDisk);
    let mut larger = there.clone();
    larger.resize((4 << 20) + 512, 7);
    fs::write(&base, larger).unwrap();
    refused("disk", Some(raw(&base)), ErrorKind::WrongDisk);
    fs::remove_file(&base).unwrap();
    refused("disk", Some(raw(&base)), ErrorKind::WrongDisk);
    std::os::unix::fs::symlink(&copy, &base).unwrap();
    refused("disk", Some(raw(&base)), ErrorKind::WrongDisk);
    assert!(fs::read(bench.path("disk")).unwrap() == before);
}

#[test]
fn a_base_with_other_content_that_fits_is_not_noticed_and_no_disk_gets_smaller_than_its_base() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    overlay(&bench, "disk", 6 * MIB, bench.luks(), raw(&base)).unwrap();
    let location = bench.at("disk");
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks()).on(Some(raw(&base)));
    let refused = bench.run(ShrinkDisk::new(disk, size(4 * MIB - 512))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidRequest, "{refused}");
    assert_eq!(
        bench.disk(ShrinkDisk::new(disk, size(4 * MIB))).guest,
        size(4 * MIB)
    );
    fs::write(&base, vec![7; 4 << 20]).unwrap();
    bench.run(VerifyDisk::new(disk)).unwrap();
}

#[test]
fn a_header_that_names_its_base_in_an_odd_way_is_refused() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    let path = bench.path("disk");
    let (base_text, path_text) = (base.to_str().unwrap(), path.to_str().unwrap());
    let json =
        format!("json:{{\"driver\":\"raw\",\"file\":{{\"driver\":\"file\",\"filename\":\"{base_text}\"}}}}");
    let location = bench.at("disk");
    for (name, format) in [
        (json.as_str(), Some("raw")),
        (base_text, None),
        (&format!("file:{base_text}"), Some("raw")),
    ] {
        let mut args = vec!["create", "-q", "-f", "qcow2", "-u", "-b", name];
        args.extend(format.iter().flat_map(|format| ["-F", format]));
        args.extend([path_text, "4M"]);
        let made = tool("qemu-img", &args);
        if format.is_none() {
            // QEMU takes no base without a format any more, so it is taken out of a header that has one.
            assert_ne!(made.code, 0);
            let args = [
                "create", "-q", "-f", "qcow2", "-u", "-b", name, "-F", "raw", path_text, "4M",
            ];
            assert_eq!(tool("qemu-img", &args).code, 0);
            let mut bytes = fs::read(&path).unwrap();
            let at = bytes
                .windows(4)
                .position(|w| w == [0xe2, 0x79, 0x2a, 0xca])
                .unwrap();
            bytes[at..at + 4].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
            fs::write(&path, bytes).unwrap();
        } else {
            assert_eq!(made.code, 0, "{}", made.message());
        }
        let disk = Disk::new(&location, DiskFormat::Qcow2, Protection::Plain).on(Some(raw(&base)));
        let refused = bench.run(VerifyDisk::new(disk)).unwrap_err();
        assert_eq!(
            refused.kind(),
            ErrorKind::WrongDisk,
            "{name} {format:?}: {refused}"
        );
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn only_a_plain_image_that_stands_alone_and_fits_is_a_base() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    let (link, overlaid) = (bench.path("images/link"), bench.path("images/overlaid"));
    std::os::unix::fs::symlink(&base, &link).unwrap();
    overlay(&bench, "images/overlaid", 4 * MIB, Protection::Plain, raw(&base)).unwrap();
    bench
        .create("images/locked", DiskFormat::Qcow2, MIB, bench.luks())
        .unwrap();
    let locked = bench.path("images/locked");
    let before = bench.names();
    for (base, kind) in [
        (raw(&link), ErrorKind::InvalidRequest),
        (qcow2(&overlaid), ErrorKind::UntrustedImage),
        (qcow2(&locked), ErrorKind::UntrustedImage),
    ] {
        for protection in [Protection::Plain, bench.luks()] {
            let refused = overlay(&bench, "disk", 8 * MIB, protection, base).unwrap_err();
            assert_eq!(refused.kind(), kind, "{base:?}: {refused}");
        }
    }
    let small = overlay(&bench, "disk", 4 * MIB - 512, bench.luks(), raw(&base)).unwrap_err();
    assert_eq!(small.kind(), ErrorKind::InvalidRequest, "{small}");
    let path = bench.path("disk");
    let on_raw = CreateDisk::new(
        &path,
        DiskFormat::Raw,
        size(4 * MIB),
        bench.luks(),
        DiskContent::Overlay(raw(&base)),
    );
    assert_eq!(bench.run(on_raw).unwrap_err().kind(), ErrorKind::Unsupported);
    assert_eq!(bench.names(), before);
}
