use strongroom_endpoint_selector::Protection;
use strongroom_storage_pool::VolumeKey;
use strongroom_types::{Capability, EncryptionFormat, PayloadOffset};

/// FILL IN 2: with which LUKS a host encrypts. LUKS1 is what QEMU opens by itself; LUKS2 takes a host that opens the volume with
/// device-mapper. A storage that encrypts by itself has no use for this: give it the key, and say `None` wherever a host asks.
pub(crate) const LUKS: EncryptionFormat = EncryptionFormat::Luks1;
/// What `FormatDevice` puts in front of the guest's first sector.
pub(crate) const HEADER: PayloadOffset = PayloadOffset::LUKS1_CRYPTSETUP;

/// Which side of the cipher a volume is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Plain,
    Encrypted,
}

impl Side {
    pub(crate) fn of(key: VolumeKey<'_>) -> Self {
        match key {
            VolumeKey::Plain => Self::Plain,
            VolumeKey::Encrypted(_) => Self::Encrypted,
        }
    }

    pub(crate) fn encryption(self) -> Option<EncryptionFormat> {
        (self == Self::Encrypted).then_some(LUKS)
    }

    /// What lies in front of what the guest sees.
    pub(crate) fn header(self) -> PayloadOffset {
        match self {
            Self::Plain => PayloadOffset::NONE,
            Self::Encrypted => HEADER,
        }
    }

    /// What a host must be able to do to work on such a volume.
    pub(crate) fn capability(self) -> Capability {
        match self {
            Self::Plain => Capability::PlainImages,
            Self::Encrypted => Capability::RawLuks1,
        }
    }

    /// The note of a volume of this kind. What is not finished is not there, as far as a caller can see.
    pub(crate) fn note(self, finished: bool) -> String {
        let side = match self {
            Self::Plain => "plain",
            Self::Encrypted => "luks1",
        };
        format!(
            "strongroom {side} {}",
            if finished { "finished" } else { "begun" }
        )
    }

    /// What a note says: the kind, and whether the volume is finished. `None`: the disk is somebody else's.
    pub(crate) fn read(note: &str) -> Option<(Self, bool)> {
        let every = [Self::Plain, Self::Encrypted].map(|side| [(side, false), (side, true)]);
        every
            .into_iter()
            .flatten()
            .find(|(side, finished)| side.note(*finished) == note)
    }
}

/// The key for a host, which is told by which means.
pub(crate) fn protection(key: VolumeKey<'_>) -> Protection<'_> {
    match key {
        VolumeKey::Plain => Protection::Plain,
        VolumeKey::Encrypted(key) => Protection::Luks { format: LUKS, key },
    }
}
