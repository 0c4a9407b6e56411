//! Making disks: exact sizes, two readers, nothing on failure.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use strongroom_endpoint_selector::Endpoint;
use strongroom_endpoint_selector::{
    CompareContent, CreateDisk, Disk, DiskContent, ErrorKind, HostAnswer, Protection, Sameness,
};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, Cancellation, DiskFormat, EncryptionFormat, PayloadOffset};
use zeroize::Zeroizing;

use crate::bench::{Bench, LUKS1, pattern, raw, size, tool};

#[test]
fn every_format_has_the_exact_size_and_opens() {
    let bench = Bench::new();
    for guest in [512, 1 << 20, (1 << 20) + 512, (5 << 30) + 1536] {
        for (format, protection) in [
            (DiskFormat::Raw, Protection::Plain),
            (DiskFormat::Qcow2, Protection::Plain),
            (DiskFormat::Raw, bench.luks()),
            (DiskFormat::Qcow2, bench.luks()),
        ] {
            let made = bench.create("disk", format, guest, protection).unwrap();
            assert_eq!(made.guest, size(guest));
            assert_eq!(made.encryption, protection.format());
            let path = bench.path("disk");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(made.allocated.get() < 4 << 20, "{made:?} is sparse");
            if format == DiskFormat::Raw {
                let header = protection
                    .format()
                    .map_or(0, |_| PayloadOffset::LUKS1_CRYPTSETUP.get());
                assert_eq!(fs::metadata(&path).unwrap().len(), guest + header);
            }
            bench.verify(&bench.at("disk"), format, protection).unwrap();
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(bench.names(), Vec::<String>::new());
}

#[test]
fn qcow2_images_please_qemu_at_any_size() {
    let bench = Bench::new();
    let key = bench.path("key");
    fs::write(&key, bench.key.expose_secret()).unwrap();
    for guest in [
        512,
        65_536,
        (512 << 20) - 512,
        512 << 20,
        (512 << 20) + 512,
        4 << 40,
        (4 << 40) + 512,
        1 << 50,
    ] {
        bench
            .create("disk.qcow2", DiskFormat::Qcow2, guest, bench.luks())
            .unwrap();
        let path = bench.path("disk.qcow2");
        let secret = format!("secret,id=s,file={}", key.display());
        let image = format!(
            "driver=qcow2,file.driver=file,file.filename={},encrypt.key-secret=s",
            path.display()
        );
        let check = tool(
            "qemu-img",
            &["check", "--object", &secret, "--image-opts", &image],
        );
        assert_eq!(check.code, 0, "{guest}: {}", check.message());
        let last = format!("write -P 7 {} 512", guest - 512);
        let read = format!("read -P 7 {} 512", guest - 512);
        let zeros = if guest > 512 { "read -P 0 0 512" } else { "flush" };
        let io = [
            "-c",
            &last,
            "-c",
            &read,
            "-c",
            zeros,
            "--object",
            &secret,
            "--image-opts",
            &image,
        ];
        let written = tool("qemu-io", &io);
        let said = String::from_utf8_lossy(&written.stdout).into_owned();
        assert!(
            written.code == 0 && !said.contains("failed"),
            "{guest}: {said} {}",
            written.message()
        );
        assert_eq!(
            tool(
                "qemu-img",
                &["check", "--object", &secret, "--image-opts", &image]
            )
            .code,
            0,
            "{guest}"
        );
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_typed_passphrase_is_stretched_and_a_generated_one_is_not() {
    let mut bench = Bench::new();
    let iterations = |bench: &Bench, name: &str, args: &[&str]| -> u64 {
        let path = bench.path(name);
        let text = tool(
            "qemu-img",
            &[&["info", "--output=json"], args, &[path.to_str().unwrap()]].concat(),
        );
        let info: serde_json::Value = serde_json::from_slice(&text.stdout).unwrap();
        let data = &info["format-specific"]["data"];
        let slots = if data["slots"].is_null() {
            &data["encrypt"]["slots"]
        } else {
            &data["slots"]
        };
        slots[0]["iters"].as_u64().unwrap()
    };
    bench
        .create("generated", DiskFormat::Raw, 512, bench.luks())
        .unwrap();
    bench
        .create("generated.qcow2", DiskFormat::Qcow2, 512, bench.luks())
        .unwrap();
    assert_eq!(iterations(&bench, "generated", &["-f", "luks"]), 1000);
    assert_eq!(iterations(&bench, "generated.qcow2", &["-f", "qcow2"]), 1000);
    bench.key = Passphrase::import(Zeroizing::new(b"correct horse".to_vec())).unwrap();
    bench.create("typed", DiskFormat::Raw, 512, bench.luks()).unwrap();
    assert!(iterations(&bench, "typed", &["-f", "luks"]) > 100_000);
}

#[test]
fn a_template_comes_through_and_is_not_there_in_clear() {
    let bench = Bench::new();
    let template = bench.path("template.raw");
    let content = pattern(3 << 20);
    fs::write(&template, &content).unwrap();
    let converted = bench.path("template.qcow2");
    let args = [
        "convert",
        "-f",
        "raw",
        "-O",
        "qcow2",
        template.to_str().unwrap(),
        converted.to_str().unwrap(),
    ];
    assert_eq!(tool("qemu-img", &args).code, 0);
    for (path, template_format) in [(&template, DiskFormat::Raw), (&converted, DiskFormat::Qcow2)] {
        let source = strongroom_endpoint_selector::SourceImage::new(path, template_format);
        for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
            let disk = bench.path("disk");
            let content_of = DiskContent::Template(source);
            bench.disk(CreateDisk::new(
                &disk,
                format,
                size(3 << 20),
                bench.luks(),
                content_of,
            ));
            let bytes = fs::read(&disk).unwrap();
            let leaked = content
                .chunks(512)
                .step_by(97)
                .any(|s| bytes.chunks(512).any(|d| d == s));
            assert!(!leaked, "{format}");
            let location = bench.at("disk");
            let of = Disk::new(&location, format, bench.luks());
            let same = bench.run(CompareContent::new(of, raw(&template).into())).unwrap();
            assert_eq!(same, HostAnswer::Compared(Sameness::Identical));
            fs::remove_file(&disk).unwrap();
        }
    }
}

#[test]
fn a_larger_qcow2_reads_as_zeros_behind_its_template() {
    let bench = Bench::new();
    let template = bench.path("template.raw");
    fs::write(&template, pattern(1 << 20)).unwrap();
    let disk = bench.path("disk");
    let content = DiskContent::Template(raw(&template));
    bench.disk(CreateDisk::new(
        &disk,
        DiskFormat::Qcow2,
        size(3 << 20),
        bench.luks(),
        content,
    ));
    let location = bench.at("disk");
    let of = Disk::new(&location, DiskFormat::Qcow2, bench.luks());
    assert_eq!(
        bench.run(CompareContent::new(of, raw(&template).into())).unwrap(),
        HostAnswer::Compared(Sameness::Identical)
    );
}

#[test]
fn what_cannot_be_made_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    let luks2 = Protection::Luks {
        format: EncryptionFormat::Luks2,
        key: &bench.key,
    };
    let refused = bench.create("disk", DiskFormat::Qcow2, 512, luks2).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    let huge = (i64::MAX as u64) & !511;
    let refused = bench
        .create("disk", DiskFormat::Raw, huge, bench.luks())
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidRequest, "{refused}");
    let template = bench.path("large");
    fs::write(&template, vec![1; 1024]).unwrap();
    let disk = bench.path("disk");
    let content = DiskContent::Template(raw(&template));
    let refused = bench
        .run(CreateDisk::new(
            &disk,
            DiskFormat::Raw,
            size(512),
            bench.luks(),
            content,
        ))
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidRequest);
    assert!(refused.message().contains("1024"), "{refused}");
    let relative = CreateDisk::new(
        "disk".as_ref(),
        DiskFormat::Raw,
        size(512),
        bench.luks(),
        DiskContent::Blank,
    );
    assert_eq!(bench.run(relative).unwrap_err().kind(), ErrorKind::InvalidRequest);
    assert_eq!(bench.names(), ["large"]);
}

#[test]
fn a_name_that_is_taken_stays_as_it_is() {
    let bench = Bench::new();
    fs::write(bench.path("disk"), b"mine").unwrap();
    std::os::unix::fs::symlink("nowhere", bench.path("link")).unwrap();
    fs::create_dir(bench.path("directory")).unwrap();
    for name in ["disk", "link", "directory"] {
        let refused = bench
            .create(name, DiskFormat::Raw, 512, bench.luks())
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    }
    assert_eq!(fs::read(bench.path("disk")).unwrap(), b"mine");
    assert_eq!(bench.names(), ["directory", "disk", "link"]);
}

#[test]
fn a_cancelled_or_late_create_leaves_nothing() {
    let bench = Bench::new();
    let template = bench.path("template");
    fs::File::create(&template).unwrap().set_len(64 << 20).unwrap();
    fs::write(&template, pattern(64 << 20)).unwrap();
    let disk = bench.path("disk");
    let content = DiskContent::Template(raw(&template));
    let create = CreateDisk::new(&disk, DiskFormat::Raw, size(64 << 20), bench.luks(), content);
    // Cancelled from inside: as soon as the copy says that it has begun.
    let cancellation = Cancellation::new();
    let stop = cancellation.clone();
    let call = Call::new()
        .with_cancellation(cancellation)
        .with_progress(std::sync::Arc::new(move |_| stop.cancel()));
    let stopped = bench.agent.run(&call, &create.into()).unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::Cancelled, "{stopped}");
    let late = Call::new().with_timeout(std::time::Duration::from_millis(20));
    let stopped = bench.agent.run(&late, &create.into()).unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::Deadline, "{stopped}");
    assert_eq!(bench.names(), ["template"]);
}

#[test]
fn luks2_is_made_for_those_who_open_it_elsewhere() {
    let bench = Bench::new();
    let luks2 = Protection::Luks {
        format: EncryptionFormat::Luks2,
        key: &bench.key,
    };
    let made = bench.create("disk", DiskFormat::Raw, 1 << 20, luks2).unwrap();
    assert_eq!(
        (made.guest, made.payload_offset),
        (size(1 << 20), PayloadOffset::LUKS2_CRYPTSETUP)
    );
    bench.verify(&bench.at("disk"), DiskFormat::Raw, luks2).unwrap();
    let as_luks1 = bench
        .verify(&bench.at("disk"), DiskFormat::Raw, bench.luks())
        .unwrap_err();
    assert_eq!(as_luks1.kind(), ErrorKind::WrongDisk, "{as_luks1}");
    let as_plain = bench
        .verify(&bench.at("disk"), DiskFormat::Raw, Protection::Plain)
        .unwrap_err();
    assert_eq!(as_plain.kind(), ErrorKind::WrongDisk, "{as_plain}");
    let template = bench.path("template");
    fs::write(&template, pattern(1 << 20)).unwrap();
    let other = bench.path("other");
    let content = DiskContent::Template(raw(&template));
    let create = CreateDisk::new(&other, DiskFormat::Raw, size(1 << 20), luks2, content);
    let refused = bench.run(create).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    // A size that is no multiple of dm-crypt's largest sector.
    let odd = bench
        .create("odd", DiskFormat::Raw, (1 << 20) + 512, luks2)
        .unwrap();
    assert_eq!(odd.guest, size((1 << 20) + 512));
    assert_eq!(
        fs::metadata(bench.path("disk")).unwrap().size(),
        (1 << 20) + (16 << 20)
    );
    assert_ne!(LUKS1, EncryptionFormat::Luks2);
}
