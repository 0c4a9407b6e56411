use strongroom_endpoint_selector::{ContentDigest, Declassification, Disk, SnapshotAction, SourceImage};
use strongroom_secret::Passphrase;
use strongroom_types::{DiskFormat, GuestSize, SnapshotId, TemplateId, VolumeId};

/// Whether a volume is encrypted, with its key if it is. The driver knows by which means.
///
/// There is no default: whoever asks for a volume says which of the two it is.
#[derive(Debug, Clone, Copy)]
pub enum VolumeKey<'k> {
    /// The volume is not encrypted, and that is meant.
    Plain,
    /// The volume is encrypted, and this opens it. Borrowed for the length of the call.
    Encrypted(&'k Passphrase),
}

/// A plain image to make volumes from, and the name by which a pool keeps it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Template<'a> {
    /// Its name. The image under a name never changes: another content has another name. `None`: the pool is to keep no copy.
    pub id: Option<&'a TemplateId>,
    /// Where the host that makes the volume finds it. Somebody untrusted may have made it.
    pub image: SourceImage<'a>,
    /// What a guest reads of it, where that is known. A pool that keeps a copy has a host compare the copy with this before anybody can use it
    /// ([`CreateDisk::digest`](strongroom_endpoint_selector::CreateDisk)), and keeps none that differs.
    pub digest: Option<ContentDigest>,
}

impl<'a> Template<'a> {
    /// An image that the pool keeps under this name, to make more volumes from.
    #[must_use]
    pub fn named(id: &'a TemplateId, image: SourceImage<'a>) -> Self {
        Self {
            id: Some(id),
            image,
            digest: None,
        }
    }

    /// An image for one volume, of which the pool keeps nothing.
    #[must_use]
    pub fn unnamed(image: SourceImage<'a>) -> Self {
        Self {
            id: None,
            image,
            digest: None,
        }
    }

    /// The same, which is known to hold this.
    #[must_use]
    pub fn holding(mut self, digest: Option<ContentDigest>) -> Self {
        self.digest = digest;
        self
    }
}

/// What a new volume holds.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum VolumeContent<'a> {
    /// Nothing. A raw volume that is encrypted on the host then reads as noise, every other as zeros.
    Blank,
    /// The content of a template, at most as large as the volume. The volume does not depend on it.
    Template(Template<'a>),
    /// A template that the volume reads from until something is written, and depends on until it is
    /// [flattened](crate::PoolDriver::flatten). What the volume does not write stays in clear in the storage, so this is for templates
    /// that are no secret. The template has a name.
    Overlay(Template<'a>),
    /// The content of another disk, of this pool or not, at most as large, that nobody writes to meanwhile and the host reaches. Through
    /// its cipher: the volume has a key of its own. From an encrypted disk into a plain volume it is refused.
    Copy(Disk<'a>),
    /// The content of an encrypted disk, in clear: the volume is plain, and that is meant.
    Declassified(Disk<'a>, Declassification<'a>),
}

/// What opens a clone.
#[derive(Debug, Clone, Copy)]
pub enum CloneKey<'k> {
    /// A key of its own: header and every sector are encrypted anew, so that neither the source's key nor its header opens the
    /// clone. `Plain` for the clone of a plain volume.
    Own(VolumeKey<'k>),
    /// The source's passphrase and volume key. Whoever has an old header of the source opens the clone, for as long as it lives.
    Shared,
}

/// How fast a volume may be, as limits of the storage or of the host that runs the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QosLimits {
    /// Bytes a second, reads and writes together; `None` for no limit.
    pub bytes_per_second: Option<u64>,
    /// Operations a second, reads and writes together; `None` for no limit.
    pub operations_per_second: Option<u64>,
}

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        #[non_exhaustive]
        pub struct $name<'a> {
            $($(#[$field_doc])* pub $field: $type),+
        }

        impl<'a> $name<'a> {
            /// The request with all that it needs.
            #[must_use]
            pub fn new($($field: $type),+) -> Self {
                Self { $($field),+ }
            }
        }
    )+};
}

requests! {
    /// Asks for a new volume.
    CreateVolume {
        /// Its id, chosen by the caller.
        volume: &'a VolumeId,
        /// What the guest is to see.
        guest: GuestSize,
        /// How its sectors are to lie.
        format: DiskFormat,
        /// Whether it is encrypted, and its key.
        key: VolumeKey<'a>,
        /// What it is to hold.
        content: VolumeContent<'a>,
    }

    /// Asks for a volume of another size.
    ResizeVolume {
        /// Which volume.
        volume: &'a VolumeId,
        /// What the guest is to see.
        to: GuestSize,
        /// Whether it is encrypted, and its key.
        key: VolumeKey<'a>,
    }

    /// Asks for work on a snapshot.
    SnapshotVolume {
        /// Which volume.
        volume: &'a VolumeId,
        /// Which snapshot of it.
        snapshot: &'a SnapshotId,
        /// What is to be done.
        action: SnapshotAction,
        /// Whether the volume is encrypted, and its key.
        key: VolumeKey<'a>,
    }

    /// Asks for a snapshot of several volumes at one instant.
    SnapshotGroup {
        /// Which volumes, each with its key.
        volumes: &'a [(&'a VolumeId, VolumeKey<'a>)],
        /// The name that the snapshot has in each of them.
        snapshot: &'a SnapshotId,
    }

    /// Asks for a new volume with the content of another of the same pool.
    CloneVolume {
        /// The volume to clone. Nobody writes to it meanwhile.
        source: &'a VolumeId,
        /// Whether the source is encrypted, and its key.
        source_key: VolumeKey<'a>,
        /// The id of the clone, chosen by the caller.
        volume: &'a VolumeId,
        /// What opens the clone. It is on the same side of the cipher as the source.
        key: CloneKey<'a>,
    }

    /// Asks for a volume that depends on no template any more.
    FlattenVolume {
        /// Which volume.
        volume: &'a VolumeId,
        /// Whether it is encrypted, and its key.
        key: VolumeKey<'a>,
    }

    /// Asks for limits on a volume.
    LimitVolume {
        /// Which volume.
        volume: &'a VolumeId,
        /// How fast it may be.
        limits: QosLimits,
    }
}
