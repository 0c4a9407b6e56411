//! Images from outside: what they may be, read before any tool opens them.

use std::fs::{File, Metadata};

use strongroom_endpoint_selector::{EndpointError, ErrorKind, SourceImage};
use strongroom_image::{Encryption, ImageError, Magic, Qcow2Header, open_disk};
use strongroom_types::{DiskFormat, GuestSize};

use crate::{failure, reading};

/// The size in bytes of the content of a plain image that somebody untrusted may have made.
///
/// The image is read by a bounded reader of our own; no tool opens it. A qcow2 image with a backing file, an external data file,
/// encryption, unknown features, tables that do not fit its size or its file, or the mark of a corrupt image is refused, whatever
/// `qemu-img` would make of it. A raw image is its bytes, a qcow2 header among them or not: its format is said and never probed, by
/// this crate or by the tools that it runs. Only one that begins with a LUKS header is refused: it is a disk that somebody
/// encrypted, and its content cannot be had from it.
///
/// # Errors
/// [`EndpointError`] of kind [`ErrorKind::UntrustedImage`] for what is not allowed, [`ErrorKind::InvalidRequest`] for a path that
/// is not absolute or not that of a regular file, and those of the operating system.
pub fn template_size(source: &SourceImage<'_>) -> Result<u64, EndpointError> {
    admit("TemplateSize", source)
}

/// Lets an image in only when it is a plain image that says no more than it is.
pub(crate) fn admit(operation: &'static str, source: &SourceImage<'_>) -> Result<u64, EndpointError> {
    size(operation, source, |metadata| metadata.is_file())
}

/// The same of an image on a block device, too, if it is one whose header says how much of the device it has.
pub(crate) fn admit_base(operation: &'static str, source: &SourceImage<'_>) -> Result<u64, EndpointError> {
    size(operation, source, |metadata| {
        metadata.is_file() || source.format == DiskFormat::Qcow2
    })
}

fn size(
    operation: &'static str,
    source: &SourceImage<'_>,
    allowed: impl FnOnce(&Metadata) -> bool,
) -> Result<u64, EndpointError> {
    reading::absolute(operation, source.path)?;
    let path = source.path.display();
    let invalid = |message| EndpointError::new(ErrorKind::InvalidRequest, operation, message);
    let mut file = match open_disk(source.path) {
        Ok(file) => file,
        Err(e @ ImageError::NotADisk { .. }) => return Err(invalid(e.to_string()).with_source(e)),
        Err(e) => return Err(reading::unreadable(operation, source.path, e)),
    };
    let metadata = file
        .metadata()
        .map_err(|e| failure::io(operation, source.path, e))?;
    if !allowed(&metadata) {
        return Err(invalid(format!("{path} is a device; an image is a regular file")));
    }
    let bytes = match source.format {
        DiskFormat::Raw => raw_size(operation, source, &mut file, metadata.len())?,
        DiskFormat::Qcow2 => qcow2_size(operation, source, &mut file)?,
    };
    GuestSize::new(bytes).map_err(|e| {
        let message = format!("{path} has no size that a disk can have: {e}");
        EndpointError::new(ErrorKind::UntrustedImage, operation, message)
    })?;
    Ok(bytes)
}

fn raw_size(
    operation: &'static str,
    source: &SourceImage<'_>,
    file: &mut File,
    length: u64,
) -> Result<u64, EndpointError> {
    let found = Magic::read(file).map_err(|e| reading::unreadable(operation, source.path, e))?;
    if !found.is_luks() {
        return Ok(length);
    }
    let message = format!(
        "{} has a header of {found}; a template is plain",
        source.path.display()
    );
    Err(EndpointError::new(ErrorKind::UntrustedImage, operation, message))
}

fn qcow2_size(
    operation: &'static str,
    source: &SourceImage<'_>,
    file: &mut File,
) -> Result<u64, EndpointError> {
    let path = source.path.display();
    let refuse = |why: &str| {
        let message = format!("{path} {why}; a template is one plain file that stands alone");
        EndpointError::new(ErrorKind::UntrustedImage, operation, message)
    };
    let header = Qcow2Header::read(file).map_err(|e| match e {
        e @ ImageError::Read { .. } => reading::unreadable(operation, source.path, e),
        e => {
            let message = format!("{path} is not taken as a qcow2 image: {e}");
            EndpointError::new(ErrorKind::UntrustedImage, operation, message).with_source(e)
        }
    })?;
    if let Some(backing) = &header.backing {
        return Err(refuse(&format!("has a backing file, {:?}", backing.name)));
    }
    if header.data_file.is_some() {
        return Err(refuse("keeps its data in another file"));
    }
    if header.encryption != Encryption::None {
        return Err(refuse("is encrypted"));
    }
    if header.features.corrupt {
        return Err(refuse("is marked as corrupt"));
    }
    Ok(header.size)
}
