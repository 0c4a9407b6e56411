use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use strongroom_endpoint_selector::DeviceIdentity;
use strongroom_storage_pool::{ErrorKind, PoolError};
use strongroom_types::DeviceSize;

/// A block device that an operator gives to a shelf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShelfDevice {
    pub(crate) path: PathBuf,
    pub(crate) identity: DeviceIdentity,
}

impl ShelfDevice {
    /// The device at this path, of this size and with this serial number, as
    /// [`IdentifyDevice`](strongroom_endpoint_selector::IdentifyDevice) says them.
    ///
    /// The path is one that stays with the device, as those in `/dev/disk/by-id` do. A device without a serial number is known by
    /// its size alone.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, size: DeviceSize, serial: Option<String>) -> Self {
        Self {
            path: path.into(),
            identity: DeviceIdentity::new(size, serial),
        }
    }

    /// Whether the two could be one device.
    fn clashes_with(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.identity.serial, &other.identity.serial);
        self.path == other.path
            || (mine.is_some() && mine == theirs)
            || is_one_device(&self.path, &other.path)
    }
}

/// Whether both paths lead to one block device of this machine, by the kernel's number for it. What is on other machines only is told
/// apart by its serial number alone.
pub(crate) fn is_one_device(one: &Path, other: &Path) -> bool {
    let number = |path: &Path| {
        let found = path.metadata().ok()?;
        found.file_type().is_block_device().then(|| found.rdev())
    };
    number(one).is_some_and(|one| number(other) == Some(one))
}

/// Whether these devices can be a shelf. Nothing is looked at on a disk.
pub(crate) fn check(devices: &[ShelfDevice]) -> Result<(), PoolError> {
    let refuse = |message: String| Err(PoolError::new(ErrorKind::InvalidRequest, "open", message));
    for (index, device) in devices.iter().enumerate() {
        let path = device.path.display();
        if !device.path.is_absolute() {
            return refuse(format!("the path {path} of a device is not absolute"));
        }
        if devices.iter().take(index).any(|other| other.clashes_with(device)) {
            return refuse(format!(
                "{path} is on the list twice, by its path, its serial number or another name of it"
            ));
        }
    }
    Ok(())
}

/// The smallest free device of at least this size.
pub(crate) fn smallest(
    devices: &[ShelfDevice],
    size: DeviceSize,
    free: impl Fn(&Path, Option<&str>) -> bool,
) -> Result<&ShelfDevice, PoolError> {
    let mut largest = None;
    let mut fitting: Option<&ShelfDevice> = None;
    for device in devices {
        let has = device.identity.size;
        if !free(&device.path, device.identity.serial.as_deref()) {
            continue;
        }
        largest = largest.max(Some(has));
        if has >= size && fitting.is_none_or(|best| has < best.identity.size) {
            fitting = Some(device);
        }
    }
    fitting.ok_or_else(|| {
        let there = largest.map_or_else(
            || "no device is free".to_owned(),
            |has| format!("the largest free device has {} bytes", has.get()),
        );
        let message = format!("{there}, {} are needed; add a device to the list", size.get());
        PoolError::new(ErrorKind::NoSpace, "provision", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(path: &str, sectors: u64, serial: Option<&str>) -> ShelfDevice {
        let size = DeviceSize::new(sectors * 512).unwrap();
        ShelfDevice::new(path, size, serial.map(str::to_owned))
    }

    #[test]
    fn a_device_is_on_the_list_once_and_by_an_absolute_path() {
        check(&[device("/dev/a", 1, None), device("/dev/b", 1, None)]).unwrap();
        for (devices, said) in [
            (vec![device("dev/a", 1, None)], "not absolute"),
            (
                vec![device("/dev/a", 1, None), device("/dev/a", 2, None)],
                "twice",
            ),
            (
                vec![device("/dev/a", 1, Some("s")), device("/dev/b", 1, Some("s"))],
                "twice",
            ),
        ] {
            let e = check(&devices).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::InvalidRequest);
            assert!(e.message().contains(said), "{e}");
        }
    }

    #[test]
    fn the_smallest_device_that_fits_is_taken() {
        let shelf = [
            device("/dev/8", 8, None),
            device("/dev/4", 4, None),
            device("/dev/2", 2, None),
        ];
        let size = |sectors: u64| DeviceSize::new(sectors * 512).unwrap();
        let path = |sectors, taken: &str| {
            smallest(&shelf, size(sectors), |path, _| path != Path::new(taken)).map(|d| d.path.clone())
        };
        assert_eq!(path(2, "").unwrap(), Path::new("/dev/2"));
        assert_eq!(path(3, "").unwrap(), Path::new("/dev/4"));
        assert_eq!(path(3, "/dev/4").unwrap(), Path::new("/dev/8"));
        let e = path(5, "/dev/8").unwrap_err();
        assert_eq!(e.kind(), ErrorKind::NoSpace);
        assert!(e.message().contains("has 2048 bytes, 2560 are needed"), "{e}");
    }
}
