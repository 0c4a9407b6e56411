//! Reads this process's own memory through `/proc/self/mem` and looks for what should have been wiped. No test in here may hold a
//! passphrase in clear, so each keeps it masked.

#![expect(clippy::unwrap_used, reason = "a panic is how a test says no")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use strongroom_secret::{Passphrase, PassphraseError, SecretFile};
use zeroize::{Zeroize, Zeroizing};

/// What a secret is held under while it is looked for.
const MASK: u8 = 0x5a;

/// One scan at a time: a scan of another thread has pieces of memory in its buffer.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn masked(secret: &[u8]) -> Vec<u8> {
    secret.iter().map(|byte| byte ^ MASK).collect()
}

/// Where in the writable memory of this process the secret lies whose masked bytes these are.
fn found(masked: &[u8]) -> Vec<u64> {
    let memory = File::open("/proc/self/mem").unwrap();
    let mut buffer = vec![0; 1 << 20];
    let own = buffer.as_ptr() as u64..buffer.as_ptr() as u64 + buffer.len() as u64;
    let mut places = Vec::new();
    for region in fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let mut words = region.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (begin, end) = range.split_once('-').unwrap();
        let mut at = u64::from_str_radix(begin, 16).unwrap();
        let end = u64::from_str_radix(end, 16).unwrap();
        while at < end {
            let wanted = usize::try_from(end - at).unwrap().min(buffer.len());
            // A region may have gone since the list was read.
            let Ok(read) = memory.read_at(&mut buffer[..wanted], at) else {
                break;
            };
            let hits = buffer[..read]
                .windows(masked.len())
                .enumerate()
                .filter(|(_, window)| window.iter().zip(masked).all(|(byte, m)| byte ^ MASK == *m))
                .map(|(offset, _)| at + offset as u64)
                .filter(|place| !own.contains(place));
            places.extend(hits);
            if read < wanted || at + read as u64 == end {
                break;
            }
            at += (read - masked.len()) as u64;
        }
    }
    buffer.zeroize();
    places
}

#[test]
fn a_generated_passphrase_is_in_memory_once_and_then_not_at_all() {
    let _alone = ONE_AT_A_TIME.lock();
    let passphrase = Passphrase::generate().unwrap();
    let masked = masked(passphrase.expose_secret());
    assert_eq!(found(&masked), [passphrase.expose_secret().as_ptr() as u64]);

    let moved = vec![Some(passphrase)];
    assert_eq!(found(&masked).len(), 1);
    drop(moved);
    assert_eq!(found(&masked), []);
}

#[test]
fn the_random_bits_that_a_passphrase_was_made_from_are_wiped_at_once() {
    let _alone = ONE_AT_A_TIME.lock();
    let passphrase = Passphrase::generate().unwrap();
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    let masked: Vec<u8> = passphrase
        .expose_secret()
        .chunks_exact(2)
        .map(|pair| (digit(pair[0]) << 4 | digit(pair[1])) ^ MASK)
        .collect();
    assert_eq!(found(&masked), []);
}

#[test]
fn importing_leaves_no_copy_of_the_bytes_whatever_room_the_vector_had() {
    let _alone = ONE_AT_A_TIME.lock();
    for (length, room) in [(8, 8), (64, 64), (64, 4096), (512, 512), (512, 1 << 20)] {
        let original = Passphrase::generate().unwrap();
        let masked: Vec<u8> = masked(original.expose_secret())
            .into_iter()
            .cycle()
            .take(length)
            .collect();
        drop(original);
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        bytes.extend(masked.iter().map(|m| m ^ MASK));
        let passphrase = Passphrase::import(bytes).unwrap();
        assert_eq!(
            found(&masked),
            [passphrase.expose_secret().as_ptr() as u64],
            "{length} bytes"
        );
        drop(passphrase);
        assert_eq!(found(&masked), [], "{length} bytes");
    }
}

#[test]
fn bytes_that_are_refused_are_wiped_as_well() {
    let _alone = ONE_AT_A_TIME.lock();
    let masked = masked(Passphrase::generate().unwrap().expose_secret());
    let mut bytes = Zeroizing::new(Vec::with_capacity(65));
    bytes.extend(masked.iter().map(|m| m ^ MASK));
    bytes.push(b'\n');
    let refused = Passphrase::import(bytes).unwrap_err();
    assert_eq!(refused, PassphraseError::Delimiter(64, "newline"));
    assert_eq!(found(&masked), []);
}

#[test]
fn a_hand_over_makes_no_copy_in_this_process() {
    let _alone = ONE_AT_A_TIME.lock();
    let passphrase = Passphrase::generate().unwrap();
    let masked = masked(passphrase.expose_secret());
    let files = [
        SecretFile::new(&passphrase).unwrap(),
        SecretFile::on_tmpfs(&passphrase).unwrap(),
    ];
    assert_eq!(found(&masked), [passphrase.expose_secret().as_ptr() as u64]);
    drop(passphrase);
    assert_eq!(found(&masked), []);
    drop(files);
}
