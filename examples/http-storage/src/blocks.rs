use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use aes_gcm::Aes256Gcm;
use aes_gcm::Nonce;
use aes_gcm::aead::{Aead, Payload};
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

/// What is encrypted as one piece, in bytes.
const BLOCK: usize = 4096;
const NONCE: usize = 12;
const TAG: usize = 16;
/// An encrypted block as it lies in the file: nonce, ciphertext, tag.
const SEALED: usize = NONCE + BLOCK + TAG;

/// The content of a volume in a file.
///
/// Plain, it is the bytes themselves. Encrypted, each block of 4096 bytes is sealed with AES-256-GCM (SP 800-38D) under the volume's
/// key, a new random nonce at each write, and its number as additional data. A block of which all is zero in the file was never
/// written and reads as zeros.
#[derive(Debug)]
pub(crate) struct Blocks {
    file: File,
    bytes: u64,
    sealed: bool,
}

impl Blocks {
    /// Makes the file as large as the content takes. What is new of it is a hole.
    pub(crate) fn new(file: File, bytes: u64, sealed: bool) -> io::Result<Self> {
        let length = if sealed {
            bytes.div_ceil(BLOCK as u64) * SEALED as u64
        } else {
            bytes
        };
        file.set_len(length)?;
        Ok(Self { file, bytes, sealed })
    }

    pub(crate) fn allocated(&self) -> io::Result<u64> {
        self.file.metadata().map(|m| m.blocks() * 512)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// As many bytes as there are, at most `length`.
    pub(crate) fn read(&self, cipher: Option<&Aes256Gcm>, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let length =
            usize::try_from(self.bytes.saturating_sub(offset)).map_or(length, |left| length.min(left));
        if !self.sealed {
            let mut out = vec![0; length];
            self.file.read_exact_at(&mut out, offset)?;
            return Ok(out);
        }
        let cipher = cipher.ok_or_else(locked)?;
        let mut out = Vec::with_capacity(length);
        for piece in pieces(offset, length) {
            let block = self.open_block(cipher, piece.block)?;
            out.extend_from_slice(block.get(piece.from..piece.to).unwrap_or_default());
        }
        Ok(out)
    }

    /// Writes what lies within the volume; how much that was.
    pub(crate) fn write(&self, cipher: Option<&Aes256Gcm>, offset: u64, data: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let data = data.get(..room).unwrap_or(data);
        if data.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if !self.sealed {
            self.file.write_all_at(data, offset)?;
            return Ok(data.len());
        }
        let cipher = cipher.ok_or_else(locked)?;
        let mut rest = data;
        for piece in pieces(offset, data.len()) {
            let (now, later) = rest.split_at(piece.to - piece.from);
            rest = later;
            let mut block = if now.len() == BLOCK {
                Zeroizing::new(vec![0; BLOCK])
            } else {
                self.open_block(cipher, piece.block)?
            };
            if let Some(target) = block.get_mut(piece.from..piece.to) {
                target.copy_from_slice(now);
            }
            self.seal_block(cipher, piece.block, &block)?;
        }
        Ok(data.len())
    }

    fn open_block(&self, cipher: &Aes256Gcm, block: u64) -> io::Result<Zeroizing<Vec<u8>>> {
        let mut record = vec![0; SEALED];
        self.file.read_exact_at(&mut record, block * SEALED as u64)?;
        if record.iter().all(|byte| *byte == 0) {
            return Ok(Zeroizing::new(vec![0; BLOCK]));
        }
        let (nonce, msg) = record.split_at(NONCE);
        let aad = &block.to_le_bytes()[..];
        Nonce::try_from(nonce)
            .ok()
            .and_then(|nonce| cipher.decrypt(&nonce, Payload { msg, aad }).ok())
            .map(Zeroizing::new)
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("block {block} was changed or is half written"),
                )
            })
    }

    fn seal_block(&self, cipher: &Aes256Gcm, block: u64, msg: &[u8]) -> io::Result<()> {
        let mut nonce = [0; NONCE];
        SysRng.try_fill_bytes(&mut nonce).map_err(io::Error::other)?;
        let aad = &block.to_le_bytes()[..];
        let sealed = cipher
            .encrypt(&Nonce::from(nonce), Payload { msg, aad })
            .map_err(|_| io::Error::other("a block could not be sealed"))?;
        self.file
            .write_all_at(&[&nonce[..], &sealed].concat(), block * SEALED as u64)
    }
}

fn locked() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the volume is locked")
}

/// A part of one block.
struct Piece {
    block: u64,
    from: usize,
    to: usize,
}

/// The parts of blocks that a range of bytes is made of.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = Piece> {
    let end = offset.saturating_add(length as u64);
    let size = BLOCK as u64;
    (offset / size..end.div_ceil(size)).map(move |block| {
        let start = block * size;
        Piece {
            block,
            from: usize::try_from(offset.saturating_sub(start)).unwrap_or(BLOCK),
            to: usize::try_from(end - start).map_or(BLOCK, |to| to.min(BLOCK)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes_gcm::aead::KeyInit;

    fn cipher(byte: u8) -> Aes256Gcm {
        Aes256Gcm::new(&[byte; 32].into())
    }

    #[test]
    fn what_is_written_anywhere_is_read_back_and_the_rest_is_zeros() {
        let (key, bytes) = (cipher(1), 5 * BLOCK as u64 - 512);
        for sealed in [false, true] {
            let blocks = Blocks::new(tempfile::tempfile().unwrap(), bytes, sealed).unwrap();
            let mut expected = vec![0; usize::try_from(bytes).unwrap()];
            for (offset, length) in [(0, 1), (4095, 2), (5000, 9000), (8192, 4096), (bytes - 1, 1)] {
                let data: Vec<u8> = (1..=255).cycle().take(length).collect();
                assert_eq!(blocks.write(Some(&key), offset, &data).unwrap(), length);
                let at = usize::try_from(offset).unwrap();
                expected[at..at + length].copy_from_slice(&data);
            }
            assert_eq!(
                blocks.read(Some(&key), 0, usize::MAX).unwrap(),
                expected,
                "sealed: {sealed}"
            );
            assert_eq!(blocks.read(Some(&key), 4095, 2).unwrap(), expected[4095..4097]);
            assert_eq!(blocks.read(Some(&key), bytes, 10).unwrap(), [0; 0]);
            let beyond = blocks.write(Some(&key), bytes, b"x").unwrap_err();
            assert_eq!(beyond.kind(), io::ErrorKind::StorageFull);
        }
    }

    #[test]
    fn a_block_that_was_changed_moved_or_belongs_to_another_key_is_an_error() {
        let (key, file) = (cipher(1), tempfile::tempfile().unwrap());
        let blocks = Blocks::new(file.try_clone().unwrap(), 2 * BLOCK as u64, true).unwrap();
        blocks.write(Some(&key), 0, &[7; 2 * BLOCK]).unwrap();
        let damaged = |e: io::Error| assert_eq!(e.kind(), io::ErrorKind::InvalidData, "{e}");

        damaged(blocks.read(Some(&cipher(2)), 0, 1).unwrap_err());
        let mut first = vec![0; SEALED];
        file.read_exact_at(&mut first, 0).unwrap();
        assert!(!first.windows(16).any(|w| w == [7; 16]));
        file.write_all_at(&first, SEALED as u64).unwrap();
        damaged(blocks.read(Some(&key), BLOCK as u64, 1).unwrap_err());
        first[100] ^= 1;
        file.write_all_at(&first, 0).unwrap();
        damaged(blocks.read(Some(&key), 0, 1).unwrap_err());
    }

    #[test]
    fn each_write_of_the_same_looks_different() {
        let (key, file) = (cipher(1), tempfile::tempfile().unwrap());
        let blocks = Blocks::new(file.try_clone().unwrap(), BLOCK as u64, true).unwrap();
        let mut seen = [vec![0; SEALED], vec![0; SEALED]];
        for record in &mut seen {
            blocks.write(Some(&key), 0, &[7; BLOCK]).unwrap();
            file.read_exact_at(record, 0).unwrap();
        }
        assert_ne!(seen[0], seen[1]);
        assert_ne!(seen[0][NONCE..NONCE + 16], seen[1][NONCE..NONCE + 16]);
    }
}
