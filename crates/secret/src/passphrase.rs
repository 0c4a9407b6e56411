use std::fmt;

use rand::TryRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// Where a passphrase comes from, which decides what its key derivation may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Made here from 256 random bits or more: stretching adds nothing.
    Generated,
    /// Given by somebody: the tools' costly defaults apply.
    Imported,
}

/// Why bytes are not a passphrase. The bytes are never part of the error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// No bytes at all. QEMU and cryptsetup would both accept it without a word.
    #[error("the passphrase is empty")]
    Empty,
    /// Fewer than [`Passphrase::MIN`] bytes.
    #[error("the passphrase has {0} bytes, at least {min} are needed", min = Passphrase::MIN)]
    Short(usize),
    /// More than [`Passphrase::MAX`] bytes.
    #[error("the passphrase has more than {max} bytes", max = Passphrase::MAX)]
    Long,
    /// Not UTF-8, which QEMU refuses.
    #[error("the passphrase is not valid UTF-8 at byte {0}")]
    NotUtf8(usize),
    /// A NUL, carriage return or newline, at which some tools stop reading.
    #[error("the passphrase has a {1} at byte {0}, at which some tools stop reading")]
    Delimiter(usize, &'static str),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Random,
}

/// A passphrase in memory, wiped when dropped.
///
/// It is neither `Clone` nor `Display` nor serializable, and `Debug` shows a constant. The text lies in one heap buffer that is
/// allocated once: moving a `Passphrase` moves a pointer and leaves no copy behind.
///
/// ```
/// fn wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
/// wiped(&strongroom_secret::Passphrase::generate()?);
/// # Ok::<(), strongroom_secret::PassphraseError>(())
/// ```
#[derive(ZeroizeOnDrop)]
pub struct Passphrase {
    text: Zeroizing<Box<[u8]>>,
    #[zeroize(skip)]
    origin: Origin,
}

impl Passphrase {
    /// The least number of bytes.
    pub const MIN: usize = 8;
    /// The largest number of bytes.
    pub const MAX: usize = 512;

    /// A new passphrase of 256 random bits from the operating system: 64 hexadecimal digits.
    ///
    /// # Errors
    /// [`PassphraseError::Random`].
    pub fn generate() -> Result<Self, PassphraseError> {
        let mut bits = Zeroizing::new([0u8; 32]);
        rand::rngs::SysRng
            .try_fill_bytes(bits.as_mut())
            .map_err(|_| PassphraseError::Random)?;
        let mut text = Zeroizing::new(vec![0u8; 64].into_boxed_slice());
        for (pair, byte) in text.chunks_exact_mut(2).zip(bits.iter()) {
            pair[0] = b"0123456789abcdef"[usize::from(byte >> 4)];
            pair[1] = b"0123456789abcdef"[usize::from(byte & 15)];
        }
        Ok(Self {
            text,
            origin: Origin::Generated,
        })
    }

    /// A passphrase that somebody gave. `bytes` are wiped, whether they are one or not; what a growing buffer left behind before
    /// is the caller's matter.
    ///
    /// # Errors
    /// [`PassphraseError`] when the tools would not all read it the same way.
    pub fn import(bytes: Zeroizing<Vec<u8>>) -> Result<Self, PassphraseError> {
        Self::restore(bytes, Origin::Imported)
    }

    /// A passphrase that was stored, with its origin.
    ///
    /// # Errors
    /// As [`Passphrase::import`].
    pub fn restore(bytes: Zeroizing<Vec<u8>>, origin: Origin) -> Result<Self, PassphraseError> {
        match bytes.len() {
            0 => return Err(PassphraseError::Empty),
            n if n < Self::MIN => return Err(PassphraseError::Short(n)),
            n if n > Self::MAX => return Err(PassphraseError::Long),
            _ => {}
        }
        std::str::from_utf8(&bytes).map_err(|e| PassphraseError::NotUtf8(e.valid_up_to()))?;
        for (position, byte) in bytes.iter().enumerate() {
            match byte {
                0 => return Err(PassphraseError::Delimiter(position, "NUL")),
                b'\n' => return Err(PassphraseError::Delimiter(position, "newline")),
                b'\r' => return Err(PassphraseError::Delimiter(position, "carriage return")),
                _ => {}
            }
        }
        // A copy of the exact size, because shrinking the vector could leave its old buffer behind unwiped.
        Ok(Self {
            text: Zeroizing::new(bytes.as_slice().into()),
            origin,
        })
    }

    /// Where it comes from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The bytes themselves. Every call of this is a place to look at.
    #[must_use]
    pub fn expose_secret(&self) -> &[u8] {
        &self.text
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}
