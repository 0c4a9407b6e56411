//! Disks that lie on a plain image: which one a header names, and whether a disk may lie on it.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use strongroom_endpoint_selector::{BaseImage, DiskLocation, EndpointError, ErrorKind, SourceImage};
use strongroom_image::BackingFile;
use strongroom_types::{DiskFormat, GuestSize};

use crate::{failure, template};

/// The longest name of a base that a qcow2 header holds, in bytes (`docs/interop/qcow2` of QEMU).
const LONGEST_NAME: usize = 1023;

/// What a disk is said to lie on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lies<'a> {
    /// On nothing.
    Alone,
    /// On this image.
    On(SourceImage<'a>),
    /// On nothing, or on an image in this directory.
    In(&'a Path),
}

/// The base that a header names, looked at like any image from outside. It is the one that is said, or an error that says what it
/// is. A name in a header is only compared; what is opened is the path that the command has.
///
/// `guest` is the size of the disk. Its base is no larger when it is made, so one that is was exchanged for another.
///
/// `home` is the directory in which the disk has its name, or will have it: names in headers are relative to it.
pub(crate) fn base(
    operation: &'static str,
    location: &DiskLocation,
    home: &Path,
    named: Option<&BackingFile>,
    said: Lies<'_>,
    guest: GuestSize,
) -> Result<Option<BaseImage>, EndpointError> {
    let wrong = |found: String| {
        let message = format!("{location} {found}");
        EndpointError::new(ErrorKind::WrongDisk, operation, message)
    };
    let (named, base) = match (named, said) {
        (None, Lies::Alone | Lies::In(_)) => return Ok(None),
        (None, Lies::On(base)) => {
            let found = format!("stands alone, and is said to lie on {}", base.path.display());
            return Err(wrong(found));
        }
        (Some(named), Lies::Alone) => {
            return Err(wrong(format!(
                "has a backing file, {:?}, and is said to stand alone",
                named.name
            )));
        }
        (Some(named), Lies::On(base)) => (named, BaseImage::new(base.path, base.format)),
        (Some(named), Lies::In(directory)) => {
            let format = match named.format.as_deref().map(OsStr::as_bytes) {
                Some(b"raw") => DiskFormat::Raw,
                Some(b"qcow2") => DiskFormat::Qcow2,
                _ => return Err(wrong(format!("names no known format of its base: {named:?}"))),
            };
            let path = PathBuf::from(&named.name);
            let Some(Component::Normal(name)) = path.components().next_back() else {
                return Err(wrong(format!(
                    "has a backing file, {:?}, which is no image",
                    named.name
                )));
            };
            (named, BaseImage::new(directory.join(name), format))
        }
    };
    if named.format.as_deref() != Some(OsStr::new(base.format.as_str())) {
        let found = format!(
            "says {:?} of the format of its base, not {}",
            named.format, base.format
        );
        return Err(wrong(found));
    }
    let lies_on = |e: EndpointError| {
        // The disk is there: what is wrong with it is its base.
        let kind = match e.kind() {
            ErrorKind::NotFound | ErrorKind::UntrustedImage | ErrorKind::InvalidRequest => {
                ErrorKind::WrongDisk
            }
            kind => kind,
        };
        let message = format!("{location} lies on a base that it cannot lie on: {}", e.message());
        EndpointError::new(kind, operation, message).with_source(e)
    };
    if !same_file(&home.join(&named.name), &base.path)
        .map_err(|e| lies_on(failure::io(operation, &base.path, e)))?
    {
        let found = format!(
            "lies on {:?} by its header, not on {}",
            named.name,
            base.path.display()
        );
        return Err(wrong(found));
    }
    let bytes = admit(operation, &base.source()).map_err(lies_on)?;
    if bytes > guest.get() {
        let found = format!(
            "has {} bytes, and {} on which it is said to lie has {bytes}; no disk is made on a larger image",
            guest.get(),
            base.path.display()
        );
        return Err(wrong(found));
    }
    Ok(Some(base))
}

/// Whether both are the same file or device, by whatever directories and names they are reached. A symlink is what it leads to only
/// where that is a device, whose names are symlinks.
fn same_file(one: &Path, other: &Path) -> io::Result<bool> {
    let identity = |path: &Path| -> io::Result<_> {
        let found = path.symlink_metadata()?;
        Ok(match device(path, &found) {
            Some(number) => (None, number),
            None => (Some(found.dev()), found.ino()),
        })
    };
    let said = identity(other)?;
    Ok(identity(one).is_ok_and(|there| there == said))
}

/// The number of the block device that is at a path, or to which a symlink there leads.
fn device(path: &Path, found: &Metadata) -> Option<u64> {
    let target = if found.is_symlink() {
        path.metadata().ok()?
    } else {
        found.clone()
    };
    target.file_type().is_block_device().then(|| target.rdev())
}

/// The size of an image on which a disk may lie: one that is taken as a template, and the file itself, for a symlink could be led
/// elsewhere while the disk lies there. On a block device it is qcow2, whose header says its size.
pub(crate) fn admit(operation: &'static str, base: &SourceImage<'_>) -> Result<u64, EndpointError> {
    let metadata = base
        .path
        .symlink_metadata()
        .map_err(|e| failure::io(operation, base.path, e))?;
    if device(base.path, &metadata).is_some() {
        return template::admit_base(operation, base);
    }
    if metadata.is_symlink() {
        let message = format!(
            "{} is a symlink; a disk lies on the image itself",
            base.path.display()
        );
        return Err(EndpointError::new(ErrorKind::InvalidRequest, operation, message));
    }
    template::admit(operation, base)
}

/// The name by which the header of a disk in `home` says its base: relative when the base is below `home`, so that both can be
/// mounted elsewhere together.
pub(crate) fn name(operation: &'static str, base: &Path, home: &Path) -> Result<String, EndpointError> {
    let below = base.strip_prefix(home).ok().filter(|below| {
        // QEMU takes what is before a colon for a protocol.
        !below.as_os_str().as_bytes().contains(&b':')
            && below.components().all(|c| matches!(c, Component::Normal(_)))
    });
    as_name(operation, below.unwrap_or(base))
}

/// The name by which the header of a disk on a device says its base, whatever directory has the device's own name.
pub(crate) fn absolute_name(operation: &'static str, base: &Path) -> Result<String, EndpointError> {
    as_name(operation, base)
}

fn as_name(operation: &'static str, path: &Path) -> Result<String, EndpointError> {
    let refuse = |why: &str| {
        let message = format!("{} {why}", path.display());
        EndpointError::new(ErrorKind::InvalidRequest, operation, message)
    };
    let name = path
        .to_str()
        .ok_or_else(|| refuse("is no UTF-8, which two readers of a header would read differently"))?;
    if name.len() > LONGEST_NAME {
        return Err(refuse("is too long for the header of a disk"));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_named_relative_to_a_disk_that_is_above_it_and_nowhere_else() {
        let home = Path::new("/pool");
        for (base, expected) in [
            ("/pool/templates/t.raw", "templates/t.raw"),
            ("/pool/t.raw", "t.raw"),
            ("/other/t.raw", "/other/t.raw"),
            ("/pool2/t.raw", "/pool2/t.raw"),
            ("/pool/nbd:host/t.raw", "/pool/nbd:host/t.raw"),
            ("/pool/../t.raw", "/pool/../t.raw"),
        ] {
            assert_eq!(name("Test", Path::new(base), home).unwrap(), expected);
        }
        let long = format!("/other/{}", "n".repeat(1100));
        let refused = name("Test", Path::new(&long), home).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidRequest);
    }
}
