//! Destroys the keyslots of LUKS1 headers, in front of raw disks and inside qcow2 images.
//!
//! No tool does it inside qcow2 without a key, and `cryptsetup luksErase` leaves the material of slots that are not active.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rand::TryRng;
use rand::rngs::SysRng;
use strongroom_endpoint_selector::{DiskLocation, EndpointError, ErrorKind};
use strongroom_image::{ImageError, Luks1Header, Qcow2Header};
use strongroom_types::DiskFormat;

use crate::{exclusive, failure, reading};

/// Overwrites the key material of all eight slots with random bytes and marks the slots as disabled.
///
/// The order makes a kill harmless: first the material goes, and is synced, then the records. Killed in between, the header names
/// slots that open nothing, and the same call finishes. Repeating it only writes other random bytes.
///
/// The material is overwritten in place and once. More passes do nothing on a medium that writes elsewhere each time, as flash
/// and copy-on-write file systems do: there, and in copies and snapshots of the file, old material may survive, and what makes
/// it useless is the destruction of the stored passphrase. Random bytes, because zeros may be stored as a hole.
///
/// Only places that the header itself accounts for are written, which the reader has checked: each slot by itself, behind the
/// LUKS header, and before the payload or inside the part that qcow2 keeps for LUKS. Snapshots inside an image share its header.
pub(crate) fn erase(
    operation: &'static str,
    location: &DiskLocation,
    format: DiskFormat,
) -> Result<(), EndpointError> {
    let path = location.path();
    let io = |e| failure::io(operation, path, e);
    let mut file = exclusive::open(operation, location)?;
    let (offset, header) = header(operation, path, format, &mut file)?;
    for slot in &header.keyslots {
        let length =
            usize::try_from(slot.material.end - slot.material.start).map_err(|e| io(io::Error::other(e)))?;
        let mut noise = vec![0; length];
        SysRng
            .try_fill_bytes(&mut noise)
            .map_err(|e| io(io::Error::other(e)))?;
        file.write_all_at(&noise, offset + slot.material.start)
            .map_err(io)?;
    }
    file.sync_all().map_err(io)?;
    for slot in &header.keyslots {
        file.write_all_at(&slot.disabled_record(), offset + slot.record.start)
            .map_err(io)?;
    }
    file.sync_all().map_err(io)?;
    match self::header(operation, path, format, &mut file)?
        .1
        .active_keyslots()
    {
        0 => Ok(()),
        left => {
            let message = format!(
                "{} still has {left} active keyslots after they were disabled",
                path.display()
            );
            Err(EndpointError::new(ErrorKind::Io, operation, message))
        }
    }
}

/// The LUKS1 header of a disk and where it begins.
fn header(
    operation: &'static str,
    path: &Path,
    format: DiskFormat,
    file: &mut File,
) -> Result<(u64, Luks1Header), EndpointError> {
    let wrong = |found: String| {
        let message = format!(
            "{} {found}, so there are no keyslots that could be destroyed",
            path.display()
        );
        EndpointError::new(ErrorKind::WrongDisk, operation, message)
    };
    let read = match format {
        DiskFormat::Raw => Luks1Header::read(file).map(|header| Some((0, header))),
        DiskFormat::Qcow2 => {
            Qcow2Header::read(file).map(|image| image.luks.map(|luks| (luks.offset, luks.header)))
        }
    };
    match read {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(wrong("is not encrypted with LUKS".to_owned())),
        Err(e @ ImageError::Read { .. }) => Err(reading::unreadable(operation, path, e)),
        Err(e) => Err(wrong(format!("has no {format} header that can be used: {e}")).with_source(e)),
    }
}
