//! Reads this process's own memory through `/proc/self/mem` and looks for keys that should have been wiped. It holds what it
//! looks for masked.

#![expect(clippy::unwrap_used, reason = "a panic is how a test says no")]

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;

use strongroom_passphrase_store::{FileKek, Keyring, MemoryStore, Purpose};
use strongroom_secret::Passphrase;
use zeroize::Zeroize;

// Of each secret the second half is looked for: an allocator writes over the beginning of what it gets back, so that only the rest
// shows whether it was wiped.

/// What a secret is held under while it is looked for.
const MASK: u8 = 0x5a;

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

/// One test, because a second one would have pieces of memory in its buffer while this one reads.
#[test]
fn keys_and_passphrases_are_in_memory_once_and_then_not_at_all() {
    let mut memory = Memory::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kek");
    drop(FileKek::create(&path).unwrap());
    let mut text = fs::read(&path).unwrap();
    let masked_text: Vec<u8> = text[89..121].iter().map(|byte| byte ^ MASK).collect();
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    let masked_key: Vec<u8> = text[89..121]
        .chunks_exact(2)
        .map(|pair| (digit(pair[0]) << 4 | digit(pair[1])) ^ MASK)
        .collect();
    assert_ne!(memory.copies(&masked_text), 0);
    text.zeroize();
    assert_eq!((memory.copies(&masked_text), memory.copies(&masked_key)), (0, 0));

    let kek = FileKek::open(&path).unwrap();
    assert_eq!((memory.copies(&masked_text), memory.copies(&masked_key)), (0, 1));

    // In memory, because SQLite would use again what is freed.
    let store = MemoryStore::new();
    let keyring = Keyring::new(&store, &kek);
    let passphrase = Passphrase::generate().unwrap();
    let masked: Vec<u8> = passphrase
        .expose_secret()
        .iter()
        .skip(32)
        .map(|byte| byte ^ MASK)
        .collect();
    let volume = "vol-1".parse().unwrap();
    let id = keyring.keep(&passphrase, &volume, Purpose::Volume).unwrap();
    drop(passphrase);
    assert_eq!(memory.copies(&masked), 0);
    let again = keyring.unseal(&id).unwrap();
    assert_eq!(memory.copies(&masked), 1);
    drop(again);
    assert_eq!(memory.copies(&masked), 0);
    assert_eq!(memory.copies(&masked_key), 1);
    drop(kek);
    assert_eq!(memory.copies(&masked_key), 0);
}
