//! Commands that borrow nothing: for a thread that may outlive the call.

use std::path::{Path, PathBuf};

use strongroom_endpoint_selector::{
    BackUpHeader, BlankDevice, CompareContent, ContentSource, CreateDisk, Declassification, DeleteDisk,
    DigestContent, Disk, DiskContent, DiskLocation, EndpointError, EraseKeyslots, ErrorKind, FileStamp,
    FlattenDisk, FormatDevice, FormatQcow2, GrowDisk, HostCommand, IdentifyDevice, InspectDisk,
    ListDirectory, MakeDirectory, MarkDirectory, OpenDirectory, Protection, ProveBlank, ReplaceContent,
    RescanDevice, ShrinkDisk, SnapshotDisk, SourceImage, SweepStaging, VerifyDisk,
};
use strongroom_secret::Passphrase;
use strongroom_types::{DiskFormat, EncryptionFormat};
use zeroize::Zeroizing;

/// Lends the command once to whoever carries it out.
pub(crate) type Lend = Box<dyn FnOnce(&mut dyn FnMut(&HostCommand<'_>)) + Send>;

/// A copy of the command, keys included, which are wiped when it goes.
///
/// # Errors
/// [`ErrorKind::Unsupported`] for a command that is not known here.
pub(crate) fn keep(command: &HostCommand<'_>) -> Result<Lend, EndpointError> {
    let unknown = || {
        let message = "this agent cannot do that on a file system of another machine";
        EndpointError::new(ErrorKind::Unsupported, command.name(), message)
    };
    let keys = |e: strongroom_secret::PassphraseError| {
        EndpointError::new(ErrorKind::Io, command.name(), e.to_string()).with_source(e)
    };
    Ok(match command {
        HostCommand::OpenDirectory(c) => on_path(c.path, |path| OpenDirectory::new(path).into()),
        HostCommand::MakeDirectory(c) => on_path(c.path, |path| MakeDirectory::new(path).into()),
        HostCommand::ListDirectory(c) => on_path(c.path, |path| ListDirectory::new(path).into()),
        HostCommand::IdentifyDevice(c) => on_path(c.path, |path| IdentifyDevice::new(path).into()),
        HostCommand::RescanDevice(c) => on_path(c.path, |path| RescanDevice::new(path).into()),
        HostCommand::DeleteDisk(c) => on_path(c.path, |path| DeleteDisk::new(path).into()),
        HostCommand::SweepStaging(c) => on_path(c.path, |path| SweepStaging::new(path).into()),
        HostCommand::MarkDirectory(c) => {
            let (path, pool) = (c.path.to_owned(), c.pool.clone());
            let (owner, take_over) = (c.owner.cloned(), c.take_over);
            Box::new(move |run| {
                let mark = MarkDirectory::new(&path, &pool).owner(owner.as_ref());
                run(&mark.take_over(take_over).into());
            })
        }
        HostCommand::CreateDisk(c) => {
            let (path, format, guest) = (c.path.to_owned(), c.format, c.guest);
            let protection = KeptProtection::of(c.protection).map_err(keys)?;
            let content = KeptContent::of(&c.content).map_err(keys)?.ok_or_else(unknown)?;
            let digest = c.digest;
            Box::new(move |run| {
                let create = CreateDisk::new(&path, format, guest, protection.lend(), content.lend());
                run(&create.digest(digest).into());
            })
        }
        HostCommand::FormatDevice(c) => {
            let (volume, location, format) = (c.volume.clone(), c.location.clone(), c.format);
            let key = copy(c.key).map_err(keys)?;
            Box::new(move |run| run(&FormatDevice::new(&volume, &location, format, &key).into()))
        }
        HostCommand::FormatQcow2(c) => {
            let (volume, location, guest) = (c.volume.clone(), c.location.clone(), c.guest);
            let protection = KeptProtection::of(c.protection).map_err(keys)?;
            Box::new(move |run| {
                run(&FormatQcow2::new(&volume, &location, guest, protection.lend()).into());
            })
        }
        HostCommand::ProveBlank(c) => {
            let (location, from) = (c.location.clone(), c.from);
            Box::new(move |run| run(&ProveBlank::new(&location).from(from).into()))
        }
        HostCommand::BlankDevice(c) => {
            let location = c.location.clone();
            Box::new(move |run| run(&BlankDevice::new(&location).into()))
        }
        HostCommand::InspectDisk(c) => {
            let (location, format, encryption) = (c.location.clone(), c.format, c.encryption);
            let base_in = c.base_in.map(Path::to_owned);
            Box::new(move |run| {
                let inspect = InspectDisk::new(&location, format, encryption);
                run(&inspect.base_in(base_in.as_deref()).into());
            })
        }
        HostCommand::EraseKeyslots(c) => {
            let (location, format) = (c.location.clone(), c.format);
            Box::new(move |run| run(&EraseKeyslots::new(&location, format).into()))
        }
        HostCommand::VerifyDisk(c) => {
            let disk = KeptDisk::of(&c.disk).map_err(keys)?;
            Box::new(move |run| run(&VerifyDisk::new(disk.lend()).into()))
        }
        HostCommand::GrowDisk(c) => {
            let (disk, to) = (KeptDisk::of(&c.disk).map_err(keys)?, c.to);
            Box::new(move |run| run(&GrowDisk::new(disk.lend(), to).into()))
        }
        HostCommand::ShrinkDisk(c) => {
            let (disk, to) = (KeptDisk::of(&c.disk).map_err(keys)?, c.to);
            Box::new(move |run| run(&ShrinkDisk::new(disk.lend(), to).into()))
        }
        HostCommand::FlattenDisk(c) => {
            let disk = KeptDisk::of(&c.disk).map_err(keys)?;
            Box::new(move |run| run(&FlattenDisk::new(disk.lend()).into()))
        }
        HostCommand::SnapshotDisk(c) => {
            let disk = KeptDisk::of(&c.disk).map_err(keys)?;
            let (snapshot, action) = (c.snapshot.clone(), c.action);
            Box::new(move |run| run(&SnapshotDisk::new(disk.lend(), &snapshot, action).into()))
        }
        HostCommand::ReplaceContent(c) => {
            let disk = KeptDisk::of(&c.disk).map_err(keys)?;
            let source = KeptSource::of(&c.source).map_err(keys)?.ok_or_else(unknown)?;
            Box::new(move |run| run(&ReplaceContent::new(disk.lend(), source.lend()).into()))
        }
        HostCommand::CompareContent(c) => {
            let disk = KeptDisk::of(&c.disk).map_err(keys)?;
            let with = KeptSource::of(&c.with).map_err(keys)?.ok_or_else(unknown)?;
            Box::new(move |run| run(&CompareContent::new(disk.lend(), with.lend()).into()))
        }
        HostCommand::DigestContent(c) => {
            let (disk, first) = (KeptDisk::of(&c.disk).map_err(keys)?, c.first);
            Box::new(move |run| run(&DigestContent::new(disk.lend()).first(first).into()))
        }
        HostCommand::BackUpHeader(c) => {
            let (disk, to) = (KeptDisk::of(&c.disk).map_err(keys)?, c.to.to_owned());
            Box::new(move |run| run(&BackUpHeader::new(disk.lend(), &to).into()))
        }
        _ => return Err(unknown()),
    })
}

fn on_path(path: &Path, command: for<'p> fn(&'p Path) -> HostCommand<'p>) -> Lend {
    let path = path.to_owned();
    Box::new(move |run| run(&command(&path)))
}

type Copied<T> = Result<T, strongroom_secret::PassphraseError>;

fn copy(key: &Passphrase) -> Copied<Passphrase> {
    Passphrase::restore(Zeroizing::new(key.expose_secret().to_vec()), key.origin())
}

struct KeptImage(PathBuf, DiskFormat, Option<FileStamp>);

impl KeptImage {
    fn of(image: &SourceImage<'_>) -> Self {
        Self(image.path.to_owned(), image.format, image.stamp)
    }

    fn lend(&self) -> SourceImage<'_> {
        SourceImage::new(&self.0, self.1).stamped(self.2)
    }
}

enum KeptProtection {
    Plain,
    Luks(EncryptionFormat, Passphrase),
}

impl KeptProtection {
    fn of(protection: Protection<'_>) -> Copied<Self> {
        Ok(match protection {
            Protection::Plain => Self::Plain,
            Protection::Luks { format, key } => Self::Luks(format, copy(key)?),
        })
    }

    fn lend(&self) -> Protection<'_> {
        match self {
            Self::Plain => Protection::Plain,
            Self::Luks(format, key) => Protection::Luks { format: *format, key },
        }
    }
}

struct KeptDisk {
    location: DiskLocation,
    format: DiskFormat,
    protection: KeptProtection,
    base: Option<KeptImage>,
}

impl KeptDisk {
    fn of(disk: &Disk<'_>) -> Copied<Self> {
        Ok(Self {
            location: disk.location.clone(),
            format: disk.format,
            protection: KeptProtection::of(disk.protection)?,
            base: disk.base.as_ref().map(KeptImage::of),
        })
    }

    fn lend(&self) -> Disk<'_> {
        let base = self.base.as_ref().map(KeptImage::lend);
        Disk::new(&self.location, self.format, self.protection.lend()).on(base)
    }
}

enum KeptContent {
    Blank,
    Template(KeptImage),
    Overlay(KeptImage),
    Copy(KeptDisk),
    Declassified(KeptDisk, String),
}

impl KeptContent {
    fn of(content: &DiskContent<'_>) -> Copied<Option<Self>> {
        Ok(Some(match content {
            DiskContent::Blank => Self::Blank,
            DiskContent::Template(image) => Self::Template(KeptImage::of(image)),
            DiskContent::Overlay(image) => Self::Overlay(KeptImage::of(image)),
            DiskContent::Copy(disk) => Self::Copy(KeptDisk::of(disk)?),
            DiskContent::Declassified(disk, why) => {
                Self::Declassified(KeptDisk::of(disk)?, why.reason.to_owned())
            }
            _ => return Ok(None),
        }))
    }

    fn lend(&self) -> DiskContent<'_> {
        match self {
            Self::Blank => DiskContent::Blank,
            Self::Template(image) => DiskContent::Template(image.lend()),
            Self::Overlay(image) => DiskContent::Overlay(image.lend()),
            Self::Copy(disk) => DiskContent::Copy(disk.lend()),
            Self::Declassified(disk, reason) => {
                DiskContent::Declassified(disk.lend(), Declassification { reason })
            }
        }
    }
}

enum KeptSource {
    Image(KeptImage),
    Disk(KeptDisk),
    Declassified(KeptDisk, String),
}

impl KeptSource {
    fn of(source: &ContentSource<'_>) -> Copied<Option<Self>> {
        Ok(Some(match source {
            ContentSource::Image(image) => Self::Image(KeptImage::of(image)),
            ContentSource::Disk(disk) => Self::Disk(KeptDisk::of(disk)?),
            ContentSource::Declassified(disk, why) => {
                Self::Declassified(KeptDisk::of(disk)?, why.reason.to_owned())
            }
            _ => return Ok(None),
        }))
    }

    fn lend(&self) -> ContentSource<'_> {
        match self {
            Self::Image(image) => ContentSource::Image(image.lend()),
            Self::Disk(disk) => ContentSource::Disk(disk.lend()),
            Self::Declassified(disk, reason) => {
                ContentSource::Declassified(disk.lend(), Declassification { reason })
            }
        }
    }
}
