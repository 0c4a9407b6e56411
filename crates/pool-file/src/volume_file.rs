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
    /// Whether it may lie on a template. Once flattened it does not any more, and keeps its name.
    pub(crate) overlay: bool,
}

const fn kind(format: DiskFormat, encrypted: bool, overlay: bool) -> VolumeFile {
    VolumeFile {
        format,
        encrypted,
        overlay,
    }
}

impl VolumeFile {
    /// Every kind there is.
    pub(crate) const ALL: [Self; 6] = [
        kind(DiskFormat::Qcow2, true, false),
        kind(DiskFormat::Raw, true, false),
        kind(DiskFormat::Qcow2, true, true),
        kind(DiskFormat::Qcow2, false, false),
        kind(DiskFormat::Raw, false, false),
        kind(DiskFormat::Qcow2, false, true),
    ];

    /// A file that stands alone.
    pub(crate) fn new(format: DiskFormat, key: VolumeKey<'_>) -> Self {
        kind(format, matches!(key, VolumeKey::Encrypted(_)), false)
    }

    /// A qcow2 on a template.
    pub(crate) fn overlay(key: VolumeKey<'_>) -> Self {
        kind(DiskFormat::Qcow2, matches!(key, VolumeKey::Encrypted(_)), true)
    }

    /// What a file with this name is, and whose; `None` for a name that no volume has.
    pub(crate) fn of_name(name: &str) -> Option<(VolumeId, Self)> {
        let (id, ending) = name.split_once('.')?;
        let file = Self::ALL.into_iter().find(|file| file.ending() == ending)?;
        Some((id.parse().ok()?, file))
    }

    pub(crate) fn encryption(self) -> Option<EncryptionFormat> {
        self.encrypted.then_some(LUKS)
    }

    /// What a host must be able to do to make or open such a file with its key.
    pub(crate) fn capability(self) -> Capability {
        match (self.format, self.encrypted) {
            (_, false) => Capability::PlainImages,
            (_, true) if self.overlay => Capability::EncryptedOverlay,
            (DiskFormat::Qcow2, true) => Capability::Qcow2Luks,
            (DiskFormat::Raw, true) => Capability::RawLuks1,
        }
    }

    /// An id has no dot, so that two names are the same only for the same id and kind.
    fn ending(self) -> &'static str {
        match (self.overlay, self.format, self.encrypted) {
            (true, _, true) => "overlay.luks.qcow2",
            (true, _, false) => "overlay.qcow2",
            (false, DiskFormat::Qcow2, true) => "luks.qcow2",
            (false, DiskFormat::Raw, true) => "luks",
            (false, DiskFormat::Qcow2, false) => "qcow2",
            (false, DiskFormat::Raw, false) => "raw",
        }
    }

    pub(crate) fn name(self, volume: &VolumeId) -> String {
        format!("{volume}.{}", self.ending())
    }

    pub(crate) fn location(self, directory: &Path, volume: &VolumeId) -> DiskLocation {
        DiskLocation::File(directory.join(self.name(volume)))
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
    use strongroom_types::TemplateId;

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
                "/pool/v.overlay.luks.qcow2",
                "/pool/v.qcow2",
                "/pool/v.raw",
                "/pool/v.overlay.qcow2"
            ]
        );
    }

    #[test]
    fn names_of_ids_that_begin_alike_are_apart_even_where_case_is_folded() {
        let ids = [
            "a",
            "a-overlay",
            "a_luks",
            "a-",
            "a0",
            "overlay",
            "luks",
            "templates",
            "raw",
        ];
        let mut names = std::collections::BTreeSet::new();
        for id in ids {
            for file in VolumeFile::ALL {
                let name = file.name(&id.parse().unwrap());
                assert_eq!(VolumeFile::of_name(&name), Some((id.parse().unwrap(), file)));
                assert!(names.insert(name.to_lowercase()), "{name} twice");
                assert!(!name.starts_with('.') && name != "templates", "{name}");
            }
        }
        assert_eq!(names.len(), ids.len() * VolumeFile::ALL.len());
    }

    #[test]
    fn names_that_no_volume_has_are_nobodys() {
        for name in [
            "a",
            "a.",
            ".raw",
            "a.RAW",
            "A.raw",
            "a.raw.luks",
            "a.overlay.luks",
            ".strongroom-pool",
            "a b.raw",
        ] {
            assert_eq!(VolumeFile::of_name(name), None, "{name}");
        }
    }

    #[test]
    fn what_would_name_a_file_elsewhere_is_no_id() {
        for text in [
            "../v",
            "a/b",
            "a.overlay",
            ".strongroom-pool",
            "templates/t",
            "",
            "a\0b",
            "A",
            "a\nb",
        ] {
            text.parse::<VolumeId>().unwrap_err();
            text.parse::<TemplateId>().unwrap_err();
        }
    }
}
