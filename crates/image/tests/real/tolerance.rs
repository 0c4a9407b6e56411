//! A changed header that our readers take is one that the tools take too: they never know better.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::lab::{LUKS1, LUKS2, Lab, QCOW2, QCOW2_LUKS, luks1, luks2, qcow2, takes, write};

/// How many headers are changed in one byte each.
const CASES: u32 = 150;

/// Changes single bytes at `places` and returns how many headers were taken by us and by the tool.
fn compare(
    sound: &[u8],
    places: impl Strategy<Value = usize>,
    ours: impl Fn(&[u8]) -> bool,
    arguments: &[&str],
) -> (u32, u32) {
    let lab = Lab::new();
    let path = lab.arg("disk");
    let (name, before) = arguments.split_first().unwrap();
    let arguments = [before, &[&path]].concat();
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(
        Config {
            cases: CASES,
            failure_persistence: None,
            ..Config::default()
        },
        rng,
    );
    let taken = std::cell::Cell::new((0, 0));
    runner
        .run(&(places, 1u8..=255), |(place, change)| {
            let mut bytes = sound.to_vec();
            bytes[place] ^= change;
            write(&lab.path("disk"), &bytes);
            let (we, they) = (ours(&bytes), takes(name, &arguments));
            prop_assert!(
                they || !we,
                "we take byte {place} changed by {change:#x}, {name} does not"
            );
            let (both, theirs) = taken.get();
            taken.set((both + u32::from(we), theirs + u32::from(they)));
            Ok(())
        })
        .unwrap();
    taken.get()
}

/// The comparison says nothing unless both answers occur.
#[track_caller]
fn both_answers_occur((ours, theirs): (u32, u32)) {
    assert!(
        ours > 0 && theirs >= ours && theirs < CASES,
        "{ours} and {theirs} of {CASES}"
    );
}

#[test]
fn what_we_take_as_qcow2_qemu_takes() {
    let info = ["qemu-img", "info", "-f", "qcow2"];
    both_answers_occur(compare(&QCOW2, 0usize..160, |b| qcow2(b).is_ok(), &info));
    // Behind the pointer are names of features, which nobody checks.
    let places = prop_oneof![0usize..136, 196_608usize..196_609];
    both_answers_occur(compare(&QCOW2_LUKS, places, |b| qcow2(b).is_ok(), &info));
}

#[test]
fn what_we_take_as_luks1_both_tools_take() {
    // Names of algorithms are not looked up by us, salts and digests are nobody's business, and only QEMU looks whether the disk
    // reaches as far as the payload offset, and whether the key has a length of the cipher.
    let places = || prop_oneof![0usize..8, 164usize..168, 208usize..592];
    let qemu = ["qemu-img", "info", "-f", "luks"];
    both_answers_occur(compare(&LUKS1, places(), |b| luks1(b).is_ok(), &qemu));
    let cryptsetup = ["cryptsetup", "luksDump", "--type", "luks1"];
    both_answers_occur(compare(&LUKS1, places(), |b| luks1(b).is_ok(), &cryptsetup));
}

/// QEMU keeps whole pages for the key material of each slot, and takes nothing that would share one.
#[test]
fn key_material_that_is_moved_is_taken_as_qemu_takes_it() {
    let lab = Lab::new();
    let taken: Vec<Vec<bool>> = (0..8)
        .map(|slot| {
            let place = 208 + slot * 48 + 40;
            let sector = u32::from_be_bytes(LUKS1[place..place + 4].try_into().unwrap());
            let moved = [-1i32, 1, 4, 5, 6].map(|by| {
                let mut bytes = LUKS1.clone();
                bytes[place..place + 4].copy_from_slice(&sector.wrapping_add_signed(by).to_be_bytes());
                write(&lab.path("disk"), &bytes);
                let they = takes("qemu-img", &["info", "-f", "luks", &lab.arg("disk")]);
                assert_eq!(luks1(&bytes).is_ok(), they, "slot {slot} by {by} sectors");
                they
            });
            moved.to_vec()
        })
        .collect();
    assert!(taken.iter().flatten().any(|they| *they) && !taken.iter().flatten().all(|they| *they));
}

#[test]
fn what_we_take_as_luks2_cryptsetup_takes() {
    // Without the second copy, so that the changed one decides.
    let mut alone = LUKS2.clone();
    alone[16_384..32_768].fill(0);
    // Byte 512 on to the metadata is padding, which the checksum covers all the same.
    let places = prop_oneof![
        0usize..24,
        64usize..112,
        168usize..260,
        444usize..460,
        4096usize..4800
    ];
    let dump = ["cryptsetup", "luksDump", "--type", "luks2"];
    let (ours, theirs) = compare(&alone, places, |b| luks2(b).is_ok(), &dump);
    assert_eq!((ours, theirs), (0, 0), "a checksum covers each byte");
}
