use std::collections::BTreeSet;

use strongroom_types::{DiskFormat, EncryptionFormat};

/// Where a pool's volumes are encrypted, if they can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encryption {
    /// They cannot be: a request for an encrypted volume is refused.
    Unsupported,
    /// On the host, with this LUKS: the storage sees ciphertext only, and a host is needed to make a volume.
    OnHost(EncryptionFormat),
    /// In the storage, which is given the key.
    InStorage,
}

/// Who reaches the volumes of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reach {
    /// One host.
    Host,
    /// The hosts of a cluster.
    Cluster,
    /// Every host of a zone.
    Zone,
}

/// What becomes of the size that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SizeRule {
    /// The guest sees exactly what was asked; so does the storage, but for headers.
    Exact,
    /// The guest sees exactly what was asked; the storage provides a multiple of this many bytes.
    ///
    /// Only with a format that records the guest's size, as qcow2 does, or where the storage itself shows the guest less than it
    /// provides. What is left behind the LUKS header that [`FormatDevice`](strongroom_endpoint_selector::FormatDevice) writes is
    /// the guest's to the last sector, so a pool of raw devices encrypted on the host takes [`Exact`](Self::Exact) or refuses what it
    /// cannot provide exactly.
    DeviceRoundedTo(u64),
}

/// What a pool can do: one answer, which callers decide by and which the driver keeps.
///
/// [`Capabilities::none`] can do nothing beyond the required operations; a driver says what it can on top.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Where volumes are encrypted, if they can be.
    pub encryption: Encryption,
    /// The formats in which volumes are made.
    pub formats: BTreeSet<DiskFormat>,
    /// [`PoolDriver::grow`](crate::PoolDriver::grow) works.
    pub grow: bool,
    /// The formats whose volumes [`PoolDriver::snapshot`](crate::PoolDriver::snapshot) handles while nobody has them open.
    pub snapshot_offline: BTreeSet<DiskFormat>,
    /// Volumes can be made from a template.
    pub templates: bool,
    /// What becomes of sizes.
    pub sizes: SizeRule,
    /// Who reaches the volumes.
    pub reach: Reach,
}

impl Capabilities {
    /// A pool of plain raw volumes on one host, with exact sizes, that can do nothing else.
    #[must_use]
    pub fn none() -> Self {
        Self {
            encryption: Encryption::Unsupported,
            formats: BTreeSet::from([DiskFormat::Raw]),
            grow: false,
            snapshot_offline: BTreeSet::new(),
            templates: false,
            sizes: SizeRule::Exact,
            reach: Reach::Host,
        }
    }
}
