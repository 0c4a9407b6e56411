use std::path::{Path, PathBuf};

use strongroom_types::DiskFormat;
use uuid::Uuid;

use crate::Refusal;
use crate::xml::Element;

/// Where an image lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// On a block device.
    Block(PathBuf),
}

impl Source {
    /// The path of the file or device.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Block(path) => path,
        }
    }

    /// libvirt's word for the kind, which stands as `type` at whatever holds the source.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Block(_) => "block",
        }
    }

    fn attribute(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Block(_) => "dev",
        }
    }
}

/// An image of a disk as it is told to libvirt: where, in which format, and by which secret QEMU opens it.
///
/// Format and encryption are always said. QEMU would otherwise look at what is on the disk, and a guest can write there.
///
/// **Nothing here looks at the disk.** A raw LUKS volume that is described as [plain](Image::plain) is attached without a word: the
/// guest sees the header and can wipe it. Read the header before you describe a disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Image {
    source: Source,
    format: DiskFormat,
    secret: Option<Uuid>,
}

impl Image {
    /// An image that QEMU opens through LUKS, with the secret of this UUID. Raw: the LUKS header comes first. qcow2: it lies inside.
    #[must_use]
    pub fn encrypted(source: Source, format: DiskFormat, secret: Uuid) -> Self {
        Self {
            source,
            format,
            secret: Some(secret),
        }
    }

    /// An image whose content lies in clear.
    #[must_use]
    pub fn plain(source: Source, format: DiskFormat) -> Self {
        Self {
            source,
            format,
            secret: None,
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Its format.
    #[must_use]
    pub fn format(&self) -> DiskFormat {
        self.format
    }

    /// The UUID of the secret that opens it; `None` when it lies in clear.
    #[must_use]
    pub fn secret(&self) -> Option<Uuid> {
        self.secret
    }

    /// The element that says where it lies and what opens it: `source` of a disk or a snapshot, `target` of a backup, `scratch`.
    ///
    /// An encrypted image has `engine='qemu'`. Without that, a copy or backup to a raw LUKS target is written over its header, in
    /// clear, and reported as done (libvirt 11.3).
    ///
    /// # Errors
    /// [`Refusal::RelativePath`], [`Refusal::NotUtf8`].
    pub fn place(&self, element: &'static str) -> Result<Element, Refusal> {
        let place = Element::new(element).with(self.source.attribute(), path(self.source.path())?);
        Ok(match self.secret {
            None => place,
            Some(secret) => place.holding(encryption(secret)),
        })
    }

    /// libvirt's word for the format. LUKS is no format of its own there: a raw LUKS disk is `raw` with encryption.
    #[must_use]
    pub fn format_word(&self) -> &'static str {
        self.format.as_str()
    }
}

fn encryption(secret: Uuid) -> Element {
    let secret = Element::new("secret")
        .with("type", "passphrase")
        .with("uuid", secret.to_string());
    Element::new("encryption")
        .with("format", "luks")
        .with("engine", "qemu")
        .holding(secret)
}

/// A path as text: absolute, for the daemon has another directory than the caller.
pub(crate) fn path(path: &Path) -> Result<String, Refusal> {
    if !path.is_absolute() {
        return Err(Refusal::RelativePath(path.to_owned()));
    }
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Refusal::NotUtf8(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn encryption_always_names_qemu_as_its_engine() {
        for source in [Source::File("/v".into()), Source::Block("/dev/v".into())] {
            for format in [DiskFormat::Raw, DiskFormat::Qcow2] {
                for element in ["source", "target", "scratch"] {
                    let place = Image::encrypted(source.clone(), format, Uuid::nil())
                        .place(element)
                        .unwrap();
                    let encryption = place.child("encryption").unwrap();
                    assert_eq!(encryption.attribute("engine"), Some("qemu"));
                    assert_eq!(encryption.attribute("format"), Some("luks"));
                    assert_eq!(
                        encryption.child("secret").unwrap().attribute("uuid"),
                        Some("00000000-0000-0000-0000-000000000000")
                    );
                }
            }
        }
        let plain = Image::plain(Source::File("/v".into()), DiskFormat::Qcow2)
            .place("source")
            .unwrap();
        assert_eq!(plain.child("encryption"), None);
    }

    #[test]
    fn a_path_is_absolute_and_text() {
        let place = |path: &OsStr| Image::plain(Source::File(path.into()), DiskFormat::Raw).place("source");
        assert_eq!(place("a".as_ref()), Err(Refusal::RelativePath("a".into())));
        let bytes = OsStr::from_bytes(b"/\xff");
        assert_eq!(place(bytes), Err(Refusal::NotUtf8(bytes.into())));
        assert_eq!(
            place("/a b\"'".as_ref()).unwrap().attribute("file"),
            Some("/a b\"'")
        );
    }
}
