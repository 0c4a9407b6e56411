//! LUKS2 against `cryptsetup luksDump`, as text and as JSON.

use serde_json::Value;
use strongroom_image::{
    CostLimit, Disk, ImageError, Luks2Copy, Luks2Header, Luks2Kdf, Luks2Metadata, read_disk,
};

use crate::lab::{LUKS2, Lab, luks2, succeeds};

/// Our reading in the form in which cryptsetup prints the same.
fn as_json(metadata: &Luks2Metadata) -> Value {
    let text = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>();
    let slots = metadata.keyslots.iter().map(|(n, slot)| {
        let kdf = match &slot.kdf {
            Some(Luks2Kdf::Pbkdf2 { hash, iterations }) => {
                serde_json::json!({ "type": "pbkdf2", "hash": hash, "iterations": iterations })
            }
            Some(Luks2Kdf::Argon2 {
                variant,
                passes,
                kibibytes,
                threads,
            }) => {
                serde_json::json!({ "type": variant, "time": passes, "memory": kibibytes, "cpus": threads })
            }
            _ => Value::Null,
        };
        let (offset, size) = (slot.material.start, slot.material.end - slot.material.start);
        let slot = serde_json::json!({
            "type": slot.kind, "key_size": slot.key_bytes, "kdf": kdf, "encryption": slot.encryption,
            "offset": offset.to_string(), "size": size.to_string(),
        });
        (n.to_string(), slot)
    });
    let segments = metadata.segments.iter().map(|(n, segment)| {
        let segment = serde_json::json!({
            "type": segment.kind, "offset": segment.offset.to_string(),
            "size": segment.size.map_or("dynamic".to_owned(), |s| s.to_string()),
            "encryption": segment.encryption, "sector_size": segment.sector_size,
        });
        (n.to_string(), segment)
    });
    let digests = metadata.digests.iter().map(|(n, digest)| {
        let digest = serde_json::json!({
            "keyslots": text(&digest.keyslots), "segments": text(&digest.segments),
            "iterations": digest.iterations,
        });
        (n.to_string(), digest)
    });
    serde_json::json!({
        "keyslots": slots.collect::<serde_json::Map<_, _>>(),
        "segments": segments.collect::<serde_json::Map<_, _>>(),
        "digests": digests.collect::<serde_json::Map<_, _>>(),
        "tokens": metadata.tokens,
        "keyslots_size": metadata.keyslots_size.to_string(),
    })
}

/// What cryptsetup prints, reduced to what we keep.
fn reduced(mut theirs: Value) -> Value {
    for slot in theirs["keyslots"].as_object_mut().unwrap().values_mut() {
        for name in ["offset", "size", "encryption"] {
            slot[name] = slot["area"][name].clone();
        }
        for (object, gone) in [("", &["area", "af", "priority"][..]), ("kdf", &["salt"])] {
            let object = if object.is_empty() {
                &mut *slot
            } else {
                &mut slot[object]
            };
            for name in gone {
                object.as_object_mut().unwrap().remove(*name);
            }
        }
    }
    for segment in theirs["segments"].as_object_mut().unwrap().values_mut() {
        segment.as_object_mut().unwrap().remove("iv_tweak");
    }
    for digest in theirs["digests"].as_object_mut().unwrap().values_mut() {
        for name in ["type", "hash", "salt", "digest"] {
            digest.as_object_mut().unwrap().remove(name);
        }
    }
    theirs["tokens"] = theirs["tokens"].as_object().unwrap().len().into();
    theirs["keyslots_size"] = theirs["config"]["keyslots_size"].clone();
    theirs.as_object_mut().unwrap().remove("config");
    theirs
}

#[track_caller]
fn agrees_with_cryptsetup(ours: &Luks2Header, lab: &Lab, name: &str) {
    let path = lab.arg(name);
    let dump = succeeds("cryptsetup", &["luksDump", &path, "--dump-json-metadata"]).stdout;
    assert_eq!(
        as_json(&ours.metadata),
        reduced(serde_json::from_slice(&dump).unwrap())
    );
    let dump = String::from_utf8(succeeds("cryptsetup", &["luksDump", &path]).stdout).unwrap();
    let said = |label: &str| {
        let found = dump.lines().find_map(|line| line.trim().strip_prefix(label));
        found
            .unwrap_or_else(|| panic!("no {label} in {dump}"))
            .trim()
            .to_owned()
    };
    assert_eq!(said("UUID:"), ours.uuid);
    assert_eq!(said("Epoch:"), ours.sequence.to_string());
    assert_eq!(said("Metadata area:"), format!("{} [bytes]", ours.header_size));
    assert_eq!(said("Label:"), ours.label.as_deref().unwrap_or("(no label)"));
    assert_eq!(
        said("Subsystem:"),
        ours.subsystem.as_deref().unwrap_or("(no subsystem)")
    );
    let whole = Luks2Copy::Whole {
        sequence: ours.sequence,
    };
    assert_eq!((&ours.primary, &ours.secondary), (&whole, &whole));
}

#[test]
fn headers_read_as_cryptsetup_reads_them() {
    for options in [
        &["--pbkdf", "pbkdf2"][..],
        &[
            "--pbkdf",
            "argon2id",
            "--pbkdf-memory",
            "1024",
            "--pbkdf-parallel",
            "2",
        ],
        &[
            "--pbkdf",
            "argon2i",
            "--pbkdf-memory",
            "64",
            "--pbkdf-parallel",
            "1",
        ],
        &[
            "--pbkdf",
            "pbkdf2",
            "-c",
            "aes-cbc-essiv:sha256",
            "-s",
            "128",
            "--sector-size",
            "512",
        ],
        &["--pbkdf", "pbkdf2", "--label", "vault 7", "--subsystem", "cloud"],
        &[
            "--pbkdf",
            "pbkdf2",
            "--luks2-metadata-size",
            "4m",
            "--luks2-keyslots-size",
            "1m",
        ],
        &["--pbkdf", "pbkdf2", "--offset", "65536", "-s", "256"],
    ] {
        let lab = Lab::new();
        let costs: &[&str] = if options[1] == "pbkdf2" {
            &[]
        } else {
            &["--pbkdf-force-iterations", "4"]
        };
        let bytes = lab.luks("disk", 40 << 20, &[&["--type", "luks2"], options, costs].concat());
        let ours = luks2(&bytes).unwrap();
        agrees_with_cryptsetup(&ours, &lab, "disk");
        assert_eq!(ours.metadata.opening_keyslots().count(), 1);
        let offset = ours.payload_offset().unwrap().get();
        assert!(offset >= ours.header_end() && offset < 40 << 20, "{ours:?}");
        assert_eq!(read_disk(lab.path("disk")).unwrap(), Disk::Luks2(Box::new(ours)));
    }
}

#[test]
fn keyslots_and_tokens_that_come_and_go_are_followed() {
    let lab = Lab::new();
    lab.luks("disk", 20 << 20, &["--type", "luks2", "--pbkdf", "pbkdf2"]);
    let (disk, key, other) = (lab.arg("disk"), lab.arg("key"), lab.arg("other"));
    let cost = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "2000"];
    let add = [
        &["luksAddKey", "-q", "-S", "31", "-d", &key],
        &cost[..],
        &[&disk, &other],
    ]
    .concat();
    let token = ["token", "add", "--key-description", "vault", &disk];
    let remove = ["luksKillSlot", "-q", "-d", &other, &disk, "0"];
    for (args, slots, tokens) in [
        (&add[..], &[0, 31][..], 0),
        (&token, &[0, 31], 1),
        (&remove, &[31], 1),
        (&["luksErase", "-q", &disk], &[], 1),
    ] {
        succeeds("cryptsetup", args);
        let ours = luks2(&std::fs::read(&disk).unwrap()).unwrap();
        let found: Vec<_> = ours.metadata.opening_keyslots().map(|(n, _)| n).collect();
        assert_eq!((found, ours.metadata.tokens), (slots.to_vec(), tokens));
        agrees_with_cryptsetup(&ours, &lab, "disk");
    }
}

#[test]
fn the_copy_that_is_whole_counts_and_the_other_is_reported() {
    let sound = luks2(&LUKS2).unwrap();
    for (place, damaged_first) in [(4200, true), (448, true), (16_384 + 4200, false), (0, true)] {
        let mut bytes = LUKS2.clone();
        bytes[place] ^= 1;
        let ours = luks2(&bytes).unwrap();
        let states = [&ours.primary, &ours.secondary];
        assert_eq!(
            states.map(|s| matches!(s, Luks2Copy::Damaged { .. })),
            [damaged_first, !damaged_first],
            "{place}"
        );
        assert_eq!(ours.metadata, sound.metadata);
    }
    let mut bytes = LUKS2.clone();
    bytes[4200] ^= 1;
    bytes[16_384 + 4200] ^= 1;
    let error = luks2(&bytes).unwrap_err();
    assert!(matches!(error, ImageError::NoWholeCopy { .. }), "{error}");
    assert!(error.to_string().contains("checksum"), "{error}");
}

#[test]
fn the_copy_that_was_written_last_counts() {
    let lab = Lab::new();
    let options = ["--type", "luks2", "--pbkdf", "pbkdf2"];
    let old = lab.luks("disk", 20 << 20, &options);
    succeeds("cryptsetup", &["config", "--label", "new", &lab.arg("disk")]);
    let new = std::fs::read(lab.path("disk")).unwrap();
    let mut torn = new.clone();
    torn[..16_384].copy_from_slice(&old[..16_384]);
    let ours = luks2(&torn).unwrap();
    assert_eq!(ours.label.as_deref(), Some("new"));
    torn.copy_from_slice(&new);
    torn[16_384..32_768].copy_from_slice(&old[16_384..32_768]);
    let ours = luks2(&torn).unwrap();
    assert_eq!(ours.label.as_deref(), Some("new"));
    assert_ne!(ours.primary, ours.secondary);
}

#[test]
fn a_lost_first_copy_does_not_make_a_disk_unknown() {
    for metadata in ["16k", "64k", "2m"] {
        let lab = Lab::new();
        let options = [
            "--type",
            "luks2",
            "--pbkdf",
            "pbkdf2",
            "--luks2-metadata-size",
            metadata,
        ];
        let mut bytes = lab.luks("disk", 40 << 20, &options);
        bytes[..4096].fill(0);
        std::fs::write(lab.path("disk"), &bytes).unwrap();
        let found = read_disk(lab.path("disk")).unwrap();
        assert!(
            matches!(&found, Disk::Luks2(h) if matches!(h.primary, Luks2Copy::Damaged { .. })),
            "{metadata}: {found:?}"
        );
    }
}

#[test]
fn costs_beyond_the_limit_are_refused() {
    let lab = Lab::new();
    let options = [
        "--pbkdf",
        "argon2id",
        "--pbkdf-memory",
        "2048",
        "--pbkdf-parallel",
        "1",
    ];
    let forced = ["--pbkdf-force-iterations", "4"];
    let bytes = lab.luks(
        "disk",
        20 << 20,
        &[&["--type", "luks2"], &options[..], &forced].concat(),
    );
    let ours = luks2(&bytes).unwrap();
    ours.check_cost(&CostLimit::default()).unwrap();
    let mut limit = CostLimit::default();
    limit.kibibytes = 2047;
    let error = ours.check_cost(&limit).unwrap_err();
    assert_eq!(
        error.to_string(),
        "keyslot 0 asks for 2048 KiB of memory, more than 2047; refusing to compute it"
    );
    let mut limit = CostLimit::default();
    limit.passes = 3;
    assert!(matches!(
        ours.check_cost(&limit),
        Err(ImageError::Costly { found: 4, .. })
    ));
}
