use std::fmt;
use std::path::Path;

use strongroom_endpoint_selector::Protection;
use strongroom_storage_pool::{DiskLocation, VolumeKey};
use strongroom_types::{Capability, DiskFormat, EncryptionFormat, VolumeId};

/// Which LUKS this driver's volumes have: the one that QEMU opens.
pub(crate) const LUKS: EncryptionFormat = EncryptionFormat::Luks1;

/// What kind of file a volume is. The ending of its name says it, so that no content is ever asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VolumeFile {
    pub(crate) format: DiskFormat,
    pub(crate) encrypted: bool,
}

impl VolumeFile {
    /// Every kind there is.
    pub(crate) const ALL: [Self; 4] = [
        Self {
            format: DiskFormat::Qcow2,
            encrypted: true,
        },
        Self {
            format: DiskFormat::Raw,
            encrypted: true,
        },
        Self {
            format: DiskFormat::Qcow2,
            encrypted: false,
        },
        Self {
            format: DiskFormat::Raw,
            encrypted: false,
        },
    ];

    pub(crate) fn new(format: DiskFormat, key: VolumeKey<'_>) -> Self {
        Self {
            format,
            encrypted: matches!(key, VolumeKey::Encrypted(_)),
        }
    }

    pub(crate) fn encryption(self) -> Option<EncryptionFormat> {
        self.encrypted.then_some(LUKS)
    }

    /// What a host must be able to do to make or open such a file with its key.
    pub(crate) fn capability(self) -> Capability {
        match (self.format, self.encrypted) {
            (_, false) => Capability::PlainImages,
            (DiskFormat::Qcow2, true) => Capability::Qcow2Luks,
            (DiskFormat::Raw, true) => Capability::RawLuks1,
        }
    }

    /// An id has no dot, so that two names are the same only for the same id and kind.
    fn ending(self) -> &'static str {
        match (self.format, self.encrypted) {
            (DiskFormat::Qcow2, true) => "luks.qcow2",
            (DiskFormat::Raw, true) => "luks",
            (DiskFormat::Qcow2, false) => "qcow2",
            (DiskFormat::Raw, false) => "raw",
        }
    }

    pub(crate) fn location(self, directory: &Path, volume: &VolumeId) -> DiskLocation {
        DiskLocation::File(directory.join(format!("{volume}.{}", self.ending())))
    }
}

impl fmt::Display for VolumeFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.encrypted { "an encrypted" } else { "a plain" };
        write!(f, "{side} {} file", self.format)
    }
}

/// The key for a host, which is told by which means.
pub(crate) fn protection(key: VolumeKey<'_>) -> Protection<'_> {
    match key {
        VolumeKey::Plain => Protection::Plain,
        VolumeKey::Encrypted(key) => Protection::Luks { format: LUKS, key },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let names = VolumeFile::ALL.map(|file| {
            file.location(Path::new("/pool"), &"v".parse().unwrap())
                .to_string()
        });
        assert_eq!(
            names,
            [
                "/pool/v.luks.qcow2",
                "/pool/v.luks",
                "/pool/v.qcow2",
                "/pool/v.raw"
            ]
        );
    }
}
