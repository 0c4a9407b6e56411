//! Block devices: which one it is, how large, and whether it is the one that is meant.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use strongroom_endpoint_selector::{
    BlockDevice, DeviceFacts, DeviceIdentity, DiskLocation, EndpointError, ErrorKind, HostAnswer,
};
use strongroom_image::open_disk;
use strongroom_types::{Call, DeviceSize};

use crate::sysfs::Sysfs;
use crate::tools::Tools;
use crate::{failure, reading, usage};

/// Says which device is at a path.
pub(crate) fn identify(path: &Path) -> Result<HostAnswer, EndpointError> {
    facts("IdentifyDevice", path).map(HostAnswer::Device)
}

/// Has the host notice that a device has grown.
pub(crate) fn rescan(tools: &Tools, call: &Call, path: &Path) -> Result<HostAnswer, EndpointError> {
    const RESCAN: &str = "RescanDevice";
    let (file, _) = open(RESCAN, &BlockDevice::new(path))?;
    let sysfs = sysfs(RESCAN, path, &file)?;
    drop(file);
    if sysfs.is_loop() {
        tools.update_loop(RESCAN, call, path)?;
    } else {
        sysfs.rescan().map_err(|e| failure::io(RESCAN, path, e))?;
    }
    facts(RESCAN, path).map(HostAnswer::Device)
}

fn facts(operation: &'static str, path: &Path) -> Result<DeviceFacts, EndpointError> {
    let io = |e| failure::io(operation, path, e);
    let (file, bytes) = open(operation, &BlockDevice::new(path))?;
    let size = DeviceSize::new(bytes).map_err(|e| {
        let message = format!("{} is no device that can hold a disk: {e}", path.display());
        EndpointError::new(ErrorKind::WrongDisk, operation, message)
    })?;
    let mut facts = DeviceFacts::new(fs::canonicalize(path).map_err(io)?, size);
    facts.serial = sysfs(operation, path, &file)?.serial();
    facts.used_by = usage::of(&file, path).map_err(io)?;
    Ok(facts)
}

fn sysfs(operation: &'static str, path: &Path, file: &File) -> Result<Sysfs, EndpointError> {
    file.metadata()
        .and_then(|metadata| Sysfs::of(metadata.rdev()))
        .map_err(|e| failure::io(operation, path, e))
}

/// Opens a device for reading, if it is the one that is meant, and says how many bytes it has.
pub(crate) fn open(operation: &'static str, device: &BlockDevice) -> Result<(File, u64), EndpointError> {
    let path = &device.path;
    reading::absolute(operation, path)?;
    let mut file = open_disk(path).map_err(|e| reading::unreadable(operation, path, e))?;
    let io = |e| failure::io(operation, path, e);
    if !file.metadata().map_err(io)?.file_type().is_block_device() {
        return Err(wrong(operation, device, "is not a block device"));
    }
    let bytes = reading::length(operation, path, &mut file)?;
    io::Seek::rewind(&mut file).map_err(io)?;
    if let Some(meant) = &device.identity {
        let serial = match &meant.serial {
            None => None,
            Some(_) => sysfs(operation, path, &file)?.serial(),
        };
        identical(operation, device, meant, bytes, serial.as_deref())?;
    }
    Ok((file, bytes))
}

/// Fails when the device is another one than the one that is meant.
fn identical(
    operation: &'static str,
    device: &BlockDevice,
    meant: &DeviceIdentity,
    bytes: u64,
    serial: Option<&str>,
) -> Result<(), EndpointError> {
    let same_serial = meant.serial.is_none() || meant.serial.as_deref() == serial;
    if bytes == meant.size.get() && same_serial {
        return Ok(());
    }
    let known =
        |serial: Option<&str>| serial.map_or_else(|| "no serial".to_owned(), |s| format!("serial {s:?}"));
    let found = format!(
        "has {bytes} bytes and {}, but the device that is meant has {} bytes and {}",
        known(serial),
        meant.size.get(),
        known(meant.serial.as_deref())
    );
    Err(wrong(operation, device, &found))
}

/// How many bytes of a device are the disk, of the `bytes` that it has.
pub(crate) fn used(operation: &'static str, device: &BlockDevice, bytes: u64) -> Result<u64, EndpointError> {
    match device.used {
        None => Ok(bytes),
        Some(used) if used.get() <= bytes => Ok(used.get()),
        Some(used) => {
            let found = format!("has {bytes} bytes, the disk on it is said to have {}", used.get());
            Err(wrong(operation, device, &found))
        }
    }
}

/// Fails when something on this host uses the device. Files are used by nobody in this sense.
pub(crate) fn unused(operation: &'static str, location: &DiskLocation) -> Result<(), EndpointError> {
    let DiskLocation::Block(device) = location else {
        return Ok(());
    };
    let (file, _) = open(operation, device)?;
    match usage::of(&file, &device.path).map_err(|e| failure::io(operation, &device.path, e))? {
        None => Ok(()),
        Some(user) => {
            let message = format!("{location} is in use on this host: {user}");
            Err(EndpointError::new(ErrorKind::Busy, operation, message))
        }
    }
}

fn wrong(operation: &'static str, device: &BlockDevice, found: &str) -> EndpointError {
    let message = format!("{} {found}", device.path.display());
    EndpointError::new(ErrorKind::WrongDisk, operation, message)
}
