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
    /// What lies behind the guest's last sector is kept out of the disk by the format, as in qcow2, by the storage itself, or by
    /// [`BlockDevice::used`](strongroom_endpoint_selector::BlockDevice::used), which the driver says in every location that it gives.
    DeviceRoundedTo(u64),
}

/// How a pool clones a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CloneKind {
    /// With a key of its own, by copying every sector through both ciphers.
    OwnKey,
    /// Sharing passphrase and volume key with its source.
    SharedKey,
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
    /// What becomes of sizes.
    pub sizes: SizeRule,
    /// Who reaches the volumes.
    pub reach: Reach,
    /// Volumes can be made from a [template](crate::VolumeContent::Template).
    pub templates: bool,
    /// Volumes of these formats can be made as [overlays](crate::VolumeContent::Overlay), and
    /// [`PoolDriver::flatten`](crate::PoolDriver::flatten) works.
    pub overlays: BTreeSet<DiskFormat>,
    /// Volumes can be made as a [copy](crate::VolumeContent::Copy) of another disk, and
    /// [declassified](crate::VolumeContent::Declassified).
    pub copies: bool,
    /// [`PoolDriver::clone_volume`](crate::PoolDriver::clone_volume) works, in these ways.
    pub clone: BTreeSet<CloneKind>,
    /// [`PoolDriver::grow`](crate::PoolDriver::grow) works.
    pub grow: bool,
    /// [`PoolDriver::shrink`](crate::PoolDriver::shrink) works.
    pub shrink: bool,
    /// The formats whose volumes [`PoolDriver::snapshot`](crate::PoolDriver::snapshot) handles while nobody has them open.
    pub snapshot_offline: BTreeSet<DiskFormat>,
    /// The formats whose volumes it also handles while a guest runs on them. A restore is always offline.
    pub snapshot_online: BTreeSet<DiskFormat>,
    /// [`PoolDriver::snapshot_group`](crate::PoolDriver::snapshot_group) works.
    pub snapshot_group: bool,
    /// A volume can be brought back to its snapshots ([`SnapshotAction::Restore`](crate::SnapshotAction::Restore)).
    pub revert: bool,
    /// What a guest discards is given back to the storage. Whoever sees the storage then sees where the volume has nothing.
    pub discard: bool,
    /// [`PoolDriver::limit`](crate::PoolDriver::limit) works.
    pub qos: bool,
}

impl Capabilities {
    /// A pool of plain raw volumes on one host, with exact sizes, that can do nothing else.
    #[must_use]
    pub fn none() -> Self {
        Self {
            encryption: Encryption::Unsupported,
            formats: BTreeSet::from([DiskFormat::Raw]),
            sizes: SizeRule::Exact,
            reach: Reach::Host,
            templates: false,
            overlays: BTreeSet::new(),
            copies: false,
            clone: BTreeSet::new(),
            grow: false,
            shrink: false,
            snapshot_offline: BTreeSet::new(),
            snapshot_online: BTreeSet::new(),
            snapshot_group: false,
            revert: false,
            discard: false,
            qos: false,
        }
    }
}
