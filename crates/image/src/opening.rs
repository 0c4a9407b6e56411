use std::fs::{File, FileType, Metadata, OpenOptions};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::ImageError;

/// Opens a regular file or block device for reading, and nothing else.
///
/// Symlinks are followed, because the usual names of devices are symlinks. What is behind them is looked at before it is
/// opened, since opening some devices does something, and again afterwards, on the open descriptor. A pipe that nobody writes
/// does not block.
///
/// # Errors
/// [`ImageError::Open`] and [`ImageError::NotADisk`].
pub fn open_disk(path: impl AsRef<Path>) -> Result<File, ImageError> {
    let path = path.as_ref();
    let failed = |source| ImageError::Open {
        path: path.to_owned(),
        source,
    };
    admit(path, &path.metadata().map_err(failed)?)?;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    admit(path, &file.metadata().map_err(failed)?)?;
    Ok(file)
}

fn admit(path: &Path, metadata: &Metadata) -> Result<(), ImageError> {
    let file_type = metadata.file_type();
    if file_type.is_file() || file_type.is_block_device() {
        return Ok(());
    }
    Err(ImageError::NotADisk {
        path: path.to_owned(),
        kind: kind(file_type),
    })
}

fn kind(file_type: FileType) -> &'static str {
    if file_type.is_dir() {
        "directory"
    } else if file_type.is_fifo() {
        "pipe"
    } else if file_type.is_socket() {
        "socket"
    } else if file_type.is_char_device() {
        "character device"
    } else {
        "thing of another kind"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType as Kind, Mode, mknodat};

    #[test]
    fn what_is_no_disk_is_refused_without_waiting() {
        let place = tempfile::tempdir().unwrap();
        let (pipe, link) = (place.path().join("pipe"), place.path().join("link"));
        mknodat(CWD, &pipe, Kind::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let _listening = std::os::unix::net::UnixListener::bind(place.path().join("socket")).unwrap();
        for (name, expected) in [
            ("pipe", "pipe"),
            ("link", "character device"),
            ("socket", "socket"),
            ("", "directory"),
        ] {
            match open_disk(place.path().join(name)) {
                Err(ImageError::NotADisk { kind, .. }) => assert_eq!(kind, expected),
                other => panic!("{name}: {other:?}"),
            }
        }
        assert!(matches!(
            open_disk(place.path().join("none")),
            Err(ImageError::Open { .. })
        ));
    }

    #[test]
    fn a_symlink_to_a_file_is_followed() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("file"), b"content").unwrap();
        std::os::unix::fs::symlink("file", place.path().join("link")).unwrap();
        assert_eq!(
            open_disk(place.path().join("link"))
                .unwrap()
                .metadata()
                .unwrap()
                .len(),
            7
        );
    }
}
