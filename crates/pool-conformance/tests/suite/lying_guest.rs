use std::path::Path;
use std::sync::Arc;

use strongroom_pool_conformance::{Guest, GuestError};
use strongroom_storage_pool::fake::MemoryPool;
use strongroom_storage_pool::{Attachment, VolumeKey};
use strongroom_types::{DiskFormat, GuestSize, VolumeId};

use crate::site::MemoryGuest;

/// What happens to the encrypted raw volumes of a storage that takes keys lightly.
#[derive(Debug)]
pub(crate) struct LyingGuest {
    sound: MemoryGuest,
    pool: Arc<MemoryPool>,
    blank: bool,
    opens: bool,
}

impl LyingGuest {
    fn new(pool: &Arc<MemoryPool>, blank: bool, opens: bool) -> Self {
        Self {
            sound: MemoryGuest(Arc::clone(pool)),
            pool: Arc::clone(pool),
            blank,
            opens,
        }
    }

    /// No key opens one on which nothing was written.
    pub(crate) fn refuses_blank_raw(pool: &Arc<MemoryPool>) -> Self {
        Self::new(pool, true, false)
    }

    /// Every key opens one on which nothing was written.
    pub(crate) fn opens_blank_raw(pool: &Arc<MemoryPool>) -> Self {
        Self::new(pool, true, true)
    }

    /// Every key opens one on which something was written.
    pub(crate) fn opens_written_raw(pool: &Arc<MemoryPool>) -> Self {
        Self::new(pool, false, true)
    }
}

impl Guest for LyingGuest {
    fn open(&self, at: &Attachment, key: VolumeKey<'_>) -> Result<(), GuestError> {
        let id: VolumeId = at
            .location
            .path()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        let blank = self.pool.content(&id).is_none();
        if at.format == DiskFormat::Raw && at.encryption.is_some() && blank == self.blank {
            return if self.opens {
                Ok(())
            } else {
                Err(GuestError::WrongKey)
            };
        }
        self.sound.open(at, key)
    }
    fn write(&self, at: &Attachment, key: VolumeKey<'_>, image: &Path) -> Result<(), GuestError> {
        self.sound.write(at, key, image)
    }
    fn reads(&self, at: &Attachment, key: VolumeKey<'_>, image: &Path) -> Result<bool, GuestError> {
        self.sound.reads(at, key, image)
    }
    fn digest(&self, at: &Attachment, key: VolumeKey<'_>, first: GuestSize) -> Result<[u8; 32], GuestError> {
        self.sound.digest(at, key, first)
    }
}
