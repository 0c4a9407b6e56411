//! Which driver serves a pool.

use std::path::PathBuf;
use std::sync::Arc;

use strongroom_control_plane::{PoolDrivers, PoolRecord};
use strongroom_pool_file::{FilePool, FilePoolConfig};
use strongroom_storage_pool::{ErrorKind, PoolDriver, PoolError};

/// The kind of pool whose volumes are files in a directory.
pub(crate) const FILE: &str = "file";
/// The setting that names the directory.
pub(crate) const DIRECTORY: &str = "directory";
/// The setting that says whether volumes can be encrypted: `yes` or `no`.
pub(crate) const ENCRYPTION: &str = "encryption";

/// The setting that says whether a file system is mounted on the directory: `yes` or `no`.
pub(crate) const MOUNT_POINT: &str = "mount-point";

/// The drivers that this program is built with.
#[derive(Debug)]
pub(crate) struct Drivers;

impl PoolDrivers for Drivers {
    fn driver(&self, pool: &PoolRecord) -> Result<Arc<dyn PoolDriver>, PoolError> {
        if pool.kind != FILE {
            let message = format!(
                "pool {} is of kind {:?}, for which there is no driver here",
                pool.id, pool.kind
            );
            return Err(PoolError::unsupported("open", message));
        }
        let directory = pool.settings.get(DIRECTORY).map(PathBuf::from).ok_or_else(|| {
            let message = format!("pool {} has no directory in its settings", pool.id);
            PoolError::new(ErrorKind::InvalidRequest, "open", message)
        })?;
        let mut config = FilePoolConfig::new(pool.id.clone(), directory);
        if pool.settings.get(ENCRYPTION).is_some_and(|e| e == "no") {
            config = config.without_encryption();
        }
        if pool.settings.get(MOUNT_POINT).is_some_and(|e| e == "yes") {
            config = config.on_mount_point();
        }
        Ok(Arc::new(FilePool::open(config)?))
    }
}
