use strongroom_types::{ByteSize, EncryptionFormat, PayloadOffset};

/// The size of a LUKS2 header: two copies of the metadata, then the keyslots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Luks2Area {
    metadata: u64,
    keyslots: u64,
}

/// Why sizes are none of a LUKS2 header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Luks2AreaError {
    /// The format allows nine sizes.
    #[error("LUKS2 metadata of {0}; it is 16 KiB or a double, double again and so on up to 4 MiB")]
    Metadata(ByteSize),
    /// Not a multiple of 4 KiB, no room for one keyslot, or more than the format allows.
    #[error("LUKS2 keyslots of {0}; they take a multiple of 4 KiB, from 256 KiB to 128 MiB")]
    Keyslots(ByteSize),
}

const ALIGNMENT: u64 = 1 << 20;

impl Luks2Area {
    /// The smallest that holds a 512-bit key: one keyslot, payload from 1 MiB. There is no room to change the
    /// key.
    pub const SMALLEST: Self = Self {
        metadata: 16 << 10,
        keyslots: 256 << 10,
    };

    /// Metadata of this size, twice, and keyslots of this size together. A 512-bit key takes 252 KiB per
    /// keyslot.
    ///
    /// # Errors
    /// [`Luks2AreaError`].
    pub const fn new(metadata: ByteSize, keyslots: ByteSize) -> Result<Self, Luks2AreaError> {
        let (m, k) = (metadata.get(), keyslots.get());
        if !m.is_power_of_two() || m < 16 << 10 || m > 4 << 20 {
            return Err(Luks2AreaError::Metadata(metadata));
        }
        if k % 4096 != 0 || k < 256 << 10 || k > 128 << 20 {
            return Err(Luks2AreaError::Keyslots(keyslots));
        }
        Ok(Self {
            metadata: m,
            keyslots: k,
        })
    }

    pub(crate) fn arguments(self) -> [String; 4] {
        [
            "--luks2-metadata-size".into(),
            self.metadata.to_string(),
            "--luks2-keyslots-size".into(),
            self.keyslots.to_string(),
        ]
    }

    /// Where the payload begins behind a header of this size: the next whole MiB.
    const fn bytes(self) -> u64 {
        (2 * self.metadata + self.keyslots).next_multiple_of(ALIGNMENT)
    }
}

/// What a header takes, in bytes, whether it stands before the payload or apart.
pub(crate) fn header_bytes(format: EncryptionFormat, area: Option<Luks2Area>) -> u64 {
    match (format, area) {
        (EncryptionFormat::Luks1, _) => PayloadOffset::LUKS1_CRYPTSETUP.get(),
        (EncryptionFormat::Luks2, None) => PayloadOffset::LUKS2_CRYPTSETUP.get(),
        (EncryptionFormat::Luks2, Some(area)) => area.bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_the_format_allows() {
        for m in [0, 8, 20, 8192] {
            let metadata = ByteSize::kib(m);
            assert_eq!(
                Luks2Area::new(metadata, ByteSize::mib(1)),
                Err(Luks2AreaError::Metadata(metadata))
            );
        }
        for k in [0, 252 << 10, (256 << 10) + 512, (128 << 20) + 4096] {
            let keyslots = ByteSize::bytes(k);
            assert_eq!(
                Luks2Area::new(ByteSize::kib(16), keyslots),
                Err(Luks2AreaError::Keyslots(keyslots))
            );
        }
        assert_eq!(
            Luks2Area::new(ByteSize::kib(16), ByteSize::kib(256)),
            Ok(Luks2Area::SMALLEST)
        );
    }

    #[test]
    fn the_payload_begins_where_cryptsetup_2_6_1_puts_it() {
        for (metadata, keyslots, offset) in [
            (16 << 10, 256 << 10, 1_048_576),
            (32 << 10, 1 << 20, 2_097_152),
            (64 << 10, 8 << 20, 9_437_184),
            (4 << 20, 16 << 20, 25_165_824),
            (4 << 20, 128 << 20, 142_606_336),
        ] {
            let area = Luks2Area::new(ByteSize::bytes(metadata), ByteSize::bytes(keyslots)).unwrap();
            assert_eq!(header_bytes(EncryptionFormat::Luks2, Some(area)), offset);
        }
        assert_eq!(header_bytes(EncryptionFormat::Luks2, None), 16 << 20);
        assert_eq!(header_bytes(EncryptionFormat::Luks1, None), 2 << 20);
    }
}
