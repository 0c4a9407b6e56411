//! A disk is what is said of it, or an error that says what it is.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use strongroom_endpoint_selector::{
    ContentDigest, CreateDisk, Disk, DiskContent, Endpoint, ErrorKind, HostAnswer, InspectDisk, Protection,
    SourceImage, VerifyDisk,
};
use strongroom_exec::{CommandSpec, Completed, RunError, Runner, SystemRunner, Watch};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_types::{Call, DiskFormat, EncryptionFormat, GuestSize};

use crate::bench::{Bench, LUKS1, tool};

const LUKS2: EncryptionFormat = EncryptionFormat::Luks2;

/// The ways in which a disk can be described.
const DESCRIPTIONS: [(DiskFormat, Option<EncryptionFormat>); 5] = [
    (DiskFormat::Raw, None),
    (DiskFormat::Raw, Some(LUKS1)),
    (DiskFormat::Raw, Some(LUKS2)),
    (DiskFormat::Qcow2, None),
    (DiskFormat::Qcow2, Some(LUKS1)),
];

/// Describes the disk in every way. In `right` it is accepted; the rest is refused and says `found`.
#[track_caller]
fn is_only(bench: &Bench, right: &[(DiskFormat, Option<EncryptionFormat>)], found: &str) {
    let location = bench.at("disk");
    // A raw disk has whole sectors, whatever is on it.
    let file = fs::OpenOptions::new().append(true).open(location.path()).unwrap();
    file.set_len(file.metadata().unwrap().len().next_multiple_of(512))
        .unwrap();
    for description @ (format, encryption) in DESCRIPTIONS {
        match bench.run(InspectDisk::new(&location, format, encryption)) {
            Ok(_) => assert!(right.contains(&description), "{found} passes for {description:?}"),
            Err(e) => {
                assert!(!right.contains(&description), "{found}: {e}");
                assert_eq!(e.kind(), ErrorKind::WrongDisk, "{e}");
                assert!(e.message().contains(found), "{found} {description:?}: {e}");
            }
        }
    }
    fs::remove_file(location.path()).unwrap();
}

#[test]
fn a_plain_file_has_a_stamp_that_changes_with_it_and_says_what_it_begins_as() {
    let bench = Bench::new();
    let location = bench.at("disk");
    fs::write(location.path(), vec![1; 4096]).unwrap();
    let look = |format| match bench.run(InspectDisk::new(&location, format, None)).unwrap() {
        HostAnswer::Disk(facts) => facts,
        other => panic!("{other:?}"),
    };
    let first = look(DiskFormat::Raw);
    let stamp = first.stamp.unwrap();
    assert_eq!((stamp.length, first.claims), (4096, None));
    assert_eq!(
        look(DiskFormat::Raw).stamp,
        Some(stamp),
        "looking changes nothing"
    );
    let image = SourceImage::new(location.path(), DiskFormat::Raw).stamped(Some(stamp));
    let copy = bench.place.path().join("copy");
    let create = |digest| {
        let content = DiskContent::Template(image);
        let guest = GuestSize::new(4096).unwrap();
        let create = CreateDisk::new(&copy, DiskFormat::Qcow2, guest, bench.luks(), content);
        bench.run(create.digest(digest))
    };
    let wrong = ContentDigest::new([0; 32], first.guest);
    let refused = create(Some(wrong)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::UntrustedImage, "{refused}");
    assert!(refused.message().contains("not what was recorded"), "{refused}");
    assert_eq!(bench.names(), ["disk"], "it gets no name");
    let right: [u8; 32] = Sha256::digest([1; 4096]).into();
    create(Some(ContentDigest::new(right, first.guest))).unwrap();
    fs::remove_file(&copy).unwrap();

    // Kernels date a file by a clock that may be a tick old, so its length changes as well.
    fs::write(location.path(), b"QFI\xfb".repeat(256)).unwrap();
    let now = look(DiskFormat::Raw);
    assert_eq!(
        now.stamp.unwrap().since(&stamp).as_deref(),
        Some("has 1024 bytes and had 4096")
    );
    assert_eq!(now.claims, Some("qcow2"));
    let refused = create(None).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::UntrustedImage, "{refused}");
    assert!(refused.message().contains("since it was recorded"), "{refused}");
    let encrypted = bench.create("luks", DiskFormat::Raw, 1 << 20, bench.luks());
    encrypted.unwrap();
    let luks = bench.at("luks");
    match bench
        .run(InspectDisk::new(&luks, DiskFormat::Raw, Some(LUKS1)))
        .unwrap()
    {
        HostAnswer::Disk(facts) => assert_eq!((facts.stamp, facts.claims), (None, None)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_disk_passes_for_what_it_is_and_for_nothing_else() {
    let bench = Bench::new();
    let luks2 = Protection::Luks {
        format: LUKS2,
        key: &bench.key,
    };
    for (format, protection, found) in [
        (DiskFormat::Raw, bench.luks(), "LUKS1"),
        (DiskFormat::Raw, luks2, "LUKS2"),
        (DiskFormat::Qcow2, bench.luks(), ""),
    ] {
        bench.create("disk", format, 1 << 20, protection).unwrap();
        let mut right = vec![(format, protection.format())];
        if format == DiskFormat::Qcow2 {
            // The bytes of a plain raw disk are its guest's, a qcow2 header included.
            right.push((DiskFormat::Raw, None));
        }
        is_only(&bench, &right, found);
    }
    bench
        .create("disk", DiskFormat::Qcow2, 1 << 20, Protection::Plain)
        .unwrap();
    let refused = bench
        .run(InspectDisk::new(
            &bench.at("disk"),
            DiskFormat::Qcow2,
            Some(LUKS1),
        ))
        .unwrap_err();
    assert!(refused.message().contains("but is plain"), "{refused}");
    is_only(&bench, &[(DiskFormat::Qcow2, None), (DiskFormat::Raw, None)], "");
    bench
        .create("disk", DiskFormat::Raw, 1 << 20, Protection::Plain)
        .unwrap();
    is_only(&bench, &[(DiskFormat::Raw, None)], "is blank");
    fs::write(bench.path("disk"), vec![7; 1 << 20]).unwrap();
    is_only(&bench, &[(DiskFormat::Raw, None)], "is of no format known here");
}

#[test]
fn a_damaged_header_is_an_error_and_never_a_plain_disk() {
    let bench = Bench::new();
    let luks2 = Protection::Luks {
        format: LUKS2,
        key: &bench.key,
    };
    type Damage = fn(&mut Vec<u8>);
    let luks1: [(Damage, &str); 5] = [
        (|b| b[7] = 9, "unknown version"),
        (|b| b[111] = 0, ""),
        (|b| b[252..256].fill(0), ""),
        (|b| b.truncate(592), ""),
        (|b| b.truncate(1 << 20), ""),
    ];
    for (damage, found) in luks1 {
        bench
            .create("disk", DiskFormat::Raw, 1 << 20, bench.luks())
            .unwrap();
        let mut bytes = fs::read(bench.path("disk")).unwrap();
        damage(&mut bytes);
        fs::write(bench.path("disk"), bytes).unwrap();
        is_only(&bench, &[], found);
    }
    // With one copy left, cryptsetup opens and repairs the disk.
    let luks2_damages: [(Damage, bool); 4] = [
        (
            |b| {
                b[5000] ^= 1;
                b[21_384] ^= 1;
            },
            false,
        ),
        (|b| b.truncate(15_872), false),
        (|b| b[21_384] ^= 1, true),
        (|b| b[5000] ^= 1, true),
    ];
    for (damage, opens) in luks2_damages {
        bench.create("disk", DiskFormat::Raw, 1 << 20, luks2).unwrap();
        let mut bytes = fs::read(bench.path("disk")).unwrap();
        damage(&mut bytes);
        fs::write(bench.path("disk"), bytes).unwrap();
        if opens {
            bench.verify(&bench.at("disk"), DiskFormat::Raw, luks2).unwrap();
            is_only(&bench, &[(DiskFormat::Raw, Some(LUKS2))], "LUKS");
        } else {
            is_only(&bench, &[], "");
        }
    }
    // The first copy of LUKS2 wiped, as by a careless partitioning.
    bench.create("disk", DiskFormat::Raw, 1 << 20, luks2).unwrap();
    let mut bytes = fs::read(bench.path("disk")).unwrap();
    bytes[..4096].fill(0);
    fs::write(bench.path("disk"), bytes).unwrap();
    let location = bench.at("disk");
    let refused = bench
        .run(InspectDisk::new(&location, DiskFormat::Raw, None))
        .unwrap_err();
    assert!(refused.message().contains("second copy"), "{refused}");
}

#[test]
fn a_volume_does_not_grow_a_backing_file_or_a_data_file() {
    let bench = Bench::new();
    fs::write(bench.path("base"), vec![7; 1 << 20]).unwrap();
    let path = bench.path("disk");
    let path = path.to_str().unwrap();
    let base = bench.path("base").display().to_string();
    for options in [
        format!("backing_file={base},backing_fmt=raw"),
        format!("data_file={}", bench.path("data").display()),
    ] {
        let made = tool(
            "qemu-img",
            &["create", "-q", "-f", "qcow2", "-o", &options, path, "1M"],
        );
        assert_eq!(made.code, 0, "{}", made.message());
        let refused = bench
            .run(InspectDisk::new(&bench.at("disk"), DiskFormat::Qcow2, None))
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongDisk, "{refused}");
    }
}

#[test]
fn a_header_that_would_keep_a_processor_busy_is_refused_before_it_does() {
    let bench = Bench::new();
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        bench.create("disk", format, 1 << 20, bench.luks()).unwrap();
        let mut bytes = fs::read(bench.path("disk")).unwrap();
        let luks = bytes.windows(6).position(|w| w == b"LUKS\xba\xbe").unwrap();
        bytes[luks + 212..luks + 216].fill(0xff);
        fs::write(bench.path("disk"), bytes).unwrap();
        let refused = bench.verify(&bench.at("disk"), format, bench.luks()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongDisk);
        assert!(refused.message().contains("4294967295 iterations"), "{refused}");
        fs::remove_file(bench.path("disk")).unwrap();
    }
}

/// Says yes where a tool once said yes to the same command, as if every key were right.
#[derive(Debug, Default)]
struct Credulous(Mutex<HashMap<Vec<OsString>, Completed>>);

impl Runner for Credulous {
    fn run(&self, command: &CommandSpec<'_>, watch: &Watch<'_>) -> Result<Completed, RunError> {
        let done = SystemRunner::new().run(command, watch)?;
        let mut known = self.0.lock().unwrap();
        if done.code == 0 {
            known.insert(arguments_of(command), done.clone());
        }
        Ok(known.get(&arguments_of(command)).cloned().unwrap_or(done))
    }
}

fn arguments_of(command: &CommandSpec<'_>) -> Vec<OsString> {
    command.arguments().map(ToOwned::to_owned).collect()
}

#[test]
fn a_disk_that_opens_with_any_key_is_no_encrypted_disk() {
    let bench = Bench::new();
    let runner = Arc::new(Credulous::default());
    let agent = HostAgent::new("here".parse().unwrap(), ToolPaths::system(), runner);
    let luks2 = Protection::Luks {
        format: LUKS2,
        key: &bench.key,
    };
    for (name, format, protection) in [
        ("raw", DiskFormat::Raw, bench.luks()),
        ("qcow2", DiskFormat::Qcow2, bench.luks()),
        ("luks2", DiskFormat::Raw, luks2),
    ] {
        bench.create(name, format, 1 << 20, protection).unwrap();
        let location = bench.at(name);
        let disk = Disk::new(&location, format, protection);
        let refused = agent
            .run(&Call::new(), &VerifyDisk::new(disk).into())
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongDisk, "{refused}");
        assert!(refused.message().contains("made up just now"), "{refused}");
    }
}

#[test]
fn contradictions_in_the_tables_of_an_image_are_found() {
    let bench = Bench::new();
    bench
        .create("disk", DiskFormat::Qcow2, 1 << 20, bench.luks())
        .unwrap();
    let verified = bench
        .verify(&bench.at("disk"), DiskFormat::Qcow2, bench.luks())
        .unwrap();
    assert_eq!(
        verified.checked,
        [
            "two readers agree on luks1, aes-xts-plain64",
            "the stored key opens it",
            "another key is refused",
            "the metadata is consistent"
        ]
    );
    let mut bytes = fs::read(bench.path("disk")).unwrap();
    // The LUKS header's clusters are said to be free.
    bytes[(2 << 16) + 8..(2 << 16) + 32].fill(0);
    fs::write(bench.path("disk"), bytes).unwrap();
    let refused = bench
        .verify(&bench.at("disk"), DiskFormat::Qcow2, bench.luks())
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WrongDisk, "{refused}");
    assert!(refused.message().contains("contradictions"), "{refused}");
}
