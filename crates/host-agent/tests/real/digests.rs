//! The digest of what a guest reads.

use std::fs;

use strongroom_endpoint_selector::{
    CreateDisk, DigestContent, Disk, DiskContent, ErrorKind, HostAnswer, Protection, VerifyDisk,
};
use strongroom_secret::Passphrase;
use strongroom_types::{DiskFormat, EncryptionFormat};

use crate::bench::{Bench, LUKS1, pattern, raw, size};
use crate::canary::{digest, only_in, sha256sum};

const MIB: u64 = 1 << 20;

#[test]
fn it_is_that_of_the_content_whatever_the_disk_is() {
    let bench = Bench::new();
    // Longer than a window, with zeros that are written, and with holes.
    let mut bytes = crate::canary::content(20 << 20);
    bytes[3 << 20..5 << 20].fill(0);
    bytes.truncate((20 << 20) - 512);
    fs::write(bench.path("file"), &bytes).unwrap();
    let (file, path) = (bench.path("file"), bench.path("disk"));
    let sum = sha256sum(&file);
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        for protection in [Protection::Plain, bench.luks()] {
            let guest = size(bytes.len() as u64);
            let content = DiskContent::Template(raw(&file));
            bench.disk(CreateDisk::new(&path, format, guest, protection, content));
            let location = bench.at("disk");
            let disk = Disk::new(&location, format, protection);
            assert_eq!(digest(&bench, disk), sum, "{format} {protection:?}");
            for first in [512, 3 * MIB + 512, 16 * MIB, 17 * MIB] {
                let part = bench.path("part");
                fs::write(&part, &bytes[..first as usize]).unwrap();
                let HostAnswer::Digest(found) = bench
                    .run(DigestContent::new(disk).first(Some(size(first))))
                    .unwrap()
                else {
                    panic!("not a digest")
                };
                assert_eq!(found.bytes, size(first));
                assert_eq!(found.to_string(), sha256sum(&part), "{format} {first}");
                fs::remove_file(&part).unwrap();
            }
            let more = DigestContent::new(disk).first(Some(size(20 * MIB)));
            let refused = bench.run(more).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidRequest, "{refused}");
            if protection.key().is_some() {
                only_in(&bench, &["file"]);
            }
            fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn a_large_disk_with_little_on_it_is_not_read() {
    let bench = Bench::new();
    // Reading 64 GiB would take minutes; hashing them does too, so only the first part is hashed.
    for protection in [Protection::Plain, bench.luks()] {
        bench
            .create("disk", DiskFormat::Qcow2, 64 << 30, protection)
            .unwrap();
        let location = bench.at("disk");
        let disk = Disk::new(&location, DiskFormat::Qcow2, protection);
        let before = fs::metadata(location.path()).unwrap();
        let command = DigestContent::new(disk).first(Some(size(32 * MIB)));
        let HostAnswer::Digest(found) = bench.run(command).unwrap() else {
            panic!("not a digest")
        };
        let zeros = bench.path("zeros");
        fs::File::create(&zeros).unwrap().set_len(32 * MIB).unwrap();
        assert_eq!(found.to_string(), sha256sum(&zeros));
        assert_eq!(fs::metadata(location.path()).unwrap().len(), before.len());
        fs::remove_file(location.path()).unwrap();
    }
}

#[test]
fn content_in_many_pieces_is_hashed_in_order() {
    let bench = Bench::new();
    let mut bytes = vec![0; 8 << 20];
    for (number, block) in bytes.chunks_mut(128 << 10).enumerate() {
        block[..64 << 10].copy_from_slice(&pattern(64 << 10));
        block[..8].copy_from_slice(&number.to_le_bytes());
    }
    fs::write(bench.path("file"), &bytes).unwrap();
    let (file, path) = (bench.path("file"), bench.path("disk"));
    let content = DiskContent::Template(raw(&file));
    bench.disk(CreateDisk::new(
        &path,
        DiskFormat::Qcow2,
        size(8 * MIB),
        bench.luks(),
        content,
    ));
    let location = bench.at("disk");
    let disk = Disk::new(&location, DiskFormat::Qcow2, bench.luks());
    assert_eq!(digest(&bench, disk), sha256sum(&file));
    bench.run(VerifyDisk::new(disk)).unwrap();
}

#[test]
fn no_digest_without_the_key_or_of_what_qemu_does_not_open_or_of_what_is_being_written() {
    let bench = Bench::new();
    let luks2 = Protection::Luks {
        format: EncryptionFormat::Luks2,
        key: &bench.key,
    };
    bench.create("luks2", DiskFormat::Raw, MIB, luks2).unwrap();
    bench
        .create("disk", DiskFormat::Qcow2, MIB, bench.luks())
        .unwrap();
    let other = Passphrase::generate().unwrap();
    let wrong = Protection::Luks {
        format: LUKS1,
        key: &other,
    };
    let (disk, odd) = (bench.at("disk"), bench.at("luks2"));
    for (disk, kind) in [
        (Disk::new(&disk, DiskFormat::Qcow2, wrong), ErrorKind::WrongKey),
        (
            Disk::new(&disk, DiskFormat::Qcow2, Protection::Plain),
            ErrorKind::WrongDisk,
        ),
        (Disk::new(&odd, DiskFormat::Raw, luks2), ErrorKind::Unsupported),
    ] {
        let refused = bench.run(DigestContent::new(disk)).unwrap_err();
        assert_eq!(refused.kind(), kind, "{refused}");
    }
    let right = Disk::new(&disk, DiskFormat::Qcow2, bench.luks());
    let busy = bench.while_qemu_has_open("disk", || bench.run(DigestContent::new(right)).unwrap_err());
    assert_eq!(busy.kind(), ErrorKind::Busy, "{busy}");
}
