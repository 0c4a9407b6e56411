//! Content that goes from one disk to another.
use std::fs;

use strongroom_endpoint_selector::{
    CreateDisk, Declassification, DigestContent, Disk, DiskContent, DiskFacts, EndpointError, ErrorKind,
    HostAnswer, Protection, ReplaceContent, VerifyDisk,
};
use strongroom_secret::Passphrase;
use strongroom_types::{DiskFormat, EncryptionFormat};

use crate::bench::{Bench, LUKS1, raw, size};
use crate::canary::{CANARY, content, digest, is_in, only_in, sha256sum};
use crate::overlays::{images, overlay};

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const FORMATS: [DiskFormat; 2] = [DiskFormat::Raw, DiskFormat::Qcow2];
pub(crate) const WHY: Declassification<'static> = Declassification {
    reason: "the tenant asked for it",
};

/// Makes a disk called `copy`.
pub(crate) fn copy(
    bench: &Bench,
    format: DiskFormat,
    bytes: u64,
    protection: Protection<'_>,
    content: DiskContent<'_>,
) -> Result<DiskFacts, EndpointError> {
    let path = bench.path("copy");
    match bench.run(CreateDisk::new(&path, format, size(bytes), protection, content))? {
        HostAnswer::Disk(facts) => Ok(facts),
        other => panic!("{other:?}"),
    }
}

/// A disk with the content of a file.
pub(crate) fn filled(bench: &Bench, name: &str, format: DiskFormat, protection: Protection<'_>, file: &str) {
    let (path, template) = (bench.path(name), bench.path(file));
    let bytes = fs::metadata(&template).unwrap().len();
    let content = DiskContent::Template(raw(&template));
    bench.disk(CreateDisk::new(&path, format, size(bytes), protection, content));
}

#[test]
fn a_copy_has_the_content_of_its_source_under_its_own_key() {
    let bench = Bench::new();
    fs::write(bench.path("file"), content(3 << 20)).unwrap();
    let mut longer = content(3 << 20);
    longer.resize(4 << 20, 0);
    fs::write(bench.path("longer"), longer).unwrap();
    let other = Passphrase::generate().unwrap();
    let luks = Protection::Luks {
        format: LUKS1,
        key: &other,
    };
    for from in FORMATS {
        for protection in [Protection::Plain, bench.luks()] {
            filled(&bench, "disk", from, protection, "file");
            let source = bench.at("disk");
            let source = Disk::new(&source, from, protection);
            for to in FORMATS {
                let made = copy(&bench, to, 4 * MIB, luks, DiskContent::Copy(source)).unwrap();
                assert_eq!(made.guest, size(4 * MIB));
                let location = bench.at("copy");
                let disk = Disk::new(&location, to, luks);
                bench.run(VerifyDisk::new(disk)).unwrap();
                assert!(!is_in(location.path(), CANARY));
                let file = bench.path("file");
                let first = disk_digest(&bench, disk, 3 * MIB);
                assert_eq!(first, sha256sum(&file), "{from} {to}");
                if to == DiskFormat::Qcow2 {
                    assert_eq!(digest(&bench, disk), sha256sum(&bench.path("longer")));
                }
                fs::remove_file(location.path()).unwrap();
            }
            fs::remove_file(bench.path("disk")).unwrap();
        }
    }
}

fn disk_digest(bench: &Bench, disk: Disk<'_>, first: u64) -> String {
    let command = DigestContent::new(disk).first(Some(size(first)));
    match bench.run(command) {
        Ok(HostAnswer::Digest(digest)) => digest.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_copy_of_a_disk_on_an_image_stands_alone() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    overlay(&bench, "disk", 4 * MIB, bench.luks(), raw(&base)).unwrap();
    let source = bench.at("disk");
    let source = Disk::new(&source, DiskFormat::Qcow2, bench.luks()).on(Some(raw(&base)));
    let made = copy(
        &bench,
        DiskFormat::Qcow2,
        4 * MIB,
        bench.luks(),
        DiskContent::Copy(source),
    )
    .unwrap();
    assert_eq!(made.base, None);
    let location = bench.at("copy");
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks());
    assert_eq!(digest(&bench, disk), sha256sum(&base));
    only_in(&bench, &["base.raw", "base.qcow2"]);
}

#[test]
fn what_cannot_be_copied_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    fs::write(bench.path("file"), content(2 << 20)).unwrap();
    filled(&bench, "disk", DiskFormat::Qcow2, bench.luks(), "file");
    let luks2 = Protection::Luks {
        format: EncryptionFormat::Luks2,
        key: &bench.key,
    };
    bench.create("luks2", DiskFormat::Raw, MIB, luks2).unwrap();
    let other = Passphrase::generate().unwrap();
    let (disk, odd, none) = (bench.at("disk"), bench.at("luks2"), bench.at("none"));
    let wrong = Protection::Luks {
        format: LUKS1,
        key: &other,
    };
    let before = bench.names();
    let good = Disk::new(&disk, DiskFormat::Qcow2, bench.luks());
    for (bytes, protection, source, kind) in [
        (MIB, bench.luks(), good, ErrorKind::InvalidRequest),
        (2 * MIB, luks2, good, ErrorKind::Unsupported),
        (
            2 * MIB,
            bench.luks(),
            Disk::new(&odd, DiskFormat::Raw, luks2),
            ErrorKind::Unsupported,
        ),
        (
            2 * MIB,
            bench.luks(),
            Disk::new(&disk, DiskFormat::Qcow2, wrong),
            ErrorKind::WrongKey,
        ),
        (
            2 * MIB,
            bench.luks(),
            Disk::new(&disk, DiskFormat::Qcow2, Protection::Plain),
            ErrorKind::WrongDisk,
        ),
        (
            2 * MIB,
            bench.luks(),
            Disk::new(&none, DiskFormat::Qcow2, bench.luks()),
            ErrorKind::NotFound,
        ),
    ] {
        let refused = copy(
            &bench,
            DiskFormat::Raw,
            bytes,
            protection,
            DiskContent::Copy(source),
        )
        .unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
        assert_eq!(bench.names(), before);
    }
    bench
        .create("plain", DiskFormat::Raw, MIB, Protection::Plain)
        .unwrap();
    let plain = bench.at("plain");
    let plain = Disk::new(&plain, DiskFormat::Raw, Protection::Plain);
    for (protection, source) in [(Protection::Plain, plain), (bench.luks(), good)] {
        let content = DiskContent::Declassified(source, WHY);
        let refused = copy(&bench, DiskFormat::Raw, 2 * MIB, protection, content).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidRequest, "{refused}");
    }
    let itself = bench.run(ReplaceContent::new(good, good.into())).unwrap_err();
    assert_eq!(itself.kind(), ErrorKind::InvalidRequest, "{itself}");
    assert_eq!(digest(&bench, good), sha256sum(&bench.path("file")));
}

#[test]
fn a_raw_disk_of_an_odd_size_keeps_it_whatever_is_copied_into_it() {
    let bench = Bench::new();
    let bytes = (1 << 20) + 1536;
    fs::write(bench.path("file"), content(bytes)).unwrap();
    let file = bench.path("file");
    for protection in [Protection::Plain, bench.luks()] {
        filled(&bench, "disk", DiskFormat::Raw, protection, "file");
        let location = bench.at("disk");
        let disk = Disk::new(&location, DiskFormat::Raw, protection);
        let length = fs::metadata(location.path()).unwrap().len();
        let replaced = bench.disk(ReplaceContent::new(disk, raw(&file).into()));
        assert_eq!(replaced.guest, size(bytes as u64));
        assert_eq!(fs::metadata(location.path()).unwrap().len(), length);
        assert_eq!(digest(&bench, disk), sha256sum(&file));
        fs::remove_file(location.path()).unwrap();
    }
}
