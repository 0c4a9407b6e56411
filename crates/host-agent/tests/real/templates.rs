//! Images from outside, made to harm.

use std::fs;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use strongroom_endpoint_selector::{
    CompareContent, CreateDisk, Disk, DiskContent, ErrorKind, HostAnswer, Protection, ReplaceContent,
    Sameness, SourceImage,
};
use strongroom_host_agent::template_size;
use strongroom_types::DiskFormat;

use crate::bench::{Bench, pattern, raw, size, tool};

fn qcow2(path: &Path) -> SourceImage<'_> {
    SourceImage::new(path, DiskFormat::Qcow2)
}

/// A qcow2 image with content, made by `qemu-img` with these options.
fn image(bench: &Bench, name: &str, options: &str) -> Vec<u8> {
    let key = bench.path("typed");
    fs::write(&key, "correct horse").unwrap();
    let secret = format!("secret,id=key,file={}", key.display());
    let path = bench.path(name);
    let create = ["create", "-q", "-f", "qcow2", "--object", &secret, "-o", options];
    let made = tool(
        "qemu-img",
        &[&create[..], &[path.to_str().unwrap(), "1M"]].concat(),
    );
    assert_eq!(made.code, 0, "{}", made.message());
    fs::remove_file(key).unwrap();
    fs::read(path).unwrap()
}

/// Tries each way in, checks that nothing came of it, and returns what was said.
#[track_caller]
fn refused(bench: &Bench, source: SourceImage<'_>, kind: ErrorKind) -> String {
    let before = bench.names();
    let disk = bench.path("disk");
    let (location, made) = (bench.at("there"), bench.names().contains(&"there".to_owned()));
    if !made {
        bench
            .create("there", DiskFormat::Qcow2, 8 << 20, bench.luks())
            .unwrap();
    }
    let there = Disk::new(&location, DiskFormat::Qcow2, bench.luks());
    let untouched = fs::read(bench.path("there")).unwrap();
    let content = DiskContent::Template(source);
    let create = CreateDisk::new(&disk, DiskFormat::Qcow2, size(8 << 20), bench.luks(), content);
    let errors = [
        bench.run(create).unwrap_err(),
        bench.run(ReplaceContent::new(there, source.into())).unwrap_err(),
        bench.run(CompareContent::new(there, source.into())).unwrap_err(),
        template_size(&source).unwrap_err(),
    ];
    for error in &errors {
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(error.message(), errors[0].message());
    }
    assert!(fs::read(bench.path("there")).unwrap() == untouched);
    let names = bench.names();
    assert!(
        names.iter().all(|n| n == "there" || before.contains(n)),
        "{names:?}"
    );
    errors[0].message().to_owned()
}

#[test]
fn an_image_that_leads_to_other_files_is_refused() {
    let bench = Bench::new();
    fs::write(bench.path("secret"), vec![7; 1 << 20]).unwrap();
    let secret = bench.path("secret").display().to_string();
    for (options, expected) in [
        (
            format!("backing_file={secret},backing_fmt=raw"),
            "has a backing file",
        ),
        (
            format!("data_file={}", bench.path("data").display()),
            "in another file",
        ),
        (
            "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10".to_owned(),
            "is encrypted",
        ),
        (
            "encrypt.format=aes,encrypt.key-secret=key".to_owned(),
            "is encrypted",
        ),
    ] {
        image(&bench, "image", &options);
        let said = refused(&bench, qcow2(&bench.path("image")), ErrorKind::UntrustedImage);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn an_image_whose_header_lies_is_refused() {
    let bench = Bench::new();
    let sound = image(&bench, "sound", "compat=1.1");
    assert_eq!(template_size(&qcow2(&bench.path("sound"))).unwrap(), 1 << 20);
    let put = |at: usize, bytes: &[u8]| {
        let mut image = sound.clone();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        image
    };
    for (image, expected) in [
        (put(24, &(1u64 << 40).to_be_bytes()), "too small for the size"),
        (put(24, &0u64.to_be_bytes()), "no size that a disk can have"),
        (put(24, &1000u64.to_be_bytes()), "no size that a disk can have"),
        (put(24, &u64::MAX.to_be_bytes()), "size is"),
        (put(40, &(1u64 << 40).to_be_bytes()), "cut off"),
        (put(48, &(1u64 << 40).to_be_bytes()), "cut off"),
        (
            put(72, &(1u64 << 40).to_be_bytes()),
            "unknown incompatible features",
        ),
        (put(72, &2u64.to_be_bytes()), "marked as corrupt"),
        (put(20, &31u32.to_be_bytes()), "cluster bits"),
        (put(100, &u32::MAX.to_be_bytes()), "header length"),
        (put(4, &1u32.to_be_bytes()), "unknown version"),
        (sound[..100].to_vec(), "cut off"),
        (sound[..70_000].to_vec(), "cut off"),
        (vec![], "blank"),
        (vec![0; 1 << 20], "blank"),
        (b"LUKS\xba\xbe\0\x01".to_vec(), "LUKS1"),
    ] {
        fs::write(bench.path("image"), image).unwrap();
        let said = refused(&bench, qcow2(&bench.path("image")), ErrorKind::UntrustedImage);
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn what_is_no_file_with_sectors_is_refused() {
    let bench = Bench::new();
    for (bytes, expected) in [(0, "size is 0"), (1000, "not a multiple of 512")] {
        fs::write(bench.path("short"), vec![1; bytes]).unwrap();
        let said = refused(&bench, raw(&bench.path("short")), ErrorKind::UntrustedImage);
        assert!(said.contains(expected), "{said}");
    }
    fs::create_dir(bench.path("directory")).unwrap();
    mknodat(CWD, bench.path("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    std::os::unix::fs::symlink("/dev/zero", bench.path("link")).unwrap();
    for (name, expected) in [
        ("directory", "is a directory"),
        ("pipe", "is a pipe"),
        ("link", "is a character device"),
    ] {
        for source in [raw(&bench.path(name)), qcow2(&bench.path(name))] {
            let said = refused(&bench, source, ErrorKind::InvalidRequest);
            assert!(said.contains(expected), "{said}");
        }
    }
    refused(&bench, raw(&bench.path("none")), ErrorKind::NotFound);
    refused(&bench, raw("image".as_ref()), ErrorKind::InvalidRequest);
}

#[test]
fn a_raw_image_is_its_bytes_whatever_they_look_like() {
    let bench = Bench::new();
    fs::write(bench.path("secret"), vec![7; 1 << 20]).unwrap();
    let backing = format!("backing_file={},backing_fmt=raw", bench.path("secret").display());
    let mut disguised = image(&bench, "image", &backing);
    disguised.resize(disguised.len().next_multiple_of(512), 0);
    let template = bench.path("template");
    fs::write(&template, &disguised).unwrap();
    for format in [DiskFormat::Qcow2, DiskFormat::Raw] {
        let disk = bench.path("disk");
        let content = DiskContent::Template(raw(&template));
        let length = disguised.len() as u64;
        let made = bench.disk(CreateDisk::new(
            &disk,
            format,
            size(length),
            bench.luks(),
            content,
        ));
        assert_eq!(made.guest, size(length));
        let location = bench.at("disk");
        let of = Disk::new(&location, format, bench.luks());
        assert_eq!(
            bench.run(CompareContent::new(of, raw(&template).into())).unwrap(),
            HostAnswer::Compared(Sameness::Identical)
        );
        fs::remove_file(disk).unwrap();
    }
}

#[test]
fn a_raw_image_that_is_encrypted_is_no_template() {
    let bench = Bench::new();
    for version in 1..4 {
        let mut luks = pattern(1 << 20);
        luks[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
        luks[7] = version;
        fs::write(bench.path("template"), &luks).unwrap();
        let said = refused(&bench, raw(&bench.path("template")), ErrorKind::UntrustedImage);
        assert!(said.contains("has a header of LUKS"), "{said}");
    }
}

/// Where a template is a hole, a qcow2 that was made just now needs neither tables nor time.
#[test]
fn holes_of_a_template_take_no_room_in_a_new_qcow2() {
    let bench = Bench::new();
    let template = bench.path("template");
    let bytes = 256 << 30;
    let made = tool(
        "qemu-img",
        &["create", "-q", "-f", "qcow2", template.to_str().unwrap(), "256G"],
    );
    assert_eq!(made.code, 0, "{}", made.message());
    for protection in [Protection::Plain, bench.luks()] {
        let disk = bench.path("disk");
        let content = DiskContent::Template(qcow2(&template));
        let facts = bench.disk(CreateDisk::new(
            &disk,
            DiskFormat::Qcow2,
            size(bytes),
            protection,
            content,
        ));
        assert!(facts.allocated.get() < 4 << 20, "{} bytes", facts.allocated.get());
        fs::remove_file(&disk).unwrap();
    }
}
