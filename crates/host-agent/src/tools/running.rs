//! What is done with `qemu-img` to disks of guests that run.

use std::fs::File;
use std::path::Path;

use strongroom_endpoint_selector::{Disk, EndpointError, ErrorKind, Protection};
use strongroom_qemu_img::Image;
use strongroom_types::{Call, DiskFormat, GuestSize};

use super::qemu::location;
use super::{Tools, hand_over};
use crate::qcow2_shell::{self, Base};
use crate::{failure, reading};

impl Tools {
    /// Makes an empty overlay on a disk that a guest has, whatever that is.
    pub(crate) fn write_overlay(
        &self,
        operation: &'static str,
        call: &Call,
        path: &Path,
        guest: GuestSize,
        protection: Protection<'_>,
        base: Base<'_>,
    ) -> Result<(), EndpointError> {
        let Some(key) = protection.key() else {
            let io = |e| failure::io(operation, path, e);
            let mut image = File::create_new(path).map_err(io)?;
            return qcow2_shell::write(&mut image, guest, None::<(&mut File, _)>, Some(base)).map_err(io);
        };
        match self.assemble_qcow2(operation, call, path, guest, key, Some(base))? {
            Some(()) => Ok(()),
            None => {
                let message = "there is no file system in memory to make a LUKS header on, such as /dev/shm";
                Err(EndpointError::new(ErrorKind::Unsupported, operation, message))
            }
        }
    }

    /// Opens a LUKS1 disk with its key although another host's guest writes to it: nothing is read but the header.
    pub(crate) fn open_in_use(
        &self,
        operation: &'static str,
        call: &Call,
        disk: &Disk<'_>,
    ) -> Result<(), EndpointError> {
        let Some(key) = disk.protection.key() else {
            return Ok(());
        };
        reading::has_keyslot(operation, disk.location, disk.format)?;
        let (place, key) = (location(disk.location), hand_over(operation, key)?);
        let image = match disk.format {
            DiskFormat::Raw => Image::luks(place, &key),
            DiskFormat::Qcow2 => Image::qcow2_luks(place, &key),
        };
        self.qemu_img(operation)?
            .prove_key(&image.shared(), call)
            .map_err(|e| failure::qemu(operation, e))
    }
}
