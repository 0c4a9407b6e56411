//! Writing to a disk ourselves, which nothing else has open meanwhile.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use rustix::io::Errno;
use strongroom_endpoint_selector::{DiskLocation, EndpointError, ErrorKind};

use crate::{failure, reading};

/// Opens a disk for writing and locks it. Fails when QEMU or one of its tools has it open.
pub(crate) fn open(operation: &'static str, location: &DiskLocation) -> Result<File, EndpointError> {
    let path = location.path();
    let io = |e| failure::io(operation, path, e);
    let seen = reading::open(operation, location)?.metadata().map_err(io)?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed())
        .open(path)
        .map_err(io)?;
    let opened = file.metadata().map_err(io)?;
    reading::same(operation, path, &seen, &opened)?;
    lock(operation, path, &file)?;
    Ok(file)
}

/// The lock of the whole file conflicts with the record locks that QEMU holds on every image that it has open.
///
/// It is gone when this process closes any descriptor of the file, so commands for one disk must not run at once.
fn lock(operation: &'static str, path: &Path, file: &File) -> Result<(), EndpointError> {
    match fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        // A file system without locks has none that QEMU could hold either.
        Ok(()) | Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(Errno::AGAIN | Errno::ACCESS) => {
            let message = format!("another process has {} open; stop it first", path.display());
            Err(EndpointError::new(ErrorKind::Busy, operation, message))
        }
        Err(e) => Err(failure::io(operation, path, e.into())),
    }
}
