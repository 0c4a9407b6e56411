use std::num::NonZeroU32;

use strongroom_secret::Origin;

use crate::SecretId;
use crate::option_list::OptionList;

/// The cipher of new images. Both are AES in XTS mode with 64-bit sector numbers as initial values (`plain64`); QEMU's
/// other ciphers, modes and generators are legacy or weaker, and are not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Cipher {
    /// AES-256: a volume key of 512 bits. QEMU's own default.
    #[default]
    Aes256Xts,
    /// AES-128: a volume key of 256 bits.
    Aes128Xts,
}

/// The hash with which keys are derived and split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Hash {
    /// SHA-256, QEMU's own default.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

/// What it costs to try one passphrase, and so to open the image once.
///
/// Whatever is chosen, QEMU measures this machine for about a second of CPU time when it makes a keyslot, and once more
/// when it makes a header: with qemu-img 10.0.2, making an image takes no less than 2.3 s. Opening one then takes 0.01 s to
/// 0.03 s with [`KeyDerivation::Fast`] and 2.3 s with [`KeyDerivation::ToolDefault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KeyDerivation {
    /// As good as nothing (10 ms on the machine that makes the image). Right for passphrases of 256 random bits, which
    /// no stretching makes harder to guess; wrong for any that a person thought of.
    Fast,
    /// QEMU's default: 2 s on the machine that makes the image.
    #[default]
    ToolDefault,
    /// This many milliseconds on the machine that makes the image.
    Milliseconds(NonZeroU32),
}

impl KeyDerivation {
    /// What fits a passphrase of this origin.
    #[must_use]
    pub const fn for_origin(origin: Origin) -> Self {
        match origin {
            Origin::Generated => Self::Fast,
            Origin::Imported => Self::ToolDefault,
        }
    }

    pub(crate) fn write(self, list: &mut OptionList, at: &str) {
        let milliseconds = match self {
            Self::Fast => 10,
            Self::ToolDefault => return,
            Self::Milliseconds(n) => n.get(),
        };
        list.push(&format!("{at}iter-time"), milliseconds.to_string());
    }
}

/// How a new image is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LuksOptions {
    cipher: Cipher,
    hash: Hash,
    derivation: KeyDerivation,
}

impl LuksOptions {
    /// AES-256 in XTS mode, SHA-256, and this key derivation.
    #[must_use]
    pub fn new(derivation: KeyDerivation) -> Self {
        Self {
            derivation,
            ..Self::default()
        }
    }

    /// The same with this cipher.
    #[must_use]
    pub fn cipher(mut self, cipher: Cipher) -> Self {
        self.cipher = cipher;
        self
    }

    /// The same with this hash.
    #[must_use]
    pub fn hash(mut self, hash: Hash) -> Self {
        self.hash = hash;
        self
    }

    /// All of it is said, defaults included: what an image is made with does not depend on the tool's version.
    pub(crate) fn write(self, list: &mut OptionList, at: &str, key: &SecretId) {
        let cipher = match self.cipher {
            Cipher::Aes256Xts => "aes-256",
            Cipher::Aes128Xts => "aes-128",
        };
        let hash = match self.hash {
            Hash::Sha256 => "sha256",
            Hash::Sha512 => "sha512",
        };
        list.push(&format!("{at}key-secret"), key.to_string());
        list.push(&format!("{at}cipher-alg"), cipher);
        list.push(&format!("{at}cipher-mode"), "xts");
        list.push(&format!("{at}ivgen-alg"), "plain64");
        list.push(&format!("{at}hash-alg"), hash);
        self.derivation.write(list, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivation_follows_the_origin() {
        assert_eq!(KeyDerivation::for_origin(Origin::Generated), KeyDerivation::Fast);
        assert_eq!(
            KeyDerivation::for_origin(Origin::Imported),
            KeyDerivation::ToolDefault
        );
    }
}
