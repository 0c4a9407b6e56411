use std::path::{Component, PathBuf};

use strongroom_storage_pool::{ErrorKind, PoolError, Reach};
use strongroom_types::PoolId;

/// Where a pool is and what it is for.
#[derive(Debug, Clone)]
#[must_use]
pub struct FilePoolConfig {
    pub(crate) pool: PoolId,
    pub(crate) directory: PathBuf,
    pub(crate) encryption: bool,
    pub(crate) mount_point: bool,
    pub(crate) reach: Reach,
}

impl FilePoolConfig {
    /// A pool in a directory that one host reaches, with encryption.
    pub fn new(pool: PoolId, directory: PathBuf) -> Self {
        Self {
            pool,
            directory,
            encryption: true,
            mount_point: false,
            reach: Reach::Host,
        }
    }

    /// The same, but requests for encrypted volumes are refused. Those that are there already stay usable.
    pub fn without_encryption(mut self) -> Self {
        self.encryption = false;
        self
    }

    /// The same, and the directory must be where a file system is mounted: while it is not on another file system than its
    /// parent, nothing is read there and nothing written. A bind mount of the parent's own file system looks like no mount and
    /// will not do.
    pub fn on_mount_point(mut self) -> Self {
        self.mount_point = true;
        self
    }

    /// The same, reached by more hosts than one, each by the same path.
    pub fn reached_by(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// Whether this can be a pool at all. Nothing is looked at on a disk.
    pub(crate) fn check(&self) -> Result<(), PoolError> {
        let plain = self
            .directory
            .components()
            .all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        let problem = if !self.directory.is_absolute() || !plain {
            "is not an absolute path without \"..\""
        } else if self.directory.parent().is_none() {
            "is the root of everything; name a directory for the pool alone"
        } else {
            return Ok(());
        };
        let message = format!("pool {}: {:?} {problem}", self.pool, self.directory.display());
        Err(PoolError::new(ErrorKind::InvalidRequest, "open", message))
    }
}
