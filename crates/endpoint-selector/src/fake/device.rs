use std::path::Path;

use strongroom_types::{DeviceSize, DiskFormat, GuestSize};

use super::disk::{FakeDisk, error};
use super::{MemoryEndpoint, State, lock};
use crate::{
    BlankDevice, DeviceFacts, DiskLocation, EndpointError, ErrorKind, HostAnswer, Protection, ProveBlank,
};

/// A block device: what the host knows of it, and how large its storage has made it.
#[derive(Debug, Clone)]
pub(super) struct FakeDevice {
    facts: DeviceFacts,
    in_storage: DeviceSize,
}

impl FakeDevice {
    /// As the host knows it.
    pub(super) fn size(&self) -> DeviceSize {
        self.facts.size
    }
}

impl MemoryEndpoint {
    /// Puts a blank block device of this size there, in place of what has the name. Nothing uses it and it has no serial number.
    pub fn add_blank_device(&self, path: impl Into<std::path::PathBuf>, size: GuestSize) {
        // Every guest size is the size of a device that has no header.
        if let Ok(size) = DeviceSize::new(size.get()) {
            self.add_device(DeviceFacts::new(path, size));
        }
    }

    /// Puts a blank block device with these facts there, in place of what has the name.
    pub fn add_device(&self, facts: DeviceFacts) {
        let Ok(guest) = GuestSize::new(facts.size.get()) else {
            return;
        };
        let location = DiskLocation::block(&facts.path);
        if let Ok(disk) = FakeDisk::new("add", location, DiskFormat::Raw, guest, Protection::Plain, None) {
            let mut state = lock(&self.state);
            let (path, in_storage) = (facts.path.clone(), facts.size);
            state.disks.insert(path.clone(), disk);
            state.devices.insert(path, FakeDevice { facts, in_storage });
        }
    }

    /// Says what uses a device, such as a mount. It is then [`Busy`](ErrorKind::Busy) to all that changes it. Says whether it is there.
    pub fn use_device(&self, path: &Path, used_by: Option<String>) -> bool {
        let mut state = lock(&self.state);
        let device = state.devices.get_mut(path);
        device.map(|device| device.facts.used_by = used_by).is_some()
    }

    /// Makes a block device larger, as its storage does, and says whether it did: not a file, and never smaller. The host notices it with
    /// [`RescanDevice`](crate::RescanDevice); a raw disk on it is then larger for its guest too.
    pub fn grow_device(&self, path: &Path, to: DeviceSize) -> bool {
        let mut state = lock(&self.state);
        let device = state
            .devices
            .get_mut(path)
            .filter(|device| device.in_storage <= to);
        device.map(|device| device.in_storage = to).is_some()
    }
}

impl State {
    fn device(&mut self, operation: &'static str, path: &Path) -> Result<&mut FakeDevice, EndpointError> {
        let message = || {
            error(
                ErrorKind::NotFound,
                operation,
                format!("no device at {}", path.display()),
            )
        };
        self.devices.get_mut(path).ok_or_else(message)
    }

    pub(super) fn identify(
        &mut self,
        operation: &'static str,
        path: &Path,
    ) -> Result<HostAnswer, EndpointError> {
        Ok(HostAnswer::Device(self.device(operation, path)?.facts.clone()))
    }

    pub(super) fn rescan(
        &mut self,
        operation: &'static str,
        path: &Path,
    ) -> Result<HostAnswer, EndpointError> {
        let device = self.device(operation, path)?;
        device.facts.size = device.in_storage;
        self.identify(operation, path)
    }

    pub(super) fn blank_device(
        &mut self,
        operation: &'static str,
        c: &BlankDevice<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        let location = c.location;
        if !matches!(location, DiskLocation::Block(device) if device.identity.is_some()) {
            let message = format!("{location} has to be a block device with an identity");
            return Err(error(ErrorKind::InvalidRequest, operation, message));
        }
        self.free(operation, location)?;
        if let Some(from) = c.from {
            self.at(operation, location)?.clear_from(from.get());
            return Ok(HostAnswer::Done);
        }
        let here = self.at(operation, location)?.facts().location;
        let size = self.device(operation, location.path())?.facts.size;
        let guest = GuestSize::new(size.get()).map_err(|e| error(ErrorKind::Io, operation, e))?;
        let blank = FakeDisk::new(operation, here, DiskFormat::Raw, guest, Protection::Plain, None)?;
        self.disks.insert(location.path().to_owned(), blank);
        Ok(HostAnswer::Done)
    }

    /// The disk at a place, if the device there is the one that the place says.
    pub(super) fn at(
        &mut self,
        operation: &'static str,
        location: &DiskLocation,
    ) -> Result<&mut FakeDisk, EndpointError> {
        let path = location.path();
        let nothing = || {
            error(
                ErrorKind::NotFound,
                operation,
                format!("no disk at {}", path.display()),
            )
        };
        let disk = self.disks.get_mut(path).ok_or_else(nothing)?;
        let device = self.devices.get(path);
        match (location, device) {
            (DiskLocation::File(_), None) => {}
            (DiskLocation::File(_), Some(_)) => {
                return Err(error(
                    ErrorKind::WrongDisk,
                    operation,
                    format!("{location} is a device, not a file"),
                ));
            }
            (DiskLocation::Block(_), None) => {
                return Err(error(
                    ErrorKind::WrongDisk,
                    operation,
                    format!("{location} is a file, not a device"),
                ));
            }
            (DiskLocation::Block(block), Some(device)) => {
                let facts = &device.facts;
                let other = block.identity.as_ref().is_some_and(|expected| {
                    expected.size != facts.size
                        || (expected.serial.is_some() && expected.serial != facts.serial)
                });
                if other {
                    let serial = facts.serial.as_deref().unwrap_or("none");
                    let message = format!(
                        "{location} is another device: {} bytes, serial {serial}",
                        facts.size.get()
                    );
                    return Err(error(ErrorKind::WrongDisk, operation, message));
                }
                if block.used.is_some_and(|used| used > facts.size) {
                    let message = format!("{location} has only {} bytes", facts.size.get());
                    return Err(error(ErrorKind::WrongDisk, operation, message));
                }
                disk.look(operation, location, facts.size)?;
            }
        }
        Ok(disk)
    }

    /// Fails while something on the host uses what is there.
    pub(super) fn free(&self, operation: &'static str, location: &DiskLocation) -> Result<(), EndpointError> {
        self.no_machine_has(operation, location.path())?;
        match self
            .devices
            .get(location.path())
            .and_then(|device| device.facts.used_by.as_ref())
        {
            Some(user) => Err(error(
                ErrorKind::Busy,
                operation,
                format!("{location} is used by {user}"),
            )),
            None => Ok(()),
        }
    }

    pub(super) fn prove_blank(
        &mut self,
        operation: &'static str,
        c: &ProveBlank<'_>,
    ) -> Result<HostAnswer, EndpointError> {
        if c.from.is_none() {
            self.free(operation, c.location)?;
        }
        let from = c.from.map_or(0, DeviceSize::get);
        if self.at(operation, c.location)?.is_blank_from(from) {
            return Ok(HostAnswer::Done);
        }
        let message = format!("{} is not blank behind {from} bytes", c.location);
        Err(error(ErrorKind::AlreadyExists, operation, message))
    }
}
