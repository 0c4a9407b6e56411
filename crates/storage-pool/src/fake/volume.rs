use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::path::PathBuf;

use strongroom_endpoint_selector::ErrorKind;
use strongroom_types::{
    DeviceSize, DiskFormat, EncryptionFormat, Geometry, GuestSize, HostId, PayloadOffset, SnapshotId,
};

use crate::{PoolError, SizeRule, Volume, VolumeKey};

/// What the fake keeps of a volume.
#[derive(Debug, Clone)]
pub(super) struct FakeVolume {
    pub(super) facts: Volume,
    /// A fingerprint of the key; `None` when the volume is plain.
    pub(super) key: Option<u64>,
    pub(super) content: Option<PathBuf>,
    pub(super) snapshots: BTreeMap<SnapshotId, (GuestSize, Option<PathBuf>)>,
    pub(super) attached: BTreeSet<HostId>,
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

    pub(super) fn resize(&mut self, change: Change, to: GuestSize) -> Result<(), PoolError> {
        let device = device(change, self.facts.format, self.facts.encryption, to)?;
        self.facts.guest = to;
        self.facts.device = device;
        self.facts.allocated = device.bytes();
        Ok(())
    }
}
