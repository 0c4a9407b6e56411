use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use strongroom_endpoint_selector::{
    BlockDevice, ContentDigest, DeviceIdentity, DiskLocation, FileStamp, MigratedStorage, SnapshotAction,
    StopVmHow,
};
use strongroom_types::{
    CheckpointId, DeviceSize, DiskFormat, DiskTarget, EncryptionFormat, GuestSize, InstallationId,
    PassphraseId, PoolId, SnapshotId, VmId, VolumeId,
};

/// A field of a command as the command has it, which is mirrored for the wire.
pub(crate) trait Mirror {
    type Wire;

    /// The mirror. `None` for what this version does not know.
    fn mirror(self) -> Option<Self::Wire>;
}

/// A field of a command as it comes off the wire. It is lent in two steps, because a command borrows slices of things that
/// borrow themselves: first whatever needs a place is made, then the command borrows from that.
pub(crate) trait Lend {
    type Held<'s>
    where
        Self: 's;
    type Lent<'h>
    where
        Self: 'h;

    fn hold(&self) -> Self::Held<'_>;
    fn lend<'h, 's: 'h>(held: &'h Self::Held<'s>) -> Self::Lent<'h>
    where
        Self: 's;
}

/// What is lent in one step.
macro_rules! lent {
    ($wire:ty => $lent:ty, |$this:ident| $hold:expr) => {
        impl $crate::wire::Lend for $wire {
            type Held<'h>
                = $lent
            where
                Self: 'h;
            type Lent<'h>
                = $lent
            where
                Self: 'h;
            fn hold(&self) -> Self::Held<'_> {
                let $this = self;
                $hold
            }
            fn lend<'h, 's: 'h>(held: &'h Self::Held<'s>) -> $lent
            where
                Self: 's,
            {
                *held
            }
        }
    };
}
pub(super) use lent;

macro_rules! values {
    ($($type:ty),+) => {$(
        impl Mirror for $type {
            type Wire = Self;
            fn mirror(self) -> Option<Self> {
                Some(self)
            }
        }
        lent!($type => $type, |value| *value);
    )+};
}
values!(bool, DiskFormat, EncryptionFormat, GuestSize, DeviceSize);

macro_rules! ids {
    ($($type:ty),+) => {$(
        impl Mirror for &$type {
            type Wire = $type;
            fn mirror(self) -> Option<$type> {
                Some(self.clone())
            }
        }
        lent!($type => &'h $type, |id| id);
    )+};
}
ids!(
    InstallationId,
    VolumeId,
    SnapshotId,
    PoolId,
    VmId,
    PassphraseId,
    CheckpointId,
    DiskTarget
);

impl<M: Mirror> Mirror for Option<M> {
    type Wire = Option<M::Wire>;
    fn mirror(self) -> Option<Self::Wire> {
        match self {
            None => Some(None),
            Some(inner) => inner.mirror().map(Some),
        }
    }
}

impl<L: Lend> Lend for Option<L> {
    type Held<'s>
        = Option<L::Held<'s>>
    where
        Self: 's;
    type Lent<'h>
        = Option<L::Lent<'h>>
    where
        Self: 'h;
    fn hold(&self) -> Self::Held<'_> {
        self.as_ref().map(L::hold)
    }
    fn lend<'h, 's: 'h>(held: &'h Self::Held<'s>) -> Self::Lent<'h>
    where
        Self: 's,
    {
        held.as_ref().map(|held| L::lend(held))
    }
}

impl<T> Mirror for &[T]
where
    T: Mirror + Copy,
{
    type Wire = Vec<T::Wire>;
    fn mirror(self) -> Option<Self::Wire> {
        self.iter().map(|item| item.mirror()).collect()
    }
}

/// Slices, which want a place: what is held is a vector of what the wire lends.
macro_rules! slices {
    ($($wire:ty => $held:ty, $lent:ty);+ $(;)?) => {$(
        impl<'a> $crate::wire::Lend for Vec<$wire> {
            type Held<'s> = Vec<$held> where Self: 's;
            type Lent<'h> = &'h [$lent] where Self: 'h;
            fn hold(&self) -> Self::Held<'_> {
                self.iter().map(|item| $crate::wire::Lend::hold(item)).collect()
            }
            fn lend<'h, 's: 'h>(held: &'h Self::Held<'s>) -> &'h [$lent] where Self: 's {
                held
            }
        }
    )+};
}
pub(super) use slices;
slices!(VmId => &'s VmId, &'h VmId; VolumeId => &'s VolumeId, &'h VolumeId; GuestSize => GuestSize, GuestSize);

/// A path, whatever bytes it has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WirePath(Vec<u8>);

impl From<&Path> for WirePath {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().as_bytes().to_vec())
    }
}

impl From<WirePath> for PathBuf {
    fn from(path: WirePath) -> Self {
        Self::from(std::ffi::OsString::from_vec(path.0))
    }
}

impl WirePath {
    pub(crate) fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }
}

impl Mirror for &Path {
    type Wire = WirePath;
    fn mirror(self) -> Option<WirePath> {
        Some(self.into())
    }
}

lent!(WirePath => &'h Path, |path| path.as_path());

/// A digest.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct WireDigest {
    sha256: [u8; 32],
    bytes: GuestSize,
}

impl From<ContentDigest> for WireDigest {
    fn from(digest: ContentDigest) -> Self {
        Self {
            sha256: digest.sha256,
            bytes: digest.bytes,
        }
    }
}

impl From<WireDigest> for ContentDigest {
    fn from(wire: WireDigest) -> Self {
        Self::new(wire.sha256, wire.bytes)
    }
}

impl Mirror for ContentDigest {
    type Wire = WireDigest;
    fn mirror(self) -> Option<WireDigest> {
        Some(self.into())
    }
}

lent!(WireDigest => ContentDigest, |digest| (*digest).into());

/// By what a file is known: length, inode, modified, changed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct WireStamp(u64, u64, i128, i128);

impl From<FileStamp> for WireStamp {
    fn from(stamp: FileStamp) -> Self {
        Self(stamp.length, stamp.inode, stamp.modified, stamp.changed)
    }
}

impl From<WireStamp> for FileStamp {
    fn from(WireStamp(length, inode, modified, changed): WireStamp) -> Self {
        Self::new(length, inode, modified, changed)
    }
}

/// Where a disk is, on the wire.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum WireLocation {
    File(WirePath),
    Block {
        path: WirePath,
        identity: Option<(DeviceSize, Option<String>)>,
        used: Option<DeviceSize>,
    },
}

/// Where a disk is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "WireLocation", into = "WireLocation")]
pub(crate) struct Location(pub(crate) DiskLocation);

impl From<Location> for WireLocation {
    fn from(location: Location) -> Self {
        match location.0 {
            DiskLocation::File(path) => Self::File(path.as_path().into()),
            DiskLocation::Block(device) => Self::Block {
                path: device.path.as_path().into(),
                identity: device.identity.map(|i| (i.size, i.serial)),
                used: device.used,
            },
        }
    }
}

impl From<WireLocation> for Location {
    fn from(location: WireLocation) -> Self {
        Self(match location {
            WireLocation::File(path) => DiskLocation::File(path.into()),
            WireLocation::Block { path, identity, used } => {
                let mut device = BlockDevice::new(PathBuf::from(path));
                device.identity = identity.map(|(size, serial)| DeviceIdentity::new(size, serial));
                device.used = used;
                DiskLocation::Block(device)
            }
        })
    }
}

impl Mirror for &DiskLocation {
    type Wire = Location;
    fn mirror(self) -> Option<Location> {
        Some(Location(self.clone()))
    }
}

lent!(Location => &'h DiskLocation, |location| &location.0);

macro_rules! choices {
    ($($wire:ident = $type:ident { $($variant:ident),+ })+) => {$(
        #[derive(Debug, Clone, Copy, Serialize, Deserialize)]
        pub(crate) enum $wire { $($variant),+ }

        impl Mirror for $type {
            type Wire = $wire;
            fn mirror(self) -> Option<$wire> {
                Some(match self { $(Self::$variant => $wire::$variant),+ })
            }
        }
        lent!($wire => $type, |choice| match choice { $($wire::$variant => $type::$variant),+ });
    )+};
}
choices! {
    WireSnapshotAction = SnapshotAction { Create, Restore, Delete }
    WireStopVmHow = StopVmHow { Shutdown, PowerOff }
    WireMigratedStorage = MigratedStorage { Shared, Copied }
}
