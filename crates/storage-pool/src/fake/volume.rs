use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};

use strongroom_endpoint_selector::ErrorKind;
use strongroom_types::{
    DeviceSize, DiskFormat, EncryptionFormat, Geometry, GuestSize, HostId, PayloadOffset, SnapshotId,
};

use crate::{PoolError, QosLimits, SizeRule, Volume, VolumeKey};

/// What the fake keeps of a volume.
#[derive(Debug, Clone)]
pub(super) struct FakeVolume {
    pub(super) facts: Volume,
    /// A fingerprint of the key; `None` when the volume is plain.
    pub(super) key: Option<u64>,
    pub(super) content: Option<PathBuf>,
    pub(super) snapshots: BTreeMap<SnapshotId, (GuestSize, Option<PathBuf>)>,
    pub(super) attached: BTreeSet<HostId>,
    pub(super) limits: QosLimits,
}

/// Which operation computes a size, and by which rule.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) operation: &'static str,
    pub(super) rule: SizeRule,
}

pub(super) fn fingerprint(hasher: &impl BuildHasher, key: VolumeKey<'_>) -> Option<u64> {
    match key {
        VolumeKey::Plain => None,
        VolumeKey::Encrypted(key) => Some(hasher.hash_one(key.expose_secret())),
    }
}

/// What the storage provides so that the guest sees `guest`.
pub(super) fn device(
    change: Change,
    format: DiskFormat,
    encryption: Option<EncryptionFormat>,
    guest: GuestSize,
) -> Result<DeviceSize, PoolError> {
    let invalid = |message: String| PoolError::new(ErrorKind::InvalidRequest, change.operation, message);
    let offset = match (format, encryption) {
        (DiskFormat::Raw, Some(EncryptionFormat::Luks1)) => PayloadOffset::LUKS1_CRYPTSETUP,
        (DiskFormat::Raw, Some(EncryptionFormat::Luks2)) => PayloadOffset::LUKS2_CRYPTSETUP,
        _ => PayloadOffset::NONE,
    };
    let exact = Geometry::for_guest(guest, offset)
        .map_err(|e| invalid(e.to_string()))?
        .device();
    match change.rule {
        SizeRule::Exact => Ok(exact),
        SizeRule::DeviceRoundedTo(unit) => exact
            .get()
            .checked_next_multiple_of(unit)
            .and_then(|bytes| DeviceSize::new(bytes).ok())
            .ok_or_else(|| {
                invalid(format!(
                    "{exact} has no next multiple of {unit} bytes that is a disk size"
                ))
            }),
    }
}

impl FakeVolume {
    /// A volume that nobody has attached.
    pub(super) fn new(facts: Volume, key: Option<u64>, content: Option<PathBuf>) -> Self {
        Self {
            facts,
            key,
            content,
            snapshots: BTreeMap::new(),
            attached: BTreeSet::new(),
            limits: QosLimits::default(),
        }
    }

    pub(super) fn facts(&self) -> Volume {
        let mut facts = self.facts.clone();
        facts.snapshots = self.snapshots.keys().cloned().collect();
        facts
    }

    /// Whether this opens the volume; `held` is what the fake keeps of the key.
    pub(super) fn open(&self, operation: &'static str, held: Option<u64>) -> Result<(), PoolError> {
        let id = &self.facts.id;
        let (kind, message) = match (self.key, held) {
            (mine, theirs) if mine == theirs => return Ok(()),
            (Some(_), None) => (
                ErrorKind::WrongDisk,
                format!("volume {id} is encrypted, the request says plain"),
            ),
            (None, Some(_)) => (
                ErrorKind::WrongDisk,
                format!("volume {id} is plain, the request says encrypted"),
            ),
            _ => (ErrorKind::WrongKey, format!("the key does not open volume {id}")),
        };
        Err(PoolError::new(kind, operation, message))
    }

    /// Fails while a host has the volume.
    pub(super) fn closed(&self, operation: &'static str) -> Result<(), PoolError> {
        let Some(host) = self.attached.first() else {
            return Ok(());
        };
        let message = format!("volume {} is attached to {host}; detach it first", self.facts.id);
        Err(PoolError::new(ErrorKind::Busy, operation, message))
    }

    pub(super) fn resize(&mut self, change: Change, to: GuestSize) -> Result<(), PoolError> {
        let device = device(change, self.facts.format, self.facts.encryption, to)?;
        self.facts.guest = to;
        self.facts.device = device;
        self.facts.allocated = device.bytes();
        Ok(())
    }

    /// The bytes as whoever sees the storage sees them.
    pub(super) fn stored(&self, image: impl Fn(&Path) -> Vec<u8>) -> Vec<u8> {
        let length = usize::try_from(self.facts.device.get()).unwrap_or(usize::MAX);
        let mut stored = match (self.facts.format, self.facts.encryption) {
            (DiskFormat::Raw, None) => Vec::new(),
            (DiskFormat::Raw, Some(luks)) => {
                // The magic and the version: LUKS1 On-Disk Format Specification 1.2.3, 2.1.
                let version = if luks == EncryptionFormat::Luks1 { 1 } else { 2 };
                vec![b'L', b'U', b'K', b'S', 0xba, 0xbe, 0, version]
            }
            // Magic, version, and the encryption method at byte 32: docs/interop/qcow2.rst of QEMU.
            (_, encryption) => {
                let mut header = b"QFI\xfb\0\0\0\x03".to_vec();
                header.resize(35, 0);
                header.push(if encryption.is_some() { 2 } else { 0 });
                header.resize(512, 0);
                header
            }
        };
        match (self.key, &self.content) {
            (Some(key), content) => noise((key, content), &mut stored, length),
            (None, Some(path)) if self.facts.overlay_of.is_none() => stored.extend(image(path)),
            (None, _) => {}
        }
        stored
    }
}

/// Fills up to `length` with bytes that follow from the seed and do not repeat.
fn noise(seed: impl std::hash::Hash, into: &mut Vec<u8>, length: usize) {
    let hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default();
    let mut state = hasher.hash_one(seed) | 1;
    while into.len() < length {
        // Marsaglia, "Xorshift RNGs" (2003): the period is 2^64 - 1.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let left = length.saturating_sub(into.len()).min(8);
        into.extend(state.to_be_bytes().iter().take(left));
    }
}
