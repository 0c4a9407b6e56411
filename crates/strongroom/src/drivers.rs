//! Which driver serves a pool.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strongroom_control_plane::{PoolDrivers, PoolRecord};
use strongroom_pool_block::{BlockPool, DeviceShelf, ShelfDevice};
use strongroom_pool_file::{FilePool, FilePoolConfig};
use strongroom_storage_pool::{ErrorKind, PoolDriver, PoolError};
use strongroom_types::DeviceSize;

/// The kind of pool whose volumes are files in a directory.
pub(crate) const FILE: &str = "file";
/// The kind of pool whose volumes are block devices of this machine.
pub(crate) const BLOCK: &str = "block";

/// The setting that names the directory.
pub(crate) const DIRECTORY: &str = "directory";
/// The setting that says whether volumes can be encrypted: `yes` or `no`.
pub(crate) const ENCRYPTION: &str = "encryption";
/// The setting that says whether a file system is mounted on the directory: `yes` or `no`.
pub(crate) const MOUNT_POINT: &str = "mount-point";
/// The setting that names the NFS export, as `server:/path`.
pub(crate) const NFS: &str = "nfs";
/// The setting that says whether the directory is a mount point that several hosts share: `yes` or `no`.
pub(crate) const SHARED: &str = "shared";
/// The setting that says whether discards are passed on: `yes` or `no`.
pub(crate) const DISCARD: &str = "discard";
/// The setting that says how many percent of the file system volumes may promise.
pub(crate) const PROMISE: &str = "promise";
/// The setting that lists the devices, as JSON.
pub(crate) const DEVICES: &str = "devices";
/// The setting that names the file which says whose each device is.
pub(crate) const SHELF: &str = "shelf";

/// A block device as it is kept in the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListedDevice {
    pub(crate) path: String,
    pub(crate) size: DeviceSize,
    pub(crate) serial: Option<String>,
}

/// The drivers that this program is built with.
#[derive(Debug)]
pub(crate) struct Drivers;

impl PoolDrivers for Drivers {
    fn driver(&self, pool: &PoolRecord) -> Result<Arc<dyn PoolDriver>, PoolError> {
        match pool.kind.as_str() {
            FILE => file(pool),
            BLOCK => block(pool),
            other => {
                let message = format!(
                    "pool {} is of kind {other:?}, for which there is no driver here",
                    pool.id
                );
                Err(PoolError::unsupported("open", message))
            }
        }
    }
}

fn setting<'a>(pool: &'a PoolRecord, name: &str) -> Result<&'a str, PoolError> {
    pool.settings.get(name).map(String::as_str).ok_or_else(|| {
        let message = format!("pool {} has no {name} in its settings", pool.id);
        PoolError::new(ErrorKind::InvalidRequest, "open", message)
    })
}

fn says(pool: &PoolRecord, name: &str, word: &str) -> bool {
    pool.settings.get(name).is_some_and(|said| said == word)
}

fn file(pool: &PoolRecord) -> Result<Arc<dyn PoolDriver>, PoolError> {
    let directory = PathBuf::from(setting(pool, DIRECTORY)?);
    let mut config = match pool.settings.get(NFS) {
        Some(export) => FilePoolConfig::nfs(pool.id.clone(), directory, export),
        None if says(pool, SHARED, "yes") => FilePoolConfig::shared_mount_point(pool.id.clone(), directory),
        None => FilePoolConfig::new(pool.id.clone(), directory),
    };
    config = config.of_installation(pool.installation.clone());
    if says(pool, ENCRYPTION, "no") {
        config = config.without_encryption();
    }
    if says(pool, MOUNT_POINT, "yes") {
        config = config.on_mount_point();
    }
    if says(pool, DISCARD, "yes") {
        config = config.with_discard();
    }
    if let Some(percent) = pool.settings.get(PROMISE) {
        let percent = percent.parse().map_err(|e| {
            let message = format!("pool {}: {percent:?} is no number of percent", pool.id);
            PoolError::new(ErrorKind::InvalidRequest, "open", message).with_source(e)
        })?;
        config = config.promising_up_to(percent);
    }
    Ok(Arc::new(FilePool::open(config)?))
}

fn block(pool: &PoolRecord) -> Result<Arc<dyn PoolDriver>, PoolError> {
    let devices: Vec<ListedDevice> = serde_json::from_str(setting(pool, DEVICES)?).map_err(|e| {
        let message = format!("the list of devices of pool {} is damaged", pool.id);
        PoolError::new(ErrorKind::InvalidRequest, "open", message).with_source(e)
    })?;
    let devices = devices
        .into_iter()
        .map(|device| ShelfDevice::new(device.path, device.size, device.serial));
    let shelf = DeviceShelf::open(pool.id.clone(), setting(pool, SHELF)?, devices)?;
    let mut driver = BlockPool::new(shelf);
    if says(pool, ENCRYPTION, "no") {
        driver = driver.without_encryption();
    }
    Ok(Arc::new(driver))
}
