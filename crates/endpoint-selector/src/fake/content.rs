use std::hash::{BuildHasher, Hash};
use std::path::{Path, PathBuf};

/// What a guest reads in a part of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Matter {
    Zeros,
    /// What was never written below a cipher: the place and the fingerprint of the key.
    Noise(PathBuf, Option<u64>),
    /// What the image at this path has at the same offset.
    Image(PathBuf),
}

/// A part of a disk, from the end of the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Part {
    to: u64,
    matter: Matter,
}

/// What a guest reads, from the first byte to the last. No two neighbours are alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Content(Vec<Part>);

impl Content {
    /// So many bytes of one matter.
    pub(super) fn of(matter: Matter, bytes: u64) -> Self {
        Self(vec![Part { to: bytes, matter }])
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.last().map_or(0, |last| last.to)
    }

    /// No more than its first bytes.
    pub(super) fn first(&self, bytes: u64) -> Self {
        let mut first = Self(Vec::new());
        for part in &self.0 {
            if first.bytes() < bytes {
                first.push(part.to.min(bytes), part.matter.clone());
            }
        }
        first
    }

    /// As long as `bytes`; what is added is of this matter.
    pub(super) fn resized(&self, bytes: u64, added: Matter) -> Self {
        let mut resized = self.first(bytes);
        resized.push(bytes, added);
        resized
    }

    /// This one, and behind its end what `below` has there.
    pub(super) fn over(&self, below: &Self) -> Self {
        let mut both = self.clone();
        for part in &below.0 {
            both.push(part.to, part.matter.clone());
        }
        both
    }

    /// Whether it reads as `other` and behind the end of that as zeros.
    pub(super) fn reads_as(&self, other: &Self) -> bool {
        *self == other.resized(self.bytes(), Matter::Zeros)
    }

    /// Whether nothing was written behind so many bytes. Noise is what a cipher makes of zeros.
    pub(super) fn is_unwritten_from(&self, bytes: u64) -> bool {
        let mut behind = self.0.iter().filter(|part| part.to > bytes);
        behind.all(|part| !matches!(part.matter, Matter::Image(_)))
    }

    /// 32 bytes that are the same for the same content.
    pub(super) fn digest(&self) -> [u8; 32] {
        let hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
        let mut digest = [0; 32];
        for (number, bytes) in digest.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&hasher.hash_one((number, self)).to_be_bytes());
        }
        digest
    }

    /// The bytes, where `image` says what is in an image.
    pub(super) fn rendered(&self, image: &impl Fn(&Path) -> Vec<u8>) -> Vec<u8> {
        let mut rendered = Vec::new();
        for part in &self.0 {
            let length = usize::try_from(part.to).unwrap_or(usize::MAX);
            match &part.matter {
                Matter::Zeros => rendered.resize(length, 0),
                Matter::Noise(..) => noise(part, &mut rendered, length),
                Matter::Image(path) => {
                    let whole = image(path);
                    rendered.extend(whole.get(rendered.len()..).unwrap_or_default());
                    rendered.resize(length, 0);
                }
            }
        }
        rendered
    }

    fn push(&mut self, to: u64, matter: Matter) {
        match self.0.last_mut() {
            Some(last) if to <= last.to => {}
            Some(last) if last.matter == matter => last.to = to,
            _ if to == 0 => {}
            _ => self.0.push(Part { to, matter }),
        }
    }
}

/// Fills up to `length` with bytes that follow from the seed and do not repeat.
pub(super) fn noise(seed: impl Hash, into: &mut Vec<u8>, length: usize) {
    let hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
    let mut state = hasher.hash_one(seed) | 1;
    while into.len() < length {
        // Marsaglia, "Xorshift RNGs" (2003): the period is 2^64 - 1.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let left = length.saturating_sub(into.len()).min(8);
        into.extend(state.to_be_bytes().iter().take(left));
    }
}
