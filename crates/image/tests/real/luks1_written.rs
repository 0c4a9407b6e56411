//! LUKS1 headers that this crate writes, as `cryptsetup` and QEMU see them.

use std::fs::File;
use std::io::{Cursor, Read};

use strongroom_image::{CostLimit, ImageError, Luks1Format, Luks1Header};
use strongroom_secret::Passphrase;
use strongroom_types::PayloadOffset;

use crate::lab::{Lab, luks1, succeeds, tool, write};
use crate::luks1::{agrees_with_cryptsetup, agrees_with_qemu};

const GUEST: u64 = 4 << 20;
const UUID: u128 = 0x0123_4567_89ab_4def_8123_4567_89ab_cdef;

/// A disk with a header of ours, and the file with its key.
pub(crate) fn disk(lab: &Lab, iterations: u32, payload: PayloadOffset) -> (Passphrase, String) {
    let key = Passphrase::generate().unwrap();
    write(&lab.path("ours"), key.expose_secret());
    let path = lab.sparse("disk", payload.get() + GUEST);
    let mut file = File::options().read(true).write(true).open(&path).unwrap();
    let format = Luks1Format::new(UUID.to_be_bytes(), iterations, payload).unwrap();
    format.write(&mut file, &key).unwrap();
    (key, path)
}

fn usual(lab: &Lab) -> (Passphrase, String) {
    disk(lab, 1000, PayloadOffset::LUKS1_CRYPTSETUP)
}

pub(crate) fn opened(path: &str, key: &Passphrase) -> Result<usize, ImageError> {
    Luks1Header::opened_by(&mut File::open(path).unwrap(), key, &CostLimit::default())
}

pub(crate) fn tries(path: &str, key: &str) -> i32 {
    let args = [
        "open",
        "--test-passphrase",
        "--batch-mode",
        "--type",
        "luks1",
        "--key-file",
        key,
        path,
    ];
    tool("cryptsetup", &args).code
}

#[test]
fn cryptsetup_and_qemu_read_and_open_what_is_written_here() {
    let far = PayloadOffset::new(8 << 20).unwrap();
    let end = PayloadOffset::new(Luks1Format::HEADER_END).unwrap();
    for (iterations, payload) in [
        (1000, PayloadOffset::LUKS1_CRYPTSETUP),
        (1001, end),
        (20_000, far),
    ] {
        let lab = Lab::new();
        let (key, path) = disk(&lab, iterations, payload);
        let header = luks1(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(header.uuid, "01234567-89ab-4def-8123-456789abcdef");
        assert_eq!(header.payload_offset, payload);
        assert_eq!(header.keyslots[0].iterations, iterations);
        assert_eq!(header.active_keyslots(), 1);
        let dump = succeeds("cryptsetup", &["luksDump", &path]);
        agrees_with_cryptsetup(&header, &String::from_utf8(dump.stdout).unwrap());
        let info = lab.info("luks", "disk");
        assert_eq!(info["virtual-size"], GUEST);
        agrees_with_qemu(&header, &info["format-specific"]["data"]);

        assert_eq!(tries(&path, &lab.arg("ours")), 0);
        assert_eq!(tries(&path, &lab.arg("other")), 2);
        assert_eq!(opened(&path, &key).unwrap(), 0);
        let another = Passphrase::generate().unwrap();
        assert!(matches!(
            opened(&path, &another),
            Err(ImageError::WrongPassphrase)
        ));
    }
}

#[test]
fn the_layout_is_that_of_cryptsetup() {
    let lab = Lab::new();
    let (_, path) = usual(&lab);
    let ours = luks1(&std::fs::read(path).unwrap()).unwrap();
    let options = ["--type", "luks1", "--key-size", "512", "--hash", "sha256"];
    let mut theirs = luks1(&lab.luks("theirs", 8 << 20, &options)).unwrap();
    theirs.uuid.clone_from(&ours.uuid);
    assert_eq!(ours, theirs);
}

#[test]
fn data_that_qemu_writes_behind_the_header_comes_back_and_lies_there_encrypted() {
    let lab = Lab::new();
    let (_, path) = usual(&lab);
    let content: Vec<u8> = b"canary in a coal mine. "
        .iter()
        .copied()
        .cycle()
        .take(GUEST as usize)
        .collect();
    write(&lab.path("content"), &content);
    let secret = format!("secret,id=s,file={}", lab.arg("ours"));
    let opened = format!("driver=luks,key-secret=s,file.driver=file,file.filename={path}");
    let (plain, back) = (lab.arg("content"), lab.arg("back"));
    let base = ["convert", "--object", &secret];
    succeeds(
        "qemu-img",
        &[
            &base[..],
            &["-n", "-f", "raw", &plain, "--target-image-opts", &opened],
        ]
        .concat(),
    );
    succeeds(
        "qemu-img",
        &[&base[..], &["--image-opts", &opened, "-O", "raw", &back]].concat(),
    );
    assert!(std::fs::read(&back).unwrap() == content);
    let raw = std::fs::read(&path).unwrap();
    assert!(!raw.windows(6).any(|bytes| bytes == b"canary"));
}

#[test]
fn cryptsetup_adds_a_key_and_removes_the_first_one() {
    let lab = Lab::new();
    let (key, path) = usual(&lab);
    let second = Passphrase::generate().unwrap();
    write(&lab.path("second"), second.expose_secret());
    let (first, new) = (lab.arg("ours"), lab.arg("second"));
    let add = [
        "luksAddKey",
        "--batch-mode",
        "--pbkdf-force-iterations",
        "1000",
        "--key-file",
        &first,
        &path,
        &new,
    ];
    succeeds("cryptsetup", &add);
    assert_eq!(opened(&path, &key).unwrap(), 0);
    assert_eq!(opened(&path, &second).unwrap(), 1);
    succeeds(
        "cryptsetup",
        &["luksRemoveKey", "--batch-mode", "--key-file", &first, &path],
    );
    assert!(matches!(opened(&path, &key), Err(ImageError::WrongPassphrase)));
    assert_eq!(opened(&path, &second).unwrap(), 1);
    succeeds("cryptsetup", &["luksErase", "--batch-mode", &path]);
    assert!(matches!(opened(&path, &second), Err(ImageError::NoKeyslot)));
}

#[test]
fn no_two_headers_have_a_salt_or_key_material_in_common() {
    let format = Luks1Format::new(UUID.to_be_bytes(), 1000, PayloadOffset::LUKS1_CRYPTSETUP).unwrap();
    let key = Passphrase::generate().unwrap();
    let [one, two] = [(); 2].map(|()| {
        let mut disk = Cursor::new(Vec::new());
        format.write(&mut disk, &key).unwrap();
        disk.into_inner()
    });
    // Digest and its salt, salt of the keyslot, key material.
    for (from, to) in [(112, 132), (132, 164), (216, 248), (4096, 4096 + 256_000)] {
        for (one, two) in one[from..to].chunks_exact(16).zip(two[from..to].chunks_exact(16)) {
            assert_ne!(one, two);
        }
    }
    assert_eq!(one.len(), 4096 + 256_000);
}

#[test]
fn what_was_in_the_first_page_is_overwritten_and_nothing_behind_the_first_keyslot() {
    let format = Luks1Format::new(UUID.to_be_bytes(), 1000, PayloadOffset::LUKS1_CRYPTSETUP).unwrap();
    let mut disk = Cursor::new(vec![0xa5; 3 << 20]);
    format.write(&mut disk, &Passphrase::generate().unwrap()).unwrap();
    let disk = disk.into_inner();
    assert!(disk[592..4096].iter().all(|byte| *byte == 0));
    assert!(disk[4096 + 256_000..].iter().all(|byte| *byte == 0xa5));
    assert_eq!(disk.len(), 3 << 20);
    let mut material = Vec::new();
    disk[4096..4096 + 256_000]
        .take(256_000)
        .read_to_end(&mut material)
        .unwrap();
    assert!(!material.windows(16).any(|bytes| bytes == [0xa5; 16]));
}
