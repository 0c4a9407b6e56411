use strongroom_endpoint_selector::{DiskContent, SnapshotAction};
use strongroom_secret::Passphrase;
use strongroom_types::{DiskFormat, GuestSize, SnapshotId, VolumeId};

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
        content: DiskContent<'a>,
    }

    /// Asks for a larger volume.
    GrowVolume {
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
}
