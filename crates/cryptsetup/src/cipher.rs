/// How sectors are encrypted: AES in XTS mode with 64-bit sector numbers, the one choice that QEMU, dm-crypt
/// and librbd all make by default and that hardware speeds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Cipher {
    /// AES-256: a volume key of 512 bits, of which XTS uses one half for the sectors' numbers.
    #[default]
    Aes256Xts,
    /// AES-128: a volume key of 256 bits. Somewhat faster, and still out of reach of any search.
    Aes128Xts,
}

impl Cipher {
    /// As cryptsetup and the kernel spell it.
    #[must_use]
    pub const fn specification(self) -> &'static str {
        "aes-xts-plain64"
    }

    /// The length of the volume key in bits.
    #[must_use]
    pub const fn key_bits(self) -> u32 {
        match self {
            Self::Aes256Xts => 512,
            Self::Aes128Xts => 256,
        }
    }
}
