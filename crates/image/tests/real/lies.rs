//! Headers that say what cannot be. Each lie is told with everything else right.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use strongroom_image::ImageError;

use crate::lab::{LUKS1, LUKS2, Lab, QCOW2, QCOW2_LUKS, luks1, luks2, qcow2, takes, write};

/// A number as the headers have it.
pub(crate) trait BigEndian {
    fn bytes(self) -> Vec<u8>;
}

impl BigEndian for u32 {
    fn bytes(self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }
}

impl BigEndian for u64 {
    fn bytes(self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }
}

impl BigEndian for &[u8] {
    fn bytes(self) -> Vec<u8> {
        self.to_vec()
    }
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: impl BigEndian) {
    let value = value.bytes();
    bytes[at..at + value.len()].copy_from_slice(&value);
}

/// Makes the checksum of one LUKS2 copy right.
pub(crate) fn sign(copy: &mut [u8]) {
    copy[448..512].fill(0);
    let sum = Sha256::digest(&*copy);
    copy[448..480].copy_from_slice(&sum);
}

/// Whether `qemu-img` opens these bytes.
fn qemu_takes(format: &str, bytes: &[u8]) -> bool {
    let lab = Lab::new();
    write(&lab.path("disk"), bytes);
    takes("qemu-img", &["info", "-f", format, &lab.arg("disk")])
}

#[track_caller]
pub(crate) fn refused(error: ImageError, expected: &str) {
    assert!(error.to_string().contains(expected), "{expected}: {error}");
}

#[test]
fn qcow2_headers_that_lie_are_refused_as_qemu_refuses_them() {
    type Lie = (&'static str, fn(&mut [u8]));
    let lies: [Lie; 31] = [
        ("qcow of an unknown version", |b| put(b, 4, 1u32)),
        ("qcow of an unknown version", |b| put(b, 4, 4u32)),
        ("cluster bits", |b| put(b, 20, 8u32)),
        ("cluster bits", |b| put(b, 20, 22u32)),
        ("cluster bits", |b| put(b, 20, u32::MAX)),
        ("header length", |b| put(b, 100, 96u32)),
        ("header length", |b| put(b, 100, 65_544u32)),
        ("header length", |b| put(b, 100, u32::MAX)),
        ("unknown incompatible features 0x20", |b| put(b, 72, 1u64 << 5)),
        ("unknown incompatible features", |b| put(b, 72, 1u64 << 63)),
        ("crypt method", |b| put(b, 32, 3u32)),
        ("crypt method is LUKS", |b| put(b, 32, 2u32)),
        ("refcount order", |b| put(b, 96, 7u32)),
        ("L1 table", |b| put(b, 36, 0u32)),
        ("L1 table", |b| put(b, 36, 0x40_0001u32)),
        ("L1 table", |b| put(b, 40, 196_609u64)),
        ("refcount table", |b| put(b, 56, 0u32)),
        ("refcount table", |b| put(b, 56, 129u32)),
        ("refcount table", |b| put(b, 48, 65_537u64)),
        ("snapshots", |b| put(b, 60, 65_537u32)),
        ("snapshot table", |b| {
            put(b, 60, 1u32);
            put(b, 64, 1u64);
        }),
        ("size is", |b| put(b, 24, u64::MAX)),
        ("L1 table", |b| put(b, 24, 1u64 << 40)),
        ("backing file's name", |b| put(b, 16, 1024u32)),
        ("backing file's name", |b| put(b, 8, 65_530u64)),
        ("backing file's name", |b| put(b, 8, u64::MAX)),
        ("header extension", |b| put(b, 116, u32::MAX)),
        ("compression type", |b| b[104] = 1),
        ("compression type", |b| put(b, 72, 8u64)),
        ("compression type", |b| {
            b[104] = 2;
            put(b, 72, 8u64);
        }),
        ("cluster bits", |b| {
            put(b, 20, 13u32);
            put(b, 72, 16u64);
        }),
    ];
    assert!(qemu_takes("qcow2", &QCOW2));
    for (number, (expected, lie)) in lies.into_iter().enumerate() {
        let mut bytes = QCOW2.clone();
        lie(&mut bytes);
        refused(qcow2(&bytes).unwrap_err(), expected);
        assert!(
            !qemu_takes("qcow2", &bytes),
            "QEMU takes lie {number}, {expected}"
        );
    }
}

/// QEMU opens these: it looks at tables when it needs them, and takes the last of two extensions.
#[test]
fn qcow2_headers_that_qemu_takes_and_that_lie_all_the_same_are_refused() {
    type Lie = (&'static str, fn(&mut Vec<u8>));
    let lies: [Lie; 9] = [
        ("over no other table", |b| put(b, 40, 65_536u64)),
        ("L1 table", |b| put(b, 40, 0u64)),
        ("L1 table ends at byte", |b| put(b, 40, 1u64 << 40)),
        ("refcount table ends at byte", |b| put(b, 48, 1u64 << 40)),
        ("snapshot table ends at byte", |b| {
            put(b, 60, 1u32);
            put(b, 64, 1u64 << 40);
        }),
        ("header length", |b| put(b, 100, 108u32)),
        ("backing file's name", |b| put(b, 8, 16u64)),
        ("given twice", |b| {
            let format = b[112..128].to_vec();
            put(b, 128, &format[..]);
            put(b, 144, 0u64);
            put(b, 8, 1024u64);
        }),
        ("crypt method is 0", |b| {
            put(b, 112, 0x0537_be77u32);
            put(b, 116, 16u32);
            put(b, 136, 0u64);
            put(b, 8, 1024u64);
        }),
    ];
    for (expected, lie) in lies {
        let mut bytes = QCOW2.clone();
        lie(&mut bytes);
        refused(qcow2(&bytes).unwrap_err(), expected);
    }
}

#[test]
fn pointers_to_a_luks_header_that_lie_are_refused() {
    let sound = qcow2(&QCOW2_LUKS).unwrap().luks.unwrap();
    let at = QCOW2_LUKS
        .windows(4)
        .position(|w| w == 0x0537_be77u32.to_be_bytes())
        .unwrap();
    type Lie = (&'static str, u64, u64);
    let lies: [Lie; 7] = [
        ("LUKS header is at", sound.offset + 512, sound.length),
        ("LUKS header ends at byte", 1 << 40, sound.length),
        ("LUKS header ends at byte", sound.offset, u64::MAX),
        ("LUKS1 header is cut off", sound.offset, 591),
        ("key material", sound.offset, sound.length / 2),
        ("lies behind the first cluster", 0, sound.length),
        ("no LUKS1 header", sound.offset + 65_536, sound.length - 65_536),
    ];
    for (expected, offset, length) in lies {
        let mut bytes = QCOW2_LUKS.clone();
        put(&mut bytes, at + 8, offset);
        put(&mut bytes, at + 16, length);
        refused(qcow2(&bytes).unwrap_err(), expected);
    }
    let mut bytes = QCOW2_LUKS.clone();
    put(&mut bytes, at + 4, 8u32);
    refused(qcow2(&bytes).unwrap_err(), "it has 16 bytes");
}

#[test]
fn luks1_headers_that_lie_are_refused() {
    type Lie = (&'static str, fn(&mut [u8]));
    let lies: [Lie; 19] = [
        ("unknown version", |b| b[7] = 3),
        ("key length", |b| put(b, 108, 0u32)),
        ("key length", |b| put(b, 108, 65u32)),
        ("key length", |b| put(b, 108, u32::MAX)),
        ("iterations of the digest", |b| put(b, 164, 0u32)),
        ("state of a keyslot", |b| put(b, 208, 0u32)),
        ("iterations of a keyslot", |b| put(b, 212, 0u32)),
        ("stripes", |b| put(b, 252, 1u32)),
        ("stripes", |b| put(b, 252, u32::MAX)),
        ("overlaps|behind the header", |b| put(b, 248, 0u32)),
        ("overlaps|behind the header", |b| put(b, 248, 9u32 + 504)),
        ("before the payload", |b| put(b, 248, u32::MAX)),
        ("before the payload", |b| put(b, 104, 1u32)),
        ("key material ends at byte", |b| {
            put(b, 104, u32::MAX);
            put(b, 248, u32::MAX - 2000);
        }),
        ("cipher is", |b| b[8] = 0x1b),
        ("cipher is empty", |b| b[8] = 0),
        ("cipher mode", |b| b[40..72].fill(b'x')),
        ("hash is", |b| b[73] = 0x80),
        ("UUID", |b| b[170] = b'-'),
    ];
    for (expected, lie) in lies {
        let mut bytes = LUKS1.clone();
        lie(&mut bytes);
        let error = luks1(&bytes).unwrap_err().to_string();
        assert!(
            expected.split('|').any(|e| error.contains(e)),
            "{expected}: {error}"
        );
    }
}

/// The first copy alone, with metadata that somebody changed and signed.
pub(crate) fn forged(change: impl FnOnce(&mut Value)) -> Result<strongroom_image::Luks2Header, ImageError> {
    let mut bytes = LUKS2[..16_384].to_vec();
    let json = bytes[4096..].split(|b| *b == 0).next().unwrap();
    let mut metadata = serde_json::from_slice(json).unwrap();
    change(&mut metadata);
    let json = metadata.to_string();
    bytes[4096..].fill(0);
    put(&mut bytes, 4096, json.as_bytes());
    sign(&mut bytes);
    luks2(&bytes)
}

#[test]
fn luks2_metadata_that_lies_is_refused() {
    forged(|_| {}).unwrap();
    type Lie = (&'static str, fn(&mut Value));
    let lies: [Lie; 19] = [
        ("of itself", |m| m["config"]["json_size"] = json!("12289")),
        ("the keyslots have", |m| m["config"]["keyslots_size"] = json!("1")),
        ("the keyslots have", |m| {
            m["config"]["keyslots_size"] = json!("18446744073709547520")
        }),
        ("no number", |m| m["config"]["keyslots_size"] = json!("+4096")),
        ("no number", |m| m["config"]["keyslots_size"] = json!("")),
        ("no number that fits", |m| {
            m["config"]["keyslots_size"] = json!("99999999999999999999")
        }),
        ("wrong kind", |m| m["config"]["keyslots_size"] = json!(4096)),
        ("outside its area", |m| {
            m["keyslots"]["0"]["area"]["offset"] = json!("0")
        }),
        ("outside its area", |m| {
            m["keyslots"]["0"]["area"]["offset"] = json!("18446744073709551615");
        }),
        ("share their place", |m| {
            m["keyslots"]["1"] = m["keyslots"]["0"].clone()
        }),
        ("names what is not there", |m| {
            m["digests"]["0"]["keyslots"] = json!(["7"])
        }),
        ("names what is not there", |m| {
            m["digests"]["0"]["segments"] = json!(["7"])
        }),
        ("does not lie on sectors", |m| {
            m["segments"]["0"]["offset"] = json!("1000")
        }),
        ("does not lie on sectors", |m| {
            m["segments"]["0"]["size"] = json!("0")
        }),
        ("how it is encrypted", |m| {
            m["segments"]["0"].as_object_mut().unwrap().remove("encryption");
        }),
        ("512 to 4096", |m| m["segments"]["0"]["sector_size"] = json!(513)),
        ("more than 32", |m| {
            m["tokens"] = (0..33)
                .map(|n: u32| (n.to_string(), json!({})))
                .collect::<serde_json::Map<_, _>>()
                .into();
        }),
        ("wrong kind", |m| m["keyslots"]["-1"] = m["keyslots"]["0"].clone()),
        ("wrong kind", |m| *m = json!([])),
    ];
    for (expected, lie) in lies {
        refused(forged(lie).unwrap_err(), expected);
    }
}

#[test]
fn luks2_metadata_may_have_what_is_not_known() {
    let header = forged(|m| {
        m["tokens"]["4"] = json!({ "type": "vendor", "keyslots": [], "anything": [1, 2] });
        m["future"] = json!("ignored");
        m["config"]["requirements"] = json!({ "mandatory": ["online-reencrypt-v2"] });
    })
    .unwrap();
    assert_eq!(header.metadata.tokens, 1);
    assert_eq!(header.metadata.requirements, ["online-reencrypt-v2"]);
}

#[test]
fn luks2_headers_that_lie_are_refused() {
    type Lie = (&'static str, fn(&mut [u8]));
    let lies: [Lie; 9] = [
        ("unknown version", |b| b[7] = 3),
        ("header size", |b| put(b, 8, 8192u64)),
        ("header size", |b| put(b, 8, 8u64 << 20)),
        ("header size", |b| put(b, 8, u64::MAX)),
        ("metadata ends at byte", |b| put(b, 8, 4u64 << 20)),
        ("header offset", |b| put(b, 256, 16_384u64)),
        ("checksum algorithm is md5", |b| put(b, 72, &b"md5\0\0\0\0"[..])),
        ("UUID", |b| b[168] = b'x'),
        ("does not end with a zero byte", |b| b[4096..16_384].fill(b' ')),
    ];
    for (expected, lie) in lies {
        let mut bytes = LUKS2[..16_384].to_vec();
        lie(&mut bytes);
        sign(&mut bytes);
        refused(luks2(&bytes).unwrap_err(), expected);
    }
    let mut bytes = LUKS2[..16_384].to_vec();
    bytes[16_383] = b'x';
    sign(&mut bytes);
    refused(luks2(&bytes).unwrap_err(), "something behind it");
}
