use strongroom_endpoint_selector::{
    BaseImage, CompareContent, ContentSource, CreateDisk, Declassification, DeleteDisk, DigestContent, Disk,
    DiskContent, DiskFacts, EndpointError, ErrorKind, FlattenDisk, HostAnswer, InspectDisk, Protection,
    ReplaceContent, Sameness, ShrinkDisk,
};
use strongroom_secret::Passphrase;
use strongroom_types::{ByteSize, DiskFormat, EncryptionFormat};

use crate::desk::{Desk, MIB, file, guest, image, luks, refused};

const WHY: Declassification<'_> = Declassification { reason: "a test" };

/// Makes a disk of 4 MiB with this content.
fn make(
    desk: &Desk,
    path: &str,
    format: DiskFormat,
    protection: Protection<'_>,
    content: DiskContent<'_>,
) -> Result<HostAnswer, EndpointError> {
    let command = CreateDisk::new(path.as_ref(), format, guest(4 * MIB), protection, content);
    desk.run(command)
}

fn disk<'a>(facts: &'a DiskFacts, protection: Protection<'a>) -> Disk<'a> {
    let base = facts.base.as_ref().map(BaseImage::source);
    Disk::new(&facts.location, facts.format, protection).on(base)
}

#[track_caller]
fn made(answer: Result<HostAnswer, EndpointError>) -> DiskFacts {
    match answer.unwrap() {
        HostAnswer::Disk(facts) => facts,
        other => panic!("not a disk: {other:?}"),
    }
}

fn holds(desk: &Desk, disk: Disk<'_>, what: ContentSource<'_>) -> bool {
    let answer = desk.run(CompareContent::new(disk, what)).unwrap();
    answer == HostAnswer::Compared(Sameness::Identical)
}

fn digest(desk: &Desk, disk: Disk<'_>, first: u64) -> [u8; 32] {
    match desk
        .run(DigestContent::new(disk).first(Some(guest(first))))
        .unwrap()
    {
        HostAnswer::Digest(digest) => {
            assert_eq!(digest.bytes, guest(first));
            digest.sha256
        }
        other => panic!("no digest: {other:?}"),
    }
}

#[test]
fn a_copy_through_both_ciphers_holds_what_its_source_holds() {
    let desk = Desk::new();
    desk.node.add_image("/t", ByteSize::mib(4));
    let template = DiskContent::Template(image("/t"));
    let source = made(make(
        &desk,
        "/p/source",
        DiskFormat::Qcow2,
        desk.luks1(),
        template,
    ));
    let own = Passphrase::generate().unwrap();
    let own = luks(EncryptionFormat::Luks1, &own);
    let from = disk(&source, desk.luks1());
    let copy = made(make(
        &desk,
        "/p/copy",
        DiskFormat::Raw,
        own,
        DiskContent::Copy(from),
    ));
    assert!(holds(&desk, disk(&copy, own), image("/t").into()));
    assert!(holds(&desk, disk(&copy, own), from.into()));
    assert_eq!(digest(&desk, disk(&copy, own), MIB), digest(&desk, from, MIB));
    let wrong = make(
        &desk,
        "/p/wrong",
        DiskFormat::Raw,
        own,
        DiskContent::Copy(disk(&source, own)),
    );
    refused(wrong, ErrorKind::WrongKey, &["/p/source"]);
    let larger = CreateDisk::new(
        "/p/small".as_ref(),
        DiskFormat::Raw,
        guest(MIB),
        own,
        DiskContent::Copy(from),
    );
    refused(
        desk.run(larger),
        ErrorKind::InvalidRequest,
        &["/p/source has 4194304 bytes"],
    );
    assert_eq!(desk.node.paths().len(), 2, "nothing else was made");
}

#[test]
fn what_was_encrypted_becomes_plain_only_when_that_is_said() {
    let desk = Desk::new();
    let blank = DiskContent::Blank;
    let sealed = made(make(&desk, "/p/sealed", DiskFormat::Qcow2, desk.luks1(), blank));
    let plain = made(make(&desk, "/p/plain", DiskFormat::Raw, Protection::Plain, blank));
    let from = disk(&sealed, desk.luks1());
    let into = disk(&plain, Protection::Plain);
    let silent = make(
        &desk,
        "/p/v",
        DiskFormat::Raw,
        Protection::Plain,
        DiskContent::Copy(from),
    );
    refused(silent, ErrorKind::InvalidRequest, &["declassify"]);
    let silent = desk.run(ReplaceContent::new(into, from.into()));
    refused(silent, ErrorKind::InvalidRequest, &["declassify"]);
    for (protection, content) in [
        (desk.luks1(), DiskContent::Declassified(from, WHY)),
        (Protection::Plain, DiskContent::Declassified(into, WHY)),
    ] {
        let refusal = make(&desk, "/p/v", DiskFormat::Raw, protection, content);
        refused(refusal, ErrorKind::InvalidRequest, &["copy it"]);
    }
    let said = DiskContent::Declassified(from, WHY);
    made(make(&desk, "/p/v", DiskFormat::Raw, Protection::Plain, said));
    desk.run(ReplaceContent::new(into, ContentSource::Declassified(from, WHY)))
        .unwrap();
    desk.run(ReplaceContent::new(from, into.into())).unwrap();
}

#[test]
fn an_overlay_reads_as_its_image_and_is_opened_with_it_only() {
    let desk = Desk::new();
    let content = DiskContent::Template(image("/t"));
    made(make(
        &desk,
        "/t/base.raw",
        DiskFormat::Raw,
        Protection::Plain,
        content,
    ));
    let overlay = DiskContent::Overlay(image("/t/base.raw"));
    let facts = made(make(&desk, "/p/v", DiskFormat::Qcow2, desk.luks1(), overlay));
    assert_eq!(facts.base, Some(BaseImage::new("/t/base.raw", DiskFormat::Raw)));
    assert!(holds(&desk, disk(&facts, desk.luks1()), image("/t").into()));
    let alone = Disk::new(&facts.location, facts.format, desk.luks1());
    for base in [None, Some(image("/t/another.raw"))] {
        let read = desk.run(DigestContent::new(alone.on(base)));
        refused(
            read,
            ErrorKind::WrongDisk,
            &["/p/v lies on raw image /t/base.raw"],
        );
    }
    let inspect = InspectDisk::new(&facts.location, facts.format, facts.encryption);
    refused(desk.run(inspect), ErrorKind::WrongDisk, &["/t/base.raw"]);
    let elsewhere = inspect.base_in(Some("/p".as_ref()));
    refused(desk.run(elsewhere), ErrorKind::WrongDisk, &["/t/base.raw"]);
    assert_eq!(desk.disk(inspect.base_in(Some("/t".as_ref()))), facts);
    let raw = make(&desk, "/p/w", DiskFormat::Raw, desk.luks1(), overlay);
    refused(raw, ErrorKind::Unsupported, &["qcow2"]);
    let encrypted = DiskContent::Overlay(image("/p/v"));
    let raw = make(&desk, "/p/w", DiskFormat::Qcow2, desk.luks1(), encrypted);
    refused(raw, ErrorKind::UntrustedImage, &["/p/v"]);
}

#[test]
fn an_overlay_is_flattened_once_and_needs_its_image_until_then() {
    let desk = Desk::new();
    made(make(
        &desk,
        "/t/base.raw",
        DiskFormat::Raw,
        Protection::Plain,
        DiskContent::Blank,
    ));
    let overlay = DiskContent::Overlay(image("/t/base.raw"));
    let [first, second] =
        ["/p/v", "/p/w"].map(|path| made(make(&desk, path, DiskFormat::Qcow2, desk.luks1(), overlay)));
    let before = digest(&desk, disk(&first, desk.luks1()), 4 * MIB);
    for _ in 0..2 {
        let flat = desk.disk(FlattenDisk::new(disk(&first, desk.luks1())));
        assert_eq!(flat.base, None);
        assert_eq!(digest(&desk, disk(&flat, desk.luks1()), 4 * MIB), before);
    }
    desk.run(DeleteDisk::new("/t/base.raw".as_ref())).unwrap();
    let gone = desk.run(DigestContent::new(disk(&second, desk.luks1())));
    refused(gone, ErrorKind::NotFound, &["/t/base.raw"]);
}

#[test]
fn a_shrunk_disk_shows_the_guest_exactly_what_was_asked() {
    let desk = Desk::new();
    for (path, format, header) in [("/p/r", DiskFormat::Raw, 2 * MIB), ("/p/q", DiskFormat::Qcow2, 0)] {
        let facts = made(make(&desk, path, format, desk.luks1(), DiskContent::Blank));
        let kept = digest(&desk, disk(&facts, desk.luks1()), MIB);
        let shrink = |to| ShrinkDisk::new(disk(&facts, desk.luks1()), guest(to));
        let small = desk.disk(shrink(MIB + 512));
        assert_eq!(
            (small.guest.get(), small.device.get()),
            (MIB + 512, MIB + 512 + header)
        );
        assert_eq!(desk.disk(shrink(MIB + 512)), small);
        assert_eq!(digest(&desk, disk(&small, desk.luks1()), MIB), kept);
        refused(
            desk.run(shrink(2 * MIB)),
            ErrorKind::InvalidRequest,
            &[path, "2097152"],
        );
        assert_eq!(desk.inspect(&small), small);
    }
}

#[test]
fn a_digest_is_the_same_for_the_same_content_and_of_no_more_than_there_is() {
    let desk = Desk::new();
    let contents = ["/one", "/one", "/two"].map(|path| DiskContent::Template(image(path)));
    let mut digests = Vec::new();
    for (path, content) in ["/p/a", "/p/b", "/p/c"].into_iter().zip(contents) {
        let facts = made(make(&desk, path, DiskFormat::Qcow2, desk.luks1(), content));
        digests.push(digest(&desk, disk(&facts, desk.luks1()), 4 * MIB));
    }
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0], digests[2]);
    let location = file("/p/a");
    let disk = Disk::new(&location, DiskFormat::Qcow2, desk.luks1());
    let more = DigestContent::new(disk).first(Some(guest(5 * MIB)));
    refused(desk.run(more), ErrorKind::InvalidRequest, &["/p/a has only"]);
}

#[test]
fn the_storage_has_magic_numbers_and_noise_where_a_disk_is_encrypted() {
    let desk = Desk::new();
    let content = DiskContent::Template(image("/t"));
    let stored = |path: &str| desk.node.stored(path.as_ref(), |_| b"canary".repeat(10)).unwrap();
    for (path, format, magic) in [
        ("/p/r", DiskFormat::Raw, &b"LUKS\xba\xbe\0\x01"[..]),
        ("/p/q", DiskFormat::Qcow2, b"QFI\xfb"),
    ] {
        made(make(&desk, path, format, desk.luks1(), content));
        let bytes = stored(path);
        assert!(bytes.starts_with(magic), "{path}");
        assert!(!bytes.windows(6).any(|window| window == b"canary"), "{path}");
    }
    made(make(
        &desk,
        "/p/plain",
        DiskFormat::Raw,
        Protection::Plain,
        content,
    ));
    assert!(stored("/p/plain").starts_with(b"canarycanary"));
    assert_eq!(desk.node.stored("/p/none".as_ref(), |_| Vec::new()), None);
}
