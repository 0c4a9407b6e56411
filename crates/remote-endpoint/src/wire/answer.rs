use serde::{Deserialize, Serialize};
use strongroom_endpoint_selector::{
    BaseImage, DeviceFacts, DirectoryFacts, DiskFacts, HostAnswer, Locking, MountFacts, Sameness,
    Verification, VmDiskFacts, VmFacts, VmState,
};
use strongroom_types::{
    ByteSize, DeviceSize, DiskFormat, DiskTarget, EncryptionFormat, GuestSize, InstallationId, PayloadOffset,
    PoolId, SnapshotId, VmId,
};

use super::lend::{Location, WireDigest, WirePath, WireStamp};

/// What a host answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WireAnswer {
    Done,
    Disk(WireDiskFacts),
    Verified(WireDiskFacts, Vec<String>),
    Compared(bool),
    Directory(WireDirectory),
    Swept(Vec<WirePath>),
    Names(Vec<String>),
    Device {
        path: WirePath,
        size: DeviceSize,
        serial: Option<String>,
        used_by: Option<String>,
    },
    Digest(WireDigest),
    Vm(WireVmFacts),
    Vms(Vec<WireVmFacts>),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireDiskFacts {
    location: Location,
    format: DiskFormat,
    encryption: Option<EncryptionFormat>,
    guest: GuestSize,
    device: DeviceSize,
    allocated: ByteSize,
    payload_offset: PayloadOffset,
    cipher: Option<String>,
    snapshots: Vec<SnapshotId>,
    base: Option<(WirePath, DiskFormat)>,
    stamp: Option<WireStamp>,
    claims: Option<String>,
}

impl From<DiskFacts> for WireDiskFacts {
    fn from(facts: DiskFacts) -> Self {
        Self {
            location: Location(facts.location),
            format: facts.format,
            encryption: facts.encryption,
            guest: facts.guest,
            device: facts.device,
            allocated: facts.allocated,
            payload_offset: facts.payload_offset,
            cipher: facts.cipher,
            snapshots: facts.snapshots,
            base: facts.base.map(|base| (base.path.as_path().into(), base.format)),
            stamp: facts.stamp.map(Into::into),
            claims: facts.claims.map(str::to_owned),
        }
    }
}

impl From<WireDiskFacts> for DiskFacts {
    fn from(wire: WireDiskFacts) -> Self {
        let mut facts = Self::new(wire.location.0, wire.format, wire.guest, wire.device);
        facts.encryption = wire.encryption;
        facts.allocated = wire.allocated;
        facts.payload_offset = wire.payload_offset;
        facts.cipher = wire.cipher;
        facts.snapshots = wire.snapshots;
        facts.base = wire
            .base
            .map(|(path, format)| BaseImage::new(std::path::PathBuf::from(path), format));
        facts.stamp = wire.stamp.map(Into::into);
        facts.claims = wire.claims.map(|said| known_claim(&said));
        facts
    }
}

/// The formats that a file may claim, by the names that QEMU gives them, and the LUKS ones.
const CLAIMS: [&str; 15] = [
    "qcow2",
    "qcow",
    "qed",
    "vmdk",
    "vdi",
    "vpc",
    "vhd",
    "vhdx",
    "parallels",
    "bochs",
    "cloop",
    "dmg",
    "luks",
    "luks1",
    "luks2",
];

fn known_claim(said: &str) -> &'static str {
    CLAIMS
        .into_iter()
        .find(|known| *known == said)
        .unwrap_or("a format that is not known here")
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireDirectory {
    path: WirePath,
    file_system: u64,
    kind: String,
    total: ByteSize,
    free: ByteSize,
    writable: bool,
    pool: Option<PoolId>,
    owner: Option<InstallationId>,
    mount: Option<(WirePath, String, String, Vec<String>)>,
    /// Whether locks work; nothing where it was not tried.
    locking: Option<bool>,
    clock_skew: Option<i64>,
}

impl From<DirectoryFacts> for WireDirectory {
    fn from(facts: DirectoryFacts) -> Self {
        Self {
            path: facts.path.as_path().into(),
            file_system: facts.file_system,
            kind: facts.kind,
            total: facts.total,
            free: facts.free,
            writable: facts.writable,
            pool: facts.pool,
            owner: facts.owner,
            mount: facts
                .mount
                .map(|m| (m.point.as_path().into(), m.source, m.kind, m.options)),
            locking: match facts.locking {
                Locking::Works => Some(true),
                Locking::Missing => Some(false),
                _ => None,
            },
            clock_skew: facts.clock_skew,
        }
    }
}

impl From<WireDirectory> for DirectoryFacts {
    fn from(wire: WireDirectory) -> Self {
        let mut facts = Self::new(
            wire.path.into(),
            wire.file_system,
            wire.kind,
            wire.total,
            wire.free,
            wire.writable,
        );
        facts.pool = wire.pool;
        facts.owner = wire.owner;
        facts.mount = wire.mount.map(|(point, source, kind, options)| {
            MountFacts::new(std::path::PathBuf::from(point), source, kind, options)
        });
        facts.locking = match wire.locking {
            Some(true) => Locking::Works,
            Some(false) => Locking::Missing,
            None => Locking::Unknown,
        };
        facts.clock_skew = wire.clock_skew;
        facts
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum WireVmState {
    Running,
    Paused,
    Stopped,
    ShuttingDown,
}

#[derive(Debug, Serialize, Deserialize)]
struct WireVmDiskFacts {
    target: DiskTarget,
    location: Location,
    format: DiskFormat,
    encryption: Option<EncryptionFormat>,
    guest: GuestSize,
    below: Vec<Location>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireVmFacts {
    id: VmId,
    state: WireVmState,
    disks: Vec<WireVmDiskFacts>,
}

impl WireVmFacts {
    fn of(facts: VmFacts) -> Option<Self> {
        let state = match facts.state {
            VmState::Running => WireVmState::Running,
            VmState::Paused => WireVmState::Paused,
            VmState::Stopped => WireVmState::Stopped,
            VmState::ShuttingDown => WireVmState::ShuttingDown,
            _ => return None,
        };
        let disks = facts.disks.into_iter().map(|disk| WireVmDiskFacts {
            target: disk.target,
            location: Location(disk.location),
            format: disk.format,
            encryption: disk.encryption,
            guest: disk.guest,
            below: disk.below.into_iter().map(Location).collect(),
        });
        Some(Self {
            id: facts.id,
            state,
            disks: disks.collect(),
        })
    }
}

impl From<WireVmFacts> for VmFacts {
    fn from(wire: WireVmFacts) -> Self {
        let state = match wire.state {
            WireVmState::Running => VmState::Running,
            WireVmState::Paused => VmState::Paused,
            WireVmState::Stopped => VmState::Stopped,
            WireVmState::ShuttingDown => VmState::ShuttingDown,
        };
        let disks = wire.disks.into_iter().map(|d| {
            VmDiskFacts::new(d.target, d.location.0, d.format, d.encryption, d.guest).on(d
                .below
                .into_iter()
                .map(|location| location.0)
                .collect())
        });
        Self::new(wire.id, state, disks.collect())
    }
}

impl WireAnswer {
    /// The mirror of an answer; `None` for one that this version does not know.
    pub(crate) fn of(answer: HostAnswer) -> Option<Self> {
        Some(match answer {
            HostAnswer::Done => Self::Done,
            HostAnswer::Disk(facts) => Self::Disk(facts.into()),
            HostAnswer::Verified(proved) => Self::Verified(proved.facts.into(), proved.checked),
            HostAnswer::Compared(same) => Self::Compared(same == Sameness::Identical),
            HostAnswer::Directory(facts) => Self::Directory(facts.into()),
            HostAnswer::Swept(paths) => Self::Swept(paths.iter().map(|path| path.as_path().into()).collect()),
            HostAnswer::Names(names) => Self::Names(names),
            HostAnswer::Device(facts) => Self::Device {
                path: facts.path.as_path().into(),
                size: facts.size,
                serial: facts.serial,
                used_by: facts.used_by,
            },
            HostAnswer::Digest(digest) => Self::Digest(digest.into()),
            HostAnswer::Vm(facts) => Self::Vm(WireVmFacts::of(facts)?),
            HostAnswer::Vms(all) => Self::Vms(all.into_iter().map(WireVmFacts::of).collect::<Option<_>>()?),
            _ => return None,
        })
    }
}

impl From<WireAnswer> for HostAnswer {
    fn from(wire: WireAnswer) -> Self {
        match wire {
            WireAnswer::Done => Self::Done,
            WireAnswer::Disk(facts) => Self::Disk(facts.into()),
            WireAnswer::Verified(facts, checked) => Self::Verified(Verification::new(facts.into(), checked)),
            WireAnswer::Compared(true) => Self::Compared(Sameness::Identical),
            WireAnswer::Compared(false) => Self::Compared(Sameness::Different),
            WireAnswer::Directory(facts) => Self::Directory(facts.into()),
            WireAnswer::Swept(paths) => Self::Swept(paths.into_iter().map(Into::into).collect()),
            WireAnswer::Names(names) => Self::Names(names),
            WireAnswer::Device {
                path,
                size,
                serial,
                used_by,
            } => {
                let mut facts = DeviceFacts::new(std::path::PathBuf::from(path), size);
                facts.serial = serial;
                facts.used_by = used_by;
                Self::Device(facts)
            }
            WireAnswer::Digest(digest) => Self::Digest(digest.into()),
            WireAnswer::Vm(facts) => Self::Vm(facts.into()),
            WireAnswer::Vms(all) => Self::Vms(all.into_iter().map(Into::into).collect()),
        }
    }
}
