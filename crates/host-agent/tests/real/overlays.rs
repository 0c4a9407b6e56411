//! Disks that lie on a plain image.
use std::fs;
use std::path::Path;

use strongroom_endpoint_selector::{
    BaseImage, CompareContent, ContentSource, CreateDisk, Disk, DiskContent, DiskFacts, EndpointError,
    EraseKeyslots, ErrorKind, GrowDisk, HostAnswer, InspectDisk, Protection, ReplaceContent, Sameness,
    ShrinkDisk, SnapshotAction, SnapshotDisk, SourceImage, VerifyDisk,
};
use strongroom_image::Qcow2Header;
use strongroom_secret::Passphrase;
use strongroom_types::DiskFormat;

use crate::bench::{Bench, LUKS1, raw, size, tool};
use crate::canary::{content, digest, only_in, sha256sum};

const MIB: u64 = 1 << 20;

pub(crate) fn qcow2(path: &Path) -> SourceImage<'_> {
    SourceImage::new(path, DiskFormat::Qcow2)
}

/// A directory of images with one in each format, of 4 MiB.
pub(crate) fn images(bench: &Bench) {
    fs::create_dir(bench.path("images")).unwrap();
    fs::write(bench.path("images/base.raw"), content(4 << 20)).unwrap();
    let [from, to] = ["images/base.raw", "images/base.qcow2"].map(|n| bench.path(n).display().to_string());
    let made = tool("qemu-img", &["convert", "-f", "raw", "-O", "qcow2", &from, &to]);
    assert_eq!(made.code, 0, "{}", made.message());
}

/// A disk of so many bytes on an image.
pub(crate) fn overlay(
    bench: &Bench,
    name: &str,
    bytes: u64,
    protection: Protection<'_>,
    base: SourceImage<'_>,
) -> Result<DiskFacts, EndpointError> {
    let path = bench.path(name);
    let content = DiskContent::Overlay(base);
    match bench.run(CreateDisk::new(
        &path,
        DiskFormat::Qcow2,
        size(bytes),
        protection,
        content,
    ))? {
        HostAnswer::Disk(facts) => Ok(facts),
        other => panic!("{other:?}"),
    }
}

fn compare<'a>(bench: &Bench, disk: Disk<'_>, with: impl Into<ContentSource<'a>>) -> Sameness {
    match bench.run(CompareContent::new(disk, with.into())) {
        Ok(HostAnswer::Compared(same)) => same,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_disk_on_an_image_has_its_content_and_everything_works_on_it() {
    let bench = Bench::new();
    images(&bench);
    let first = bench.path("first");
    fs::write(&first, vec![9; 1 << 20]).unwrap();
    let mut expected = content(4 << 20);
    expected[..1 << 20].fill(9);
    expected.resize(8 << 20, 0);
    let after = bench.path("after");
    fs::write(&after, &expected).unwrap();
    let (raw_base, qcow2_base) = (bench.path("images/base.raw"), bench.path("images/base.qcow2"));
    for base in [raw(&raw_base), qcow2(&qcow2_base)] {
        for protection in [Protection::Plain, bench.luks()] {
            let made = overlay(&bench, "disk", 6 * MIB, protection, base).unwrap();
            assert_eq!(made.guest, size(6 * MIB));
            assert_eq!(made.base, Some(BaseImage::new(base.path, base.format)));
            assert!(made.allocated.get() < 3 * MIB, "{made:?}");
            let location = bench.at("disk");
            let disk = Disk::new(&location, DiskFormat::Qcow2, protection).on(Some(base));
            assert_eq!(compare(&bench, disk, base), Sameness::Identical);
            let id = "one".parse().unwrap();
            bench.disk(SnapshotDisk::new(disk, &id, SnapshotAction::Create));
            bench.disk(ReplaceContent::new(disk, raw(&first).into()));
            bench.disk(GrowDisk::new(disk, size(8 * MIB)));
            let HostAnswer::Verified(verified) = bench.run(VerifyDisk::new(disk)).unwrap() else {
                panic!("not verified")
            };
            let text = verified.checked.join("; ");
            assert!(text.contains("the metadata is consistent"), "{text}");
            assert!(
                text.contains(&format!("it lies on {}", base.path.display())),
                "{text}"
            );
            assert_eq!(digest(&bench, disk), sha256sum(&after));
            assert_eq!(compare(&bench, disk, raw(&after)), Sameness::Identical);
            assert_eq!(compare(&bench, disk, raw(&raw_base)), Sameness::Different);
            bench.disk(SnapshotDisk::new(disk, &id, SnapshotAction::Restore));
            assert_eq!(compare(&bench, disk, base), Sameness::Identical);
            bench.disk(SnapshotDisk::new(disk, &id, SnapshotAction::Delete));
            if protection.key().is_some() {
                bench
                    .run(EraseKeyslots::new(&location, DiskFormat::Qcow2))
                    .unwrap();
                let erased = bench.run(VerifyDisk::new(disk)).unwrap_err();
                assert_eq!(erased.kind(), ErrorKind::WrongKey, "{erased}");
            }
            fs::remove_file(bench.path("disk")).unwrap();
        }
    }
}

#[test]
fn what_is_written_to_an_encrypted_disk_on_an_image_is_ciphertext() {
    let bench = Bench::new();
    images(&bench);
    fs::remove_file(bench.path("images/base.raw")).unwrap();
    fs::write(bench.path("images/base.raw"), vec![5; 4 << 20]).unwrap();
    let written = bench.path("written");
    fs::write(&written, content(4 << 20)).unwrap();
    let base = bench.path("images/base.raw");
    overlay(&bench, "disk", 4 * MIB, bench.luks(), raw(&base)).unwrap();
    let location = bench.at("disk");
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks()).on(Some(raw(&base)));
    bench.disk(ReplaceContent::new(disk, raw(&written).into()));
    only_in(&bench, &["written", "base.qcow2"]);
    assert_eq!(digest(&bench, disk), sha256sum(&written));
}

#[test]
fn a_base_below_the_directory_of_the_disk_moves_with_it() {
    let bench = Bench::new();
    let pool = bench.path("pool");
    fs::create_dir_all(pool.join("images")).unwrap();
    fs::write(pool.join("images/base.raw"), content(1 << 20)).unwrap();
    fs::write(bench.path("outside.raw"), content(1 << 20)).unwrap();
    let header = |name: &str| {
        let mut file = fs::File::open(bench.path(name)).unwrap();
        Qcow2Header::read(&mut file).unwrap().backing.unwrap().name
    };
    for protection in [Protection::Plain, bench.luks()] {
        let (inside, outside) = (pool.join("images/base.raw"), bench.path("outside.raw"));
        overlay(&bench, "pool/disk", MIB, protection, raw(&inside)).unwrap();
        overlay(&bench, "pool/other", MIB, protection, raw(&outside)).unwrap();
        assert_eq!(header("pool/disk"), "images/base.raw");
        assert_eq!(header("pool/other"), outside);
        let moved = bench.path("moved");
        fs::rename(&pool, &moved).unwrap();
        let (location, base) = (bench.at("moved/disk"), moved.join("images/base.raw"));
        let disk = Disk::new(&location, DiskFormat::Qcow2, protection).on(Some(raw(&base)));
        assert_eq!(digest(&bench, disk), sha256sum(&base));
        fs::rename(&moved, &pool).unwrap();
        for name in ["disk", "other"] {
            fs::remove_file(pool.join(name)).unwrap();
        }
    }
}

#[test]
fn which_image_a_disk_lies_on_is_answered_for_a_directory_of_images_only() {
    let bench = Bench::new();
    images(&bench);
    let (base, directory) = (bench.path("images/base.qcow2"), bench.path("images"));
    overlay(&bench, "disk", 4 * MIB, bench.luks(), qcow2(&base)).unwrap();
    bench
        .create("alone", DiskFormat::Qcow2, 4 * MIB, bench.luks())
        .unwrap();
    let inspect = |name: &str, images: Option<&Path>| {
        let location = bench.at(name);
        bench.run(InspectDisk::new(&location, DiskFormat::Qcow2, Some(LUKS1)).base_in(images))
    };
    let base_of = |name: &str| match inspect(name, Some(&directory)) {
        Ok(HostAnswer::Disk(facts)) => facts.base,
        other => panic!("{other:?}"),
    };
    assert_eq!(base_of("disk"), Some(BaseImage::new(&base, DiskFormat::Qcow2)));
    assert_eq!(base_of("alone"), None);
    let elsewhere = bench.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::copy(&base, elsewhere.join("base.qcow2")).unwrap();
    for images in [None, Some(elsewhere.as_path()), Some(bench.place.path())] {
        let refused = inspect("disk", images).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::WrongDisk, "{images:?}: {refused}");
    }
    // A symlink in that directory leads to the same file, and tomorrow to another.
    fs::remove_file(elsewhere.join("base.qcow2")).unwrap();
    std::os::unix::fs::symlink(&base, elsewhere.join("base.qcow2")).unwrap();
    let refused = inspect("disk", Some(&elsewhere)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WrongDisk, "{refused}");
    fs::rename(&base, bench.path("images/moved")).unwrap();
    let gone = inspect("disk", Some(&directory)).unwrap_err();
    assert_eq!(
        gone.kind(),
        ErrorKind::WrongDisk,
        "the disk itself is there: {gone}"
    );
}

#[test]
fn what_was_cut_off_a_disk_on_an_image_reads_as_zeros_when_it_grows_again() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    let expected = bench.path("expected");
    let mut bytes = content(4 << 20);
    bytes.resize(6 << 20, 0);
    fs::write(&expected, bytes).unwrap();
    let part = bench.path("part");
    fs::write(&part, [content(4 << 20), vec![9; 2 << 20]].concat()).unwrap();
    for protection in [Protection::Plain, bench.luks()] {
        overlay(&bench, "disk", 6 * MIB, protection, raw(&base)).unwrap();
        let location = bench.at("disk");
        let disk = Disk::new(&location, DiskFormat::Qcow2, protection).on(Some(raw(&base)));
        bench.disk(ReplaceContent::new(disk, raw(&part).into()));
        bench.disk(ShrinkDisk::new(disk, size(4 * MIB)));
        bench.disk(GrowDisk::new(disk, size(6 * MIB)));
        assert_eq!(digest(&bench, disk), sha256sum(&expected), "{protection:?}");
        fs::remove_file(bench.path("disk")).unwrap();
    }
}

#[test]
fn another_key_does_not_open_a_disk_on_an_image() {
    let bench = Bench::new();
    images(&bench);
    let base = bench.path("images/base.raw");
    overlay(&bench, "disk", 4 * MIB, bench.luks(), raw(&base)).unwrap();
    let other = Passphrase::generate().unwrap();
    let location = bench.at("disk");
    let protection = Protection::Luks {
        format: LUKS1,
        key: &other,
    };
    let disk = Disk::new(&location, DiskFormat::Qcow2, protection).on(Some(raw(&base)));
    let refused = bench.run(VerifyDisk::new(disk)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::WrongKey, "{refused}");
}
