use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Something that a host can or cannot do, found out by doing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Capability {
    /// Makes and reads plain qcow2 and raw images.
    PlainImages,
    /// Makes, opens and resizes qcow2 images with LUKS1 inside.
    Qcow2Luks,
    /// Makes encrypted qcow2 overlays on plain base images, and flattens them.
    EncryptedOverlay,
    /// Makes raw LUKS1 disks that both cryptsetup and QEMU open.
    RawLuks1,
    /// Makes and unlocks LUKS2 disks with cryptsetup.
    Luks2,
    /// Opens LUKS disks as block devices through device-mapper.
    DmCrypt,
    /// Makes LUKS disks whose header lies in another file.
    DetachedHeader,
    /// Changes keyslots of disks that are not in use.
    KeyslotChange,
    /// Runs virtual machines with encrypted disks, whose keys it gets as libvirt secrets that are private and never on a disk.
    EncryptedVms,
    /// Changes keyslots of qcow2 disks that a running virtual machine has open.
    LiveKeyslotChange,
    /// Copies an encrypted disk under another key while a virtual machine has it open.
    LiveBlockCopy,
    /// Sends and takes virtual machines inside TLS, and refuses them without.
    MigrationTls,
}

impl Capability {
    /// Every capability, in the order in which it is reported.
    pub const ALL: [Self; 12] = [
        Self::PlainImages,
        Self::Qcow2Luks,
        Self::EncryptedOverlay,
        Self::RawLuks1,
        Self::Luks2,
        Self::DmCrypt,
        Self::DetachedHeader,
        Self::KeyslotChange,
        Self::EncryptedVms,
        Self::LiveKeyslotChange,
        Self::LiveBlockCopy,
        Self::MigrationTls,
    ];

    /// The name that is stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PlainImages => "plain-images",
            Self::Qcow2Luks => "qcow2-luks",
            Self::EncryptedOverlay => "encrypted-overlay",
            Self::RawLuks1 => "raw-luks1",
            Self::Luks2 => "luks2",
            Self::DmCrypt => "dm-crypt",
            Self::DetachedHeader => "detached-header",
            Self::KeyslotChange => "keyslot-change",
            Self::EncryptedVms => "encrypted-vms",
            Self::LiveKeyslotChange => "live-keyslot-change",
            Self::LiveBlockCopy => "live-block-copy",
            Self::MigrationTls => "migration-tls",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown capability {0:?}")]
pub struct ParseCapabilityError(String);

impl FromStr for Capability {
    type Err = ParseCapabilityError;
    fn from_str(text: &str) -> Result<Self, ParseCapabilityError> {
        Self::ALL
            .into_iter()
            .find(|c| c.as_str() == text)
            .ok_or_else(|| ParseCapabilityError(text.to_owned()))
    }
}

/// What a probe found out about one capability.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Finding {
    /// It was done, and this was seen.
    Works(String),
    /// It could not be done, for this reason.
    Missing(String),
}

/// What a host can do, with the evidence. A capability that was not probed counts as missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct CapabilityReport {
    findings: BTreeMap<Capability, Finding>,
}

impl CapabilityReport {
    /// A report that knows of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records a finding, in place of an earlier one.
    pub fn record(&mut self, capability: Capability, finding: Finding) {
        self.findings.insert(capability, finding);
    }

    /// Whether the capability was seen to work.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        matches!(self.findings.get(&capability), Some(Finding::Works(_)))
    }

    /// Why the capability is missing; `None` when it works.
    #[must_use]
    pub fn why_missing(&self, capability: Capability) -> Option<&str> {
        match self.findings.get(&capability) {
            Some(Finding::Works(_)) => None,
            Some(Finding::Missing(reason)) => Some(reason),
            None => Some("not probed"),
        }
    }

    /// Every finding.
    pub fn findings(&self) -> impl Iterator<Item = (Capability, &Finding)> {
        self.findings.iter().map(|(c, f)| (*c, f))
    }

    /// The one yes or no that listings show: whether volumes that QEMU opens can be encrypted on this host, in qcow2
    /// and raw.
    #[must_use]
    pub fn encryption_supported(&self) -> bool {
        self.has(Capability::Qcow2Luks) && self.has(Capability::RawLuks1)
    }
}

impl FromIterator<(Capability, Finding)> for CapabilityReport {
    fn from_iter<I: IntoIterator<Item = (Capability, Finding)>>(findings: I) -> Self {
        Self {
            findings: findings.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unprobed_is_missing_and_both_formats_make_the_yes() {
        let mut report = CapabilityReport::new();
        assert_eq!(report.why_missing(Capability::Qcow2Luks), Some("not probed"));
        report.record(Capability::Qcow2Luks, Finding::Works("made one".into()));
        assert!(!report.encryption_supported());
        report.record(Capability::RawLuks1, Finding::Missing("no cryptsetup".into()));
        assert!(!report.encryption_supported());
        assert_eq!(report.why_missing(Capability::RawLuks1), Some("no cryptsetup"));
        report.record(Capability::RawLuks1, Finding::Works("made one".into()));
        assert!(report.encryption_supported());
        assert_eq!(report.why_missing(Capability::RawLuks1), None);
    }

    #[test]
    fn names_round_trip_and_strangers_are_refused() {
        for capability in Capability::ALL {
            assert_eq!(capability.as_str().parse(), Ok(capability));
        }
        let e = "luks".parse::<Capability>().unwrap_err();
        assert_eq!(e.to_string(), "unknown capability \"luks\"");
    }
}
