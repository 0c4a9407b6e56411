//! A LUKS1 header that is written here, into a file that is ours and new.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use strongroom_cryptsetup::Uuid;
use strongroom_endpoint_selector::{Disk, DiskFacts, DiskLocation, EndpointError, ErrorKind};
use strongroom_image::{CostLimit, ImageError, Luks1Format, Luks1Header};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, EncryptionFormat, PayloadOffset};

use crate::tools::Tools;
use crate::{failure, inspect, reading};

/// Writes a header with the least key derivation at the beginning of `file`, which is at `path` and which nobody else knows, and
/// proves that its key opens it and another does not, and that `cryptsetup` opens it with the key. The caller knows the disk as `named`.
pub(crate) fn write(
    tools: &Tools,
    call: &Call,
    operation: &'static str,
    (mut file, path, named): (File, &Path, &Path),
    key: &Passphrase,
) -> Result<(), EndpointError> {
    inspect::go_on(call, operation)?;
    reserve(&file).map_err(|e| failure::io(operation, named, e))?;
    let iterations = *Luks1Format::ITERATIONS.start();
    let uuid = Uuid::new_v4().into_bytes();
    Luks1Format::new(uuid, iterations, PayloadOffset::LUKS1_CRYPTSETUP)
        .and_then(|format| format.write(&mut file, key))
        .map_err(|e| failed(operation, named, e))?;
    // What a server refuses to take is seen here: nobody sees an error at the end of a file.
    file.sync_all().map_err(|e| failure::io(operation, named, e))?;
    // No child starts while a file is open for writing on a server that hangs.
    drop(file);

    let location = DiskLocation::file(path);
    let other = Passphrase::generate()
        .map_err(|e| EndpointError::new(ErrorKind::Io, operation, e.to_string()).with_source(e))?;
    let mut written = reading::bounded(operation, &location)?;
    let mut open = |key| Luks1Header::opened_by(&mut written, key, &CostLimit::default());
    open(key).map_err(|e| failed(operation, named, e))?;
    match open(&other) {
        Err(ImageError::WrongPassphrase) => {}
        Err(e) => return Err(failed(operation, named, e)),
        Ok(_) => {
            let message = format!("{} opens with a key that was made up just now", named.display());
            return Err(EndpointError::new(ErrorKind::WrongDisk, operation, message));
        }
    }
    tools.test_passphrase(operation, call, &location, EncryptionFormat::Luks1, key)
}

/// Has room for all of the header, so that a key is added and the keyslots are overwritten on a file system that is full as well.
fn reserve(file: &File) -> io::Result<()> {
    let end = Luks1Format::HEADER_END;
    match fallocate(file, FallocateFlags::empty(), 0, end) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = vec![0; usize::try_from(end).unwrap_or_default()];
            file.write_all_at(&zeros, 0)
        }
        other => other.map_err(io::Error::from),
    }
}

/// Proves a disk that has such a header and no content: our reader and QEMU's agree on what it is, and QEMU opens it with its key.
/// That is one process, where [`inspect::prove`] takes two; `cryptsetup` has opened it with the same key before.
pub(crate) fn prove(
    tools: &Tools,
    call: &Call,
    operation: &'static str,
    disk: &Disk<'_>,
) -> Result<DiskFacts, EndpointError> {
    let (facts, _) = reading::disk(operation, disk.location, disk.format, disk.protection.format())?;
    let seen = tools.opened_size(operation, call, disk)?;
    if seen != facts.guest.get() {
        let message = format!(
            "two readers disagree on {}: {} bytes and {seen} bytes",
            disk.location,
            facts.guest.get()
        );
        return Err(EndpointError::new(ErrorKind::WrongDisk, operation, message));
    }
    Ok(facts)
}

fn failed(operation: &'static str, path: &Path, error: ImageError) -> EndpointError {
    let (kind, message) = match error {
        ImageError::Write { source, .. } | ImageError::Read { source, .. } => {
            return failure::io(operation, path, source);
        }
        ImageError::WrongPassphrase => (
            ErrorKind::WrongDisk,
            "the header that was written just now does not open with its key".to_owned(),
        ),
        ImageError::Random => (ErrorKind::Io, error.to_string()),
        _ => (ErrorKind::WrongDisk, error.to_string()),
    };
    EndpointError::new(kind, operation, format!("{}: {message}", path.display())).with_source(error)
}
