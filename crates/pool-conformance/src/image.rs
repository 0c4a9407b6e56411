use std::path::PathBuf;

use strongroom_storage_pool::SourceImage;
use strongroom_types::{DiskFormat, GuestSize};

/// A raw image whose every sector is the same and says whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) path: PathBuf,
    pub(crate) size: GuestSize,
    mark: Vec<u8>,
}

fn mark(name: &str) -> Vec<u8> {
    format!("This is what a guest keeps secret. {name}\n").into_bytes()
}

/// The content of an image.
pub(crate) fn content(name: &str, size: GuestSize) -> Vec<u8> {
    let sector: Vec<u8> = mark(name).into_iter().cycle().take(512).collect();
    let sectors = usize::try_from(size.get() / 512).unwrap_or_default();
    sector.repeat(sectors)
}

impl Image {
    pub(crate) fn new(path: PathBuf, name: &str, size: GuestSize) -> Self {
        Self {
            path,
            size,
            mark: mark(name),
        }
    }

    /// What every sector of it says.
    pub(crate) fn mark(&self) -> &[u8] {
        &self.mark
    }

    pub(crate) fn source(&self) -> SourceImage<'_> {
        SourceImage::new(&self.path, DiskFormat::Raw)
    }

    /// Whether these bytes have the image's content in clear.
    pub(crate) fn is_in(&self, bytes: &[u8]) -> bool {
        bytes.windows(self.mark.len()).any(|window| window == self.mark)
    }
}
