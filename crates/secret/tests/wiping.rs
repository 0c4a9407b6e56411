//! Reads this process's own memory through `/proc/self/mem` and looks for what should have been wiped. No test in here may hold a
//! passphrase in clear, so each keeps it masked.

#![expect(clippy::unwrap_used, reason = "a panic is how a test says no")]

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use strongroom_secret::{Passphrase, PassphraseError, SecretFile};
use zeroize::{Zeroize, Zeroizing};

/// What a secret is held under while it is looked for.
const MASK: u8 = 0x5a;

/// One scan at a time: a scan of another thread has pieces of memory in its buffer.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The second half of a secret, masked. An allocator writes over the beginning of what it gets back, so that only the rest shows
/// whether it was wiped.
fn masked(secret: &[u8]) -> Vec<u8> {
    secret[secret.len() / 2..]
        .iter()
        .map(|byte| byte ^ MASK)
        .collect()
}

/// Reads the memory of this process. All that it needs is allocated when it is made: what was just freed is not used again for
/// the search, and stays as it was.
struct Memory {
    file: File,
    regions: String,
    buffer: Vec<u8>,
}

impl Memory {
    fn new() -> Self {
        Self {
            file: File::open("/proc/self/mem").unwrap(),
            regions: String::with_capacity(1 << 18),
            buffer: vec![0; 1 << 20],
        }
    }

    /// How often the secret of these masked bytes lies in writable memory.
    fn copies(&mut self, masked: &[u8]) -> usize {
        let own = self.buffer.as_ptr() as u64..self.buffer.as_ptr() as u64 + self.buffer.len() as u64;
        self.regions.clear();
        File::open("/proc/self/maps")
            .and_then(|mut maps| maps.read_to_string(&mut self.regions))
            .unwrap();
        let mut copies = 0;
        for region in self.regions.lines() {
            let (range, rest) = region.split_once(' ').unwrap();
            if !rest.starts_with("rw") {
                continue;
            }
            let (begin, end) = range.split_once('-').unwrap();
            let mut at = u64::from_str_radix(begin, 16).unwrap();
            let end = u64::from_str_radix(end, 16).unwrap();
            while at < end {
                let wanted = usize::try_from(end - at).unwrap().min(self.buffer.len());
                // A region may have gone since the list was read.
                let Ok(read) = self.file.read_at(&mut self.buffer[..wanted], at) else {
                    break;
                };
                copies += self.buffer[..read]
                    .windows(masked.len())
                    .enumerate()
                    .filter(|(_, window)| window.iter().zip(masked).all(|(byte, m)| byte ^ MASK == *m))
                    .filter(|(offset, _)| !own.contains(&(at + *offset as u64)))
                    .count();
                if read < wanted || at + read as u64 == end {
                    break;
                }
                at += (read - masked.len() + 1) as u64;
            }
        }
        self.buffer.as_mut_slice().zeroize();
        copies
    }
}

#[test]
fn a_generated_passphrase_is_in_memory_once_and_then_not_at_all() {
    let _alone = ONE_AT_A_TIME.lock();
    let mut memory = Memory::new();
    let passphrase = Passphrase::generate().unwrap();
    let masked = masked(passphrase.expose_secret());
    assert_eq!(memory.copies(&masked), 1);

    let moved = vec![Some(passphrase)];
    assert_eq!(memory.copies(&masked), 1);
    drop(moved);
    assert_eq!(memory.copies(&masked), 0);
}

#[test]
fn the_random_bits_that_a_passphrase_was_made_from_are_wiped_at_once() {
    let _alone = ONE_AT_A_TIME.lock();
    let mut memory = Memory::new();
    let passphrase = Passphrase::generate().unwrap();
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    let masked: Vec<u8> = passphrase.expose_secret()[32..]
        .chunks_exact(2)
        .map(|pair| (digit(pair[0]) << 4 | digit(pair[1])) ^ MASK)
        .collect();
    assert_eq!(memory.copies(&masked), 0);
}

#[test]
fn importing_leaves_no_copy_of_the_bytes_whatever_room_the_vector_had() {
    let _alone = ONE_AT_A_TIME.lock();
    let mut memory = Memory::new();
    for (length, room) in [(64, 64), (64, 72), (64, 4096), (512, 512), (512, 1 << 20)] {
        let half = masked(Passphrase::generate().unwrap().expose_secret());
        let masked: Vec<u8> = half.into_iter().cycle().take(length / 2).collect();
        let mut bytes = Zeroizing::new(Vec::with_capacity(room));
        bytes.extend(std::iter::repeat_n(b'-', length / 2));
        bytes.extend(masked.iter().map(|m| m ^ MASK));
        let passphrase = Passphrase::import(bytes).unwrap();
        assert_eq!(memory.copies(&masked), 1, "{length} bytes");
        drop(passphrase);
        assert_eq!(memory.copies(&masked), 0, "{length} bytes");
    }
}

#[test]
fn bytes_that_are_refused_are_wiped_as_well() {
    let _alone = ONE_AT_A_TIME.lock();
    let mut memory = Memory::new();
    let masked = masked(Passphrase::generate().unwrap().expose_secret());
    let mut bytes = Zeroizing::new(Vec::with_capacity(65));
    bytes.extend([b'-'; 32]);
    bytes.extend(masked.iter().map(|m| m ^ MASK));
    bytes.push(b'\n');
    let refused = Passphrase::import(bytes).unwrap_err();
    assert_eq!(refused, PassphraseError::Delimiter(64, "newline"));
    assert_eq!(memory.copies(&masked), 0);
}

#[test]
fn a_hand_over_makes_no_copy_in_this_process() {
    let _alone = ONE_AT_A_TIME.lock();
    let mut memory = Memory::new();
    let passphrase = Passphrase::generate().unwrap();
    let masked = masked(passphrase.expose_secret());
    let files = [
        SecretFile::new(&passphrase).unwrap(),
        SecretFile::on_tmpfs(&passphrase).unwrap(),
    ];
    assert_eq!(memory.copies(&masked), 1);
    drop(passphrase);
    assert_eq!(memory.copies(&masked), 0);
    drop(files);
}
