//! LUKS1 keyslots that `cryptsetup` and QEMU write, opened here, and what damage does to them.

use std::fs::File;
use std::io::Cursor;

use strongroom_image::{CostLimit, ImageError, Luks1Header};
use strongroom_secret::Passphrase;
use strongroom_types::PayloadOffset;

use crate::lab::{Lab, succeeds};
use crate::luks1_written::{disk, opened};

fn passphrase(text: &str) -> Passphrase {
    Passphrase::import(text.as_bytes().to_vec().into()).unwrap()
}

/// What the lab's key file holds, and what is in no keyslot.
const KEY: &str = "correct horse";
const NO_KEY: &str = "correct horsf";

#[test]
fn keyslots_of_cryptsetup_open_whatever_their_key_length_and_number() {
    for (bits, slot) in [("256", "0"), ("512", "0"), ("512", "7")] {
        let lab = Lab::new();
        let options = ["--type", "luks1", "--key-size", bits, "--key-slot", slot];
        lab.luks("disk", 4 << 20, &options);
        assert_eq!(
            opened(&lab.arg("disk"), &passphrase(KEY)).unwrap().to_string(),
            slot
        );
        assert!(matches!(
            opened(&lab.arg("disk"), &passphrase(NO_KEY)),
            Err(ImageError::WrongPassphrase)
        ));
    }
}

#[test]
fn a_disk_of_qemu_opens() {
    let lab = Lab::new();
    let (path, secret) = (lab.arg("disk"), format!("secret,id=s,file={}", lab.arg("key")));
    let options = "key-secret=s,iter-time=10";
    let create = [
        "create", "-q", "-f", "luks", "--object", &secret, "-o", options, &path, "4M",
    ];
    succeeds("qemu-img", &create);
    assert_eq!(opened(&path, &passphrase(KEY)).unwrap(), 0);
    assert!(matches!(
        opened(&path, &passphrase(NO_KEY)),
        Err(ImageError::WrongPassphrase)
    ));
}

#[test]
fn other_ciphers_and_hashes_are_said_to_be_unknown_here_and_not_a_wrong_passphrase() {
    for (options, found) in [
        (
            ["--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"],
            "cipher",
        ),
        (["--hash", "sha512", "--key-size", "512"], "hash"),
    ] {
        let lab = Lab::new();
        lab.luks("disk", 4 << 20, &[&["--type", "luks1"][..], &options].concat());
        match opened(&lab.arg("disk"), &passphrase(KEY)) {
            Err(ImageError::Unsupported { field, .. }) => assert_eq!(field, found),
            other => panic!("{options:?}: {other:?}"),
        }
    }
}

#[test]
fn a_header_that_asks_for_too_much_is_not_tried() {
    let lab = Lab::new();
    let (key, path) = disk(&lab, 20_000, PayloadOffset::LUKS1_CRYPTSETUP);
    let try_within = |iterations| {
        let mut limit = CostLimit::default();
        limit.iterations = iterations;
        Luks1Header::opened_by(&mut File::open(&path).unwrap(), &key, &limit)
    };
    assert_eq!(try_within(21_000).unwrap(), 0);
    assert!(matches!(
        try_within(20_999),
        Err(ImageError::Costly { found: 21_000, .. })
    ));
}

#[test]
fn a_disk_cut_off_in_its_key_material_is_an_error() {
    let lab = Lab::new();
    let (key, path) = disk(&lab, 1000, PayloadOffset::LUKS1_CRYPTSETUP);
    let mut bytes = std::fs::read(path).unwrap();
    bytes.truncate(100_000);
    let cut = Luks1Header::opened_by(&mut Cursor::new(&bytes), &key, &CostLimit::default());
    assert!(matches!(cut, Err(ImageError::Truncated { .. })));
}

/// What the key has no part in: the zeros behind names, the payload's place, the UUID, and keyslots that nothing opens.
fn is_free(byte: usize) -> bool {
    matches!(byte, 12..40 | 52..72 | 79..104 | 104..108 | 168..208 | 256..)
}

#[test]
fn no_bit_of_the_header_can_be_flipped_and_the_key_still_opens_it() {
    let lab = Lab::new();
    let (key, path) = disk(&lab, 1000, PayloadOffset::LUKS1_CRYPTSETUP);
    let sound = std::fs::read(path).unwrap();
    let mut limit = CostLimit::default();
    limit.iterations = 4000;
    let mut open = Cursor::new(sound);
    let mut try_with = |at: usize, bit: u8| {
        open.get_mut()[at] ^= bit;
        let found = Luks1Header::opened_by(&mut open, &key, &limit);
        open.get_mut()[at] ^= bit;
        found
    };
    for at in (0..592).filter(|at| !is_free(*at)) {
        // Of digest and salts, all bits are equal, and each costs a key derivation.
        let bits = if matches!(at, 112..164 | 216..248) {
            at % 8..at % 8 + 1
        } else {
            0..8
        };
        for bit in bits.map(|bit| 1 << bit) {
            let found = try_with(at, bit);
            assert!(found.is_err(), "byte {at}, bit {bit:#x}: {found:?}");
        }
    }
    for at in (0..592).filter(|at| is_free(*at)).step_by(7) {
        let found = try_with(at, 1);
        assert!(
            matches!(found, Ok(0) | Err(ImageError::Field { .. })),
            "byte {at}: {found:?}"
        );
    }
    for at in [4096, 4097, 100_000, 4096 + 255_999] {
        assert!(
            matches!(try_with(at, 0x80), Err(ImageError::WrongPassphrase)),
            "{at}"
        );
    }
    assert_eq!(try_with(4096 + 256_000, 1).unwrap(), 0);
}
