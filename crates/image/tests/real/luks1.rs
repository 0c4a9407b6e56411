//! LUKS1 against `cryptsetup luksDump` and `qemu-img info`.

use serde_json::Value;
use strongroom_image::{Disk, Luks1Header, read_disk};

use crate::lab::{Lab, luks1, succeeds};

/// What `cryptsetup luksDump` prints behind a label; the first of several.
fn said<'d>(dump: &'d str, label: &str) -> &'d str {
    let found = dump.lines().find_map(|line| line.trim().strip_prefix(label));
    found.unwrap_or_else(|| panic!("no {label} in {dump}")).trim()
}

#[track_caller]
pub(crate) fn agrees_with_cryptsetup(ours: &Luks1Header, dump: &str) {
    assert_eq!(ours.cipher, said(dump, "Cipher name:"));
    assert_eq!(ours.mode, said(dump, "Cipher mode:"));
    assert_eq!(ours.hash, said(dump, "Hash spec:"));
    assert_eq!(
        (ours.payload_offset.get() / 512).to_string(),
        said(dump, "Payload offset:")
    );
    assert_eq!((ours.key_bytes * 8).to_string(), said(dump, "MK bits:"));
    assert_eq!(ours.digest_iterations.to_string(), said(dump, "MK iterations:"));
    assert_eq!(ours.uuid, said(dump, "UUID:"));
    let (_, slots) = dump.split_once("Key Slot 0:").unwrap();
    let slots: Vec<_> = slots.split("Key Slot ").collect();
    assert_eq!(slots.len(), ours.keyslots.len());
    for (slot, text) in ours.keyslots.iter().zip(slots) {
        assert_eq!(slot.active, text.contains("ENABLED"), "{text}");
        if slot.active {
            assert_eq!(slot.iterations.to_string(), said(text, "Iterations:"));
            assert_eq!(
                (slot.material.start / 512).to_string(),
                said(text, "Key material offset:")
            );
        }
    }
}

/// Compares with the part of `qemu-img info` that describes LUKS.
#[track_caller]
pub(crate) fn agrees_with_qemu(ours: &Luks1Header, theirs: &Value) {
    let bits = match ours.mode.split_once('-') {
        Some(("xts", _)) => ours.key_bytes * 4,
        _ => ours.key_bytes * 8,
    };
    assert_eq!(theirs["cipher-alg"], format!("{}-{bits}", ours.cipher));
    let mut mode = vec![theirs["cipher-mode"].as_str().unwrap().to_owned()];
    mode.push(match theirs["ivgen-hash-alg"].as_str() {
        Some(hash) => format!("{}:{hash}", theirs["ivgen-alg"].as_str().unwrap()),
        None => theirs["ivgen-alg"].as_str().unwrap().to_owned(),
    });
    assert_eq!(ours.mode, mode.join("-"));
    assert_eq!(theirs["hash-alg"], ours.hash);
    assert_eq!(theirs["uuid"], ours.uuid);
    assert_eq!(theirs["payload-offset"], ours.payload_offset.get());
    assert_eq!(theirs["master-key-iters"], ours.digest_iterations);
    for (slot, theirs) in ours.keyslots.iter().zip(theirs["slots"].as_array().unwrap()) {
        assert_eq!(theirs["active"], slot.active);
        assert_eq!(theirs["key-offset"], slot.material.start);
        if slot.active {
            assert_eq!(theirs["iters"], slot.iterations);
            assert_eq!(theirs["stripes"], 4000);
        }
    }
}

#[test]
fn headers_of_cryptsetup_read_as_both_tools_read_them() {
    for options in [
        &[][..],
        &["-c", "aes-xts-plain64", "-s", "256"],
        &["-c", "aes-cbc-essiv:sha256", "-s", "128", "-h", "sha512"],
        &["-h", "sha1"],
        &["--offset", "8192"],
        &["-c", "aes-cbc-essiv:sha256", "-s", "192", "--offset", "4096"],
    ] {
        let lab = Lab::new();
        let bytes = lab.luks("disk", 6 << 20, &[&["--type", "luks1"], options].concat());
        let ours = luks1(&bytes).unwrap();
        let dump = succeeds("cryptsetup", &["luksDump", &lab.arg("disk")]).stdout;
        agrees_with_cryptsetup(&ours, &String::from_utf8(dump).unwrap());
        let info = lab.info("luks", "disk");
        agrees_with_qemu(&ours, &info["format-specific"]["data"]);
        assert_eq!(info["virtual-size"], (6 << 20) - ours.payload_offset.get());
        assert_eq!(read_disk(lab.path("disk")).unwrap(), Disk::Luks1(Box::new(ours)));
    }
}

#[test]
fn keyslots_that_come_and_go_are_followed() {
    let lab = Lab::new();
    let disk = lab.arg("disk");
    lab.luks("disk", 4 << 20, &["--type", "luks1"]);
    let (key, other) = (lab.arg("key"), lab.arg("other"));
    let fast = ["--pbkdf-force-iterations", "2000"];
    let add = [
        &["luksAddKey", "-q", "-S", "5", "-d", &key],
        &fast[..],
        &[&disk, &other],
    ]
    .concat();
    let remove = ["luksKillSlot", "-q", "-d", &other, &disk, "0"];
    let erase = ["luksErase", "-q", &disk];
    for (args, active) in [(&add[..], &[0, 5][..]), (&remove, &[5]), (&erase, &[])] {
        succeeds("cryptsetup", args);
        let ours = luks1(&std::fs::read(&disk).unwrap()).unwrap();
        let found: Vec<_> = (0..8).filter(|n| ours.keyslots[*n].active).collect();
        assert_eq!(found, active);
        assert_eq!(ours.active_keyslots(), active.len());
        let dump = succeeds("cryptsetup", &["luksDump", &disk]).stdout;
        agrees_with_cryptsetup(&ours, &String::from_utf8(dump).unwrap());
    }
}

#[test]
fn a_disabled_record_is_what_cryptsetup_writes() {
    let lab = Lab::new();
    let before = luks1(&lab.luks("disk", 4 << 20, &["--type", "luks1"])).unwrap();
    succeeds("cryptsetup", &["luksErase", "-q", &lab.arg("disk")]);
    let after = std::fs::read(lab.path("disk")).unwrap();
    for slot in &before.keyslots {
        let record = slot.record.start as usize..slot.record.end as usize;
        assert_eq!(after[record], slot.disabled_record());
    }
}

#[test]
fn detached_headers_and_backups_read_too() {
    let lab = Lab::new();
    let (header, data) = (lab.sparse("header", 4 << 20), lab.sparse("data", 1 << 20));
    let key = lab.arg("key");
    let fast = ["--pbkdf-force-iterations", "1000", "--type", "luks1"];
    let args = [
        &["luksFormat", "-q", "--header", &header],
        &fast[..],
        &[&data, &key],
    ]
    .concat();
    succeeds("cryptsetup", &args);
    let detached = luks1(&std::fs::read(&header).unwrap()).unwrap();
    assert_eq!(detached.payload_offset.get(), 0);
    assert_eq!(detached.active_keyslots(), 1);
    let whole = luks1(&lab.luks("disk", 4 << 20, &["--type", "luks1"])).unwrap();
    let (disk, backup) = (lab.arg("disk"), lab.arg("backup"));
    succeeds(
        "cryptsetup",
        &["luksHeaderBackup", &disk, "--header-backup-file", &backup],
    );
    assert_eq!(luks1(&std::fs::read(&backup).unwrap()).unwrap(), whole);
}

#[test]
fn headers_of_qemu_read_as_both_tools_read_them() {
    let lab = Lab::new();
    let secret = format!("secret,id=key,file={}", lab.arg("key"));
    let disk = lab.arg("disk");
    let options = "key-secret=key,iter-time=10,cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,\
                   ivgen-hash-alg=sha256,hash-alg=sha1";
    let serpent = "key-secret=key,iter-time=10,cipher-alg=serpent-256,cipher-mode=xts,hash-alg=sha512";
    for options in ["key-secret=key,iter-time=10", options, serpent] {
        let create = [
            "create", "-q", "-f", "luks", "--object", &secret, "-o", options, &disk, "1M",
        ];
        succeeds("qemu-img", &create);
        let ours = luks1(&std::fs::read(&disk).unwrap()).unwrap();
        let dump = succeeds("cryptsetup", &["luksDump", &disk]).stdout;
        agrees_with_cryptsetup(&ours, &String::from_utf8(dump).unwrap());
        agrees_with_qemu(&ours, &lab.info("luks", "disk")["format-specific"]["data"]);
    }
}
