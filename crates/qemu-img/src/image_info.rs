use std::collections::HashSet;

use serde::Deserialize;
use strongroom_types::{ByteSize, GuestSize, SizeError};

/// What `qemu-img info` says of one image. Texts come from the image itself: show them, do not trust them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageInfo {
    /// What a guest sees, in bytes, as it stands in the header. [`ImageInfo::guest_size`] checks it.
    pub virtual_size: u64,
    /// What its file takes on the file system.
    pub actual_size: Option<ByteSize>,
    /// QEMU's name for the format, which is the one that was said.
    pub format: String,
    /// Whether it is encrypted by itself.
    pub encrypted: bool,
    /// How, when it is LUKS.
    pub encryption: Option<EncryptionInfo>,
    /// What its header names as backing file.
    pub backing: Option<BackingInfo>,
    /// The file that its header names for its data, when that is not the image itself.
    pub data_file: Option<String>,
    /// The size of a cluster in bytes.
    pub cluster_size: Option<u64>,
    /// `0.10` or `1.1` for qcow2.
    pub compat: Option<String>,
    /// Whether the header is marked as corrupt.
    pub corrupt: bool,
    /// Whether the header is marked as not cleanly closed.
    pub dirty: bool,
    /// Internal snapshots, oldest first.
    pub snapshots: Vec<SnapshotInfo>,
    /// Persistent bitmaps.
    pub bitmaps: Vec<BitmapInfo>,
}

impl ImageInfo {
    /// What a guest sees.
    ///
    /// # Errors
    /// [`SizeError`] when the header has a size that no disk can have.
    pub fn guest_size(&self) -> Result<GuestSize, SizeError> {
        GuestSize::new(self.virtual_size)
    }
}

/// A LUKS1 header as `qemu-img info` shows it, without a key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct EncryptionInfo {
    /// Such as `aes-256`.
    pub cipher_alg: String,
    /// Such as `xts`.
    pub cipher_mode: String,
    /// Such as `plain64`.
    pub ivgen_alg: String,
    /// Such as `sha256`.
    pub hash_alg: String,
    /// The UUID of the header.
    pub uuid: String,
    /// Where the content begins, in bytes from the beginning of the LUKS header.
    pub payload_offset: u64,
    /// The iterations by which the digest of the volume key is derived.
    pub master_key_iters: u64,
    /// Eight keyslots.
    pub slots: Vec<KeyslotInfo>,
}

impl EncryptionInfo {
    /// The numbers of the keyslots that open the image.
    pub fn active_slots(&self) -> impl Iterator<Item = usize> {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.active)
            .map(|(number, _)| number)
    }
}

/// One keyslot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct KeyslotInfo {
    /// Whether a passphrase opens it.
    pub active: bool,
    /// The iterations that one attempt takes.
    pub iters: Option<u64>,
    /// Where its key material lies, in bytes from the beginning of the LUKS header.
    pub key_offset: u64,
}

/// What a header names as backing file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackingInfo {
    /// The name as it stands there.
    pub name: String,
    /// The same as an absolute path, where QEMU can say it.
    pub full_name: Option<String>,
    /// The format as it stands there. Without it QEMU would probe.
    pub format: Option<String>,
}

/// One internal snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// QEMU's own number for it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The size of the saved memory in bytes.
    pub vm_state_size: u64,
    /// When it was made, in seconds since 1970.
    pub date_sec: i64,
}

/// One persistent bitmap.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct BitmapInfo {
    /// Its name.
    pub name: String,
    /// How many bytes one bit stands for.
    pub granularity: u64,
    /// `auto` while it records writes, `in-use` when it was not saved properly.
    pub flags: HashSet<String>,
}

impl BitmapInfo {
    /// Whether it records writes.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.flags.contains("auto")
    }
}
