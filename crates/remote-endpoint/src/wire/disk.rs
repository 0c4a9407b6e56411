use serde::{Deserialize, Serialize};
use strongroom_endpoint_selector::{
    ContentSource, Declassification, Disk, DiskContent, Protection, SourceImage,
};
use strongroom_types::{DiskFormat, EncryptionFormat};

use super::Mirror;
use super::key::Key;
use super::lend::{Location, WirePath, WireStamp, lent};

/// A plain image.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireSource {
    path: WirePath,
    format: DiskFormat,
    stamp: Option<WireStamp>,
}

impl Mirror for SourceImage<'_> {
    type Wire = WireSource;
    fn mirror(self) -> Option<WireSource> {
        Some(WireSource {
            path: self.path.into(),
            format: self.format,
            stamp: self.stamp.map(Into::into),
        })
    }
}

lent!(WireSource => SourceImage<'h>, |image| {
    SourceImage::new(image.path.as_path(), image.format).stamped(image.stamp.map(Into::into))
});

/// Which side of the cipher.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WireProtection<'a> {
    Plain,
    Luks { format: EncryptionFormat, key: Key<'a> },
}

impl<'a> Mirror for Protection<'a> {
    type Wire = WireProtection<'a>;
    fn mirror(self) -> Option<WireProtection<'a>> {
        Some(match self {
            Self::Plain => WireProtection::Plain,
            Self::Luks { format, key } => WireProtection::Luks {
                format,
                key: Key::Sent(key),
            },
        })
    }
}

lent!(WireProtection<'_> => Protection<'h>, |protection| match protection {
    WireProtection::Plain => Protection::Plain,
    WireProtection::Luks { format, key } => Protection::Luks {
        format: *format,
        key: key.hold(),
    },
});

/// A disk and what opens it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireDisk<'a> {
    location: Location,
    format: DiskFormat,
    protection: WireProtection<'a>,
    base: Option<WireSource>,
}

impl<'a> Mirror for Disk<'a> {
    type Wire = WireDisk<'a>;
    fn mirror(self) -> Option<WireDisk<'a>> {
        Some(WireDisk {
            location: self.location.mirror()?,
            format: self.format,
            protection: self.protection.mirror()?,
            base: self.base.mirror()?,
        })
    }
}

lent!(WireDisk<'_> => Disk<'h>, |disk| {
    Disk::new(&disk.location.0, disk.format, disk.protection.hold()).on(disk.base.hold())
});

/// What a new disk holds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WireContent<'a> {
    Blank,
    Template(WireSource),
    Overlay(WireSource),
    Copy(WireDisk<'a>),
    Declassified(WireDisk<'a>, String),
}

impl<'a> Mirror for DiskContent<'a> {
    type Wire = WireContent<'a>;
    fn mirror(self) -> Option<WireContent<'a>> {
        Some(match self {
            Self::Blank => WireContent::Blank,
            Self::Template(image) => WireContent::Template(image.mirror()?),
            Self::Overlay(image) => WireContent::Overlay(image.mirror()?),
            Self::Copy(disk) => WireContent::Copy(disk.mirror()?),
            Self::Declassified(disk, why) => WireContent::Declassified(disk.mirror()?, why.reason.to_owned()),
            _ => return None,
        })
    }
}

lent!(WireContent<'_> => DiskContent<'h>, |content| match content {
    WireContent::Blank => DiskContent::Blank,
    WireContent::Template(image) => DiskContent::Template(image.hold()),
    WireContent::Overlay(image) => DiskContent::Overlay(image.hold()),
    WireContent::Copy(disk) => DiskContent::Copy(disk.hold()),
    WireContent::Declassified(disk, reason) => {
        DiskContent::Declassified(disk.hold(), Declassification { reason })
    }
});

/// What a disk that is there is filled with or compared with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WireContentSource<'a> {
    Image(WireSource),
    Disk(WireDisk<'a>),
    Declassified(WireDisk<'a>, String),
}

impl<'a> Mirror for ContentSource<'a> {
    type Wire = WireContentSource<'a>;
    fn mirror(self) -> Option<WireContentSource<'a>> {
        Some(match self {
            Self::Image(image) => WireContentSource::Image(image.mirror()?),
            Self::Disk(disk) => WireContentSource::Disk(disk.mirror()?),
            Self::Declassified(disk, why) => {
                WireContentSource::Declassified(disk.mirror()?, why.reason.to_owned())
            }
            _ => return None,
        })
    }
}

lent!(WireContentSource<'_> => ContentSource<'h>, |source| match source {
    WireContentSource::Image(image) => ContentSource::Image(image.hold()),
    WireContentSource::Disk(disk) => ContentSource::Disk(disk.hold()),
    WireContentSource::Declassified(disk, reason) => {
        ContentSource::Declassified(disk.hold(), Declassification { reason })
    }
});
