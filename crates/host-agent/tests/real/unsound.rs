//! Headers that say less, or something else, than an encrypted disk's should.

use std::fs;

use sha2::{Digest, Sha256};
use strongroom_endpoint_selector::{EraseKeyslots, ErrorKind, Protection};
use strongroom_types::{DiskFormat, EncryptionFormat};

use crate::bench::Bench;

fn luks2(bench: &Bench) -> Protection<'_> {
    Protection::Luks {
        format: EncryptionFormat::Luks2,
        key: &bench.key,
    }
}

/// Says in both copies of a LUKS2 header that its payload has this cipher, with checksums that are right.
fn say_in_luks2(bytes: &mut [u8], cipher: &str) {
    for copy in bytes[..32 << 10].chunks_exact_mut(16 << 10) {
        let json = copy[4096..].split(|b| *b == 0).next().unwrap();
        let mut metadata: serde_json::Value = serde_json::from_slice(json).unwrap();
        metadata["segments"]["0"]["encryption"] = cipher.into();
        let json = metadata.to_string();
        copy[4096..].fill(0);
        copy[4096..4096 + json.len()].copy_from_slice(json.as_bytes());
        copy[448..512].fill(0);
        let sum = Sha256::digest(&*copy);
        copy[448..480].copy_from_slice(&sum);
    }
}

#[test]
fn a_disk_whose_cipher_hides_nothing_is_not_proved() {
    let bench = Bench::new();
    for cipher in [
        "cipher_null-ecb",
        "aes-ecb",
        "aes-cbc-plain",
        "des3_ede-cbc-plain64",
    ] {
        let (name, mode) = cipher.split_once('-').unwrap();
        for (format, protection) in [
            (DiskFormat::Raw, bench.luks()),
            (DiskFormat::Qcow2, bench.luks()),
            (DiskFormat::Raw, luks2(&bench)),
        ] {
            bench.create("disk", format, 1 << 20, protection).unwrap();
            let mut bytes = fs::read(bench.path("disk")).unwrap();
            if protection.format() == Some(EncryptionFormat::Luks2) {
                say_in_luks2(&mut bytes, cipher);
            } else {
                let luks = bytes.windows(6).position(|w| w == b"LUKS\xba\xbe").unwrap();
                bytes[luks + 8..luks + 72].fill(0);
                bytes[luks + 8..luks + 8 + name.len()].copy_from_slice(name.as_bytes());
                bytes[luks + 40..luks + 40 + mode.len()].copy_from_slice(mode.as_bytes());
            }
            fs::write(bench.path("disk"), bytes).unwrap();
            let refused = bench.verify(&bench.at("disk"), format, protection).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::WrongDisk, "{refused}");
            assert!(refused.message().contains(cipher), "{refused}");
            fs::remove_file(bench.path("disk")).unwrap();
        }
    }
}

#[test]
fn a_luks2_disk_whose_first_header_is_lost_is_erased() {
    let bench = Bench::new();
    bench
        .create("disk", DiskFormat::Raw, 1 << 20, luks2(&bench))
        .unwrap();
    let mut bytes = fs::read(bench.path("disk")).unwrap();
    bytes[..4096].fill(0);
    fs::write(bench.path("disk"), &bytes).unwrap();
    bench
        .verify(&bench.at("disk"), DiskFormat::Raw, luks2(&bench))
        .unwrap();
    fs::write(bench.path("disk"), &bytes).unwrap();
    bench
        .run(EraseKeyslots::new(&bench.at("disk"), DiskFormat::Raw))
        .unwrap();
    let erased = bench
        .verify(&bench.at("disk"), DiskFormat::Raw, luks2(&bench))
        .unwrap_err();
    assert_eq!(erased.kind(), ErrorKind::WrongKey, "{erased}");
    assert!(erased.message().contains("no active keyslot"), "{erased}");
}

#[test]
fn an_erased_disk_is_said_to_have_no_keyslot_and_not_to_have_another_key() {
    let bench = Bench::new();
    for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
        bench.create("disk", format, 1 << 20, bench.luks()).unwrap();
        bench.run(EraseKeyslots::new(&bench.at("disk"), format)).unwrap();
        let erased = bench.verify(&bench.at("disk"), format, bench.luks()).unwrap_err();
        assert_eq!(erased.kind(), ErrorKind::WrongKey, "{erased}");
        assert!(erased.message().contains("no active keyslot"), "{erased}");
        fs::remove_file(bench.path("disk")).unwrap();
    }
}
