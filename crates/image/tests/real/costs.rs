//! Headers that ask for more work than a caller allows, in one place or in all together.

use serde_json::json;
use strongroom_image::CostLimit;

use crate::lab::{LUKS1, QCOW2_LUKS, luks1, qcow2};
use crate::lies::{forged, put, refused};

#[test]
fn iteration_bombs_are_read_and_refused_by_policy() {
    let mut bytes = LUKS1.clone();
    put(&mut bytes, 212, u32::MAX);
    let header = luks1(&bytes).unwrap();
    refused(
        header.check_cost(&CostLimit::default()).unwrap_err(),
        "keyslot 0 asks for 4294967295 iterations of PBKDF2",
    );
    // What a disabled slot says is never computed.
    put(&mut bytes, 208, 0x0000_DEADu32);
    luks1(&bytes).unwrap().check_cost(&CostLimit::default()).unwrap();
    put(&mut bytes, 164, u32::MAX);
    let header = luks1(&bytes).unwrap();
    refused(header.check_cost(&CostLimit::default()).unwrap_err(), "digest");
    let mut image = QCOW2_LUKS.clone();
    let at = qcow2(&image).unwrap().luks.unwrap().offset as usize;
    put(&mut image, at + 212, u32::MAX);
    let header = qcow2(&image).unwrap();
    refused(header.check_cost(&CostLimit::default()).unwrap_err(), "keyslot 0");
}

#[test]
fn what_is_within_the_limit_in_each_keyslot_counts_together() {
    let mut bytes = LUKS1.clone();
    for slot in 0..8 {
        put(&mut bytes, 208 + slot * 48, 0x00AC_71F3u32);
        put(&mut bytes, 212 + slot * 48, 99_000_000u32);
    }
    refused(
        luks1(&bytes)
            .unwrap()
            .check_cost(&CostLimit::default())
            .unwrap_err(),
        "one try on every keyslot asks for 198008000 iterations of PBKDF2, more than 100000000",
    );
    // The digest is computed for each of them.
    for slot in 0..8 {
        put(&mut bytes, 212 + slot * 48, 1000u32);
    }
    put(&mut bytes, 164, 12_499_000u32);
    luks1(&bytes).unwrap().check_cost(&CostLimit::default()).unwrap();
    put(&mut bytes, 164, 12_499_001u32);
    refused(
        luks1(&bytes)
            .unwrap()
            .check_cost(&CostLimit::default())
            .unwrap_err(),
        "one try on every keyslot asks for 100000008 iterations of PBKDF2",
    );
    let header = forged(|m| {
        m["keyslots"]["0"]["kdf"]["iterations"] = json!(60_000_000);
        m["digests"]["0"]["iterations"] = json!(60_000_000);
    })
    .unwrap();
    refused(
        header.check_cost(&CostLimit::default()).unwrap_err(),
        "one try on every keyslot asks for 120000000 iterations of PBKDF2",
    );
}

#[test]
fn argon2_of_all_keyslots_counts_together() {
    let header = |slots: usize| {
        forged(|m| {
            let mut slot = m["keyslots"]["0"].clone();
            slot["key_size"] = json!(1);
            slot["area"]["key_size"] = json!(1);
            slot["area"]["size"] = json!("4096");
            slot["kdf"] = json!({ "type": "argon2id", "time": 51, "memory": 4 << 20, "cpus": 4, "salt": slot["kdf"]["salt"] });
            for number in 0..slots {
                slot["area"]["offset"] = json!((32_768 + 4096 * number).to_string());
                m["keyslots"][number.to_string()] = slot.clone();
            }
        })
        .unwrap()
    };
    header(1).check_cost(&CostLimit::default()).unwrap();
    refused(
        header(2).check_cost(&CostLimit::default()).unwrap_err(),
        "one try on every keyslot asks for 427819008 KiB that Argon2 goes over, more than 419430400",
    );
}
