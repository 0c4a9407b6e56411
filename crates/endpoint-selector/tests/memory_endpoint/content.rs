use strongroom_endpoint_selector::{
    CompareContent, CreateDisk, DigestContent, Disk, DiskContent, DiskFacts, ErrorKind, GrowDisk, HostAnswer,
    Protection, ReplaceContent, Sameness,
};
use strongroom_types::{ByteSize, DiskFormat};

use crate::desk::{Desk, MIB, guest, image, refused};

/// A disk of 4 MiB from the image `/one` of 4 MiB; beside it `/short` has 1 MiB and `/long` 8 MiB.
fn with_a_disk<'d>(desk: &'d Desk, format: DiskFormat, protection: Protection<'d>) -> DiskFacts {
    for (path, size) in [("/one", 4), ("/short", 1), ("/long", 8)] {
        desk.node.add_image(path, ByteSize::mib(size));
    }
    let content = DiskContent::Template(image("/one"));
    desk.disk(CreateDisk::new(
        "/p/v".as_ref(),
        format,
        guest(4 * MIB),
        protection,
        content,
    ))
}

fn disk<'a>(facts: &'a DiskFacts, protection: Protection<'a>) -> Disk<'a> {
    Disk::new(&facts.location, facts.format, protection)
}

#[track_caller]
fn compared(desk: &Desk, disk: Disk<'_>, with: &str) -> Sameness {
    match desk.run(CompareContent::new(disk, image(with).into())).unwrap() {
        HostAnswer::Compared(sameness) => sameness,
        other => panic!("not compared: {other:?}"),
    }
}

#[test]
fn a_disk_holds_its_template_and_nothing_else() {
    let desk = Desk::new();
    let made = with_a_disk(&desk, DiskFormat::Raw, desk.luks1());
    let disk = disk(&made, desk.luks1());
    assert_eq!(compared(&desk, disk, "/one"), Sameness::Identical);
    assert_eq!(compared(&desk, disk, "/short"), Sameness::Different);
}

#[test]
fn a_disk_that_would_not_hold_what_is_known_gets_no_name() {
    let desk = Desk::new();
    let made = with_a_disk(&desk, DiskFormat::Raw, Protection::Plain);
    let digest = DigestContent::new(disk(&made, Protection::Plain));
    let HostAnswer::Digest(known) = desk.run(digest).unwrap() else {
        panic!("no digest");
    };
    let create = |path: &'static str| {
        let content = DiskContent::Template(image(path));
        let create = CreateDisk::new(
            "/p/w".as_ref(),
            DiskFormat::Raw,
            guest(4 * MIB),
            Protection::Plain,
            content,
        );
        desk.run(create.digest(Some(known)))
    };
    refused(create("/short"), ErrorKind::UntrustedImage, &["/p/w"]);
    create("/one").unwrap();
}

#[test]
fn a_blank_disk_holds_no_image() {
    let desk = Desk::new();
    let made = desk.create("/p/v", DiskFormat::Qcow2, Protection::Plain);
    assert_eq!(
        compared(&desk, disk(&made, Protection::Plain), "/any"),
        Sameness::Different
    );
}

#[test]
fn an_image_that_nobody_described_is_as_large_as_the_disk() {
    let desk = Desk::new();
    let made = desk.create("/p/v", DiskFormat::Raw, desk.luks1());
    desk.run(ReplaceContent::new(
        disk(&made, desk.luks1()),
        image("/any").into(),
    ))
    .unwrap();
    assert_eq!(
        compared(&desk, disk(&made, desk.luks1()), "/any"),
        Sameness::Identical
    );
}

#[test]
fn beyond_the_images_end_the_disk_keeps_what_it_had() {
    let desk = Desk::new();
    let made = with_a_disk(&desk, DiskFormat::Qcow2, desk.luks1());
    let disk = disk(&made, desk.luks1());
    desk.run(ReplaceContent::new(disk, image("/short").into()))
        .unwrap();
    assert_eq!(compared(&desk, disk, "/short"), Sameness::Different);
    assert_eq!(compared(&desk, disk, "/one"), Sameness::Different);
    desk.run(ReplaceContent::new(disk, image("/one").into())).unwrap();
    assert_eq!(compared(&desk, disk, "/one"), Sameness::Identical);
}

#[test]
fn what_was_never_written_is_zeros_unless_the_disk_is_raw_luks() {
    for (format, encrypted, sameness) in [
        (DiskFormat::Raw, false, Sameness::Identical),
        (DiskFormat::Qcow2, false, Sameness::Identical),
        (DiskFormat::Qcow2, true, Sameness::Identical),
        (DiskFormat::Raw, true, Sameness::Different),
    ] {
        let desk = Desk::new();
        let protection = if encrypted {
            desk.luks1()
        } else {
            Protection::Plain
        };
        let made = with_a_disk(&desk, format, protection);
        desk.run(GrowDisk::new(disk(&made, protection), guest(5 * MIB)))
            .unwrap();
        assert_eq!(
            compared(&desk, disk(&made, protection), "/one"),
            sameness,
            "{format} {encrypted}"
        );
    }
}

#[test]
fn an_image_larger_than_the_disk_is_refused_and_changes_nothing() {
    let desk = Desk::new();
    let made = with_a_disk(&desk, DiskFormat::Qcow2, desk.luks1());
    let disk = disk(&made, desk.luks1());
    refused(
        desk.run(ReplaceContent::new(disk, image("/long").into())),
        ErrorKind::InvalidRequest,
        &["/long"],
    );
    refused(
        desk.run(CompareContent::new(disk, image("/long").into())),
        ErrorKind::InvalidRequest,
        &["/long"],
    );
    assert_eq!(compared(&desk, disk, "/one"), Sameness::Identical);
}
