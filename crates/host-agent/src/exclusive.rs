//! Writing to a disk ourselves, which nothing else has open meanwhile.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, fcntl_lock};
use rustix::io::Errno;
use strongroom_endpoint_selector::{DiskLocation, EndpointError, ErrorKind};

use crate::{failure, reading, usage};

/// Opens a disk for writing and locks it. Fails when QEMU or one of its tools has it open, and when a device is mounted,
/// mapped, or below a loop device.
/// Until it is closed, nobody mounts or maps the device.
pub(crate) fn open(operation: &'static str, location: &DiskLocation) -> Result<File, EndpointError> {
    let path = location.path();
    let io = |e| failure::io(operation, path, e);
    let seen = reading::open(operation, location)?.metadata().map_err(io)?;
    let flags = match location {
        DiskLocation::File(_) => OFlags::NONBLOCK | OFlags::NOCTTY,
        DiskLocation::Block(_) => OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::EXCL,
    };
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(flags.bits().cast_signed());
    let file = patiently(|| options.open(path)).map_err(|e| match e.kind() {
        io::ErrorKind::ResourceBusy => {
            let message = format!("{location} is mounted or mapped on this host; end that first");
            EndpointError::new(ErrorKind::Busy, operation, message).with_source(e)
        }
        _ => io(e),
    })?;
    let opened = file.metadata().map_err(io)?;
    reading::same(operation, path, &seen, &opened)?;
    if let Some(user) = usage::stacked_on(&opened).map_err(io)? {
        let message = format!("{location} is in use on this host: {user}; detach that first");
        return Err(EndpointError::new(ErrorKind::Busy, operation, message));
    }
    lock(operation, path, &file)?;
    Ok(file)
}

/// How long a device that is held may be held: whoever attaches loop devices claims, for an instant, also such as are somebody
/// else's, and a child between its fork and its exec has what its parent has.
const GLANCE: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(5);

/// Opens something, and again as long as it is only being looked at.
pub(crate) fn patiently(open: impl Fn() -> io::Result<File>) -> io::Result<File> {
    let patience = Instant::now() + GLANCE;
    loop {
        match open() {
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && Instant::now() < patience => {
                thread::sleep(PAUSE);
            }
            opened => return opened,
        }
    }
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
