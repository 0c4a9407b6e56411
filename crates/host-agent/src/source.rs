//! Where content comes from: admitted before it is read, and still the same afterwards.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use strongroom_endpoint_selector::{
    ContentSource, Disk, DiskContent, DiskLocation, EndpointError, ErrorKind, FileStamp, Protection,
};
use strongroom_types::{Call, DiskFormat, EncryptionFormat, GuestSize, PayloadOffset};

use crate::extent::Extent;
use crate::tools::{Tools, disk_of};
use crate::{failure, inspect, reading, template};

/// Content that was looked at and may be read.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) content: ContentSource<'a>,
    pub(crate) size: GuestSize,
    /// Where the encrypted sectors of a raw LUKS disk begin.
    pub(crate) payload_offset: PayloadOffset,
    seen: Vec<Seen>,
    lies: Vec<Extent>,
}

/// What a new disk is to be filled with, if it is filled.
pub(crate) fn of<'a>(content: &DiskContent<'a>) -> Option<ContentSource<'a>> {
    match *content {
        DiskContent::Template(image) => Some(ContentSource::Image(image)),
        DiskContent::Copy(disk) => Some(ContentSource::Disk(disk)),
        DiskContent::Declassified(disk, why) => Some(ContentSource::Declassified(disk, why)),
        _ => None,
    }
}

impl<'a> Source<'a> {
    /// An image from outside is read by our own reader; a disk is opened with its key.
    pub(crate) fn admit(
        tools: &Tools,
        call: &Call,
        operation: &'static str,
        content: ContentSource<'a>,
    ) -> Result<Self, EndpointError> {
        if let ContentSource::Declassified(_, why) = &content
            && why.reason.trim().is_empty()
        {
            let message = "writing the content of an encrypted disk in clear needs a reason";
            return Err(EndpointError::new(ErrorKind::InvalidRequest, operation, message));
        }
        let (size, payload_offset, seen, lies) = match (&content, disk_of(&content)) {
            (ContentSource::Image(image), _) => {
                reading::absolute(operation, image.path)?;
                let seen = vec![Seen::at(operation, image.path)?];
                if let (Some(said), Some(there)) = (&image.stamp, seen.first()) {
                    there.is(operation, said)?;
                }
                let size = template::admit(operation, image)?;
                let size = GuestSize::new(size)
                    .map_err(|e| EndpointError::new(ErrorKind::UntrustedImage, operation, e.to_string()))?;
                (
                    size,
                    PayloadOffset::NONE,
                    seen,
                    vec![lies_in(operation, image.path)?],
                )
            }
            (_, Some(disk)) => {
                openable(operation, disk)?;
                reading::absolute(operation, disk.location.path())?;
                let seen = Seen::of_disk(operation, disk)?;
                let facts = inspect::prove(tools, call, operation, disk)?;
                let base = disk.base.map(|base| base.path);
                let lies = [Some(disk.location.path()), base]
                    .into_iter()
                    .flatten()
                    .map(|path| lies_in(operation, path))
                    .collect::<Result<_, _>>()?;
                (facts.guest, facts.payload_offset, seen, lies)
            }
            _ => {
                let message = "this agent does not know this source of content";
                return Err(EndpointError::new(ErrorKind::Unsupported, operation, message));
            }
        };
        Ok(Self {
            content,
            size,
            payload_offset,
            seen,
            lies,
        })
    }

    /// Its path, for messages.
    pub(crate) fn path(&self) -> &Path {
        match (&self.content, disk_of(&self.content)) {
            (ContentSource::Image(image), _) => image.path,
            (_, Some(disk)) => disk.location.path(),
            _ => Path::new(""),
        }
    }

    /// Fails when it does not fit into a disk of this size.
    pub(crate) fn fits(&self, operation: &'static str, into: GuestSize) -> Result<(), EndpointError> {
        if self.size <= into {
            return Ok(());
        }
        let message = format!(
            "{} has {} bytes, the disk only {}; ask for at least as much",
            self.path().display(),
            self.size.get(),
            into.get()
        );
        Err(EndpointError::new(ErrorKind::InvalidRequest, operation, message))
    }

    /// Fails when a file that was read is not what it was when it was admitted.
    pub(crate) fn unchanged(&self, operation: &'static str) -> Result<(), EndpointError> {
        self.seen.iter().try_for_each(|seen| seen.unchanged(operation))
    }

    /// A failure to read it, or that it was changed when that is why.
    pub(crate) fn blame(&self, operation: &'static str, failure: EndpointError) -> EndpointError {
        match failure.kind() {
            ErrorKind::Tool | ErrorKind::NotFound | ErrorKind::WrongDisk => {
                self.unchanged(operation).err().unwrap_or(failure)
            }
            _ => failure,
        }
    }

    /// Writes down that encrypted content is about to lie in clear, and why.
    pub(crate) fn log_declassification(&self, into: &Path) {
        if let ContentSource::Declassified(disk, why) = &self.content {
            // What somebody else wrote must not look like lines of the log.
            let reason: String = why.reason.chars().flat_map(visible).collect();
            let (from, into) = (disk.location.path(), into);
            tracing::warn!(
                ?from,
                ?into,
                reason,
                "the content of an encrypted disk is written in clear"
            );
        }
    }
}

fn visible(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let as_it_is = (!c.is_control()).then_some(c);
    escaped.into_iter().flatten().chain(as_it_is)
}

/// Fails for a disk whose content QEMU does not reach.
pub(crate) fn openable(operation: &'static str, disk: &Disk<'_>) -> Result<(), EndpointError> {
    if disk.protection.format() != Some(EncryptionFormat::Luks2) {
        return Ok(());
    }
    let message = format!(
        "{} is LUKS2, which QEMU does not open, and there is no other way to its content without device-mapper; use luks1",
        disk.location
    );
    Err(EndpointError::new(ErrorKind::Unsupported, operation, message))
}

/// Fails when content would be written over itself, by whatever names and loop devices.
pub(crate) fn not_itself(
    operation: &'static str,
    source: &Source<'_>,
    into: &Disk<'_>,
) -> Result<(), EndpointError> {
    let target = lies_in(operation, into.location.path())?;
    if !source.lies.iter().any(|lies| lies.overlaps(&target)) {
        return Ok(());
    }
    let message = format!("{} would be written over what it is read from", into.location);
    Err(EndpointError::new(ErrorKind::InvalidRequest, operation, message))
}

fn lies_in(operation: &'static str, path: &Path) -> Result<Extent, EndpointError> {
    path.metadata()
        .and_then(|found| Extent::of(&found))
        .map_err(|e| failure::io(operation, path, e))
}

/// Which file there was, and when it was last changed.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    path: PathBuf,
    file: (u64, u64),
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    fn at(operation: &'static str, path: &Path) -> Result<Self, EndpointError> {
        let found = path.metadata().map_err(|e| failure::io(operation, path, e))?;
        Ok(Self {
            path: path.to_owned(),
            file: (found.dev(), found.ino()),
            length: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// A disk and what it lies on. Devices say nothing of this kind.
    fn of_disk(operation: &'static str, disk: &Disk<'_>) -> Result<Vec<Self>, EndpointError> {
        let mut seen = Vec::new();
        if let DiskLocation::File(path) = disk.location {
            seen.push(Self::at(operation, path)?);
        }
        if let Some(base) = disk.base {
            // A base that is not there is for those to say who look at the disk.
            seen.extend(Self::at(operation, base.path).ok());
        }
        Ok(seen)
    }

    /// Fails when the file is not the one that had this stamp.
    fn is(&self, operation: &'static str, said: &FileStamp) -> Result<(), EndpointError> {
        let (length, (_, inode)) = (self.length, self.file);
        let now = FileStamp::new(
            length,
            inode,
            nanoseconds(self.modified),
            nanoseconds(self.changed),
        );
        let Some(change) = now.since(said) else {
            return Ok(());
        };
        let message = format!("{} {change}, since it was recorded", self.path.display());
        Err(EndpointError::new(ErrorKind::UntrustedImage, operation, message))
    }

    fn unchanged(&self, operation: &'static str) -> Result<(), EndpointError> {
        match Self::at(operation, &self.path) {
            Ok(now) if now == *self => Ok(()),
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => {
                let message = format!(
                    "{} was changed while it was read; try again when nobody writes to it",
                    self.path.display()
                );
                Err(EndpointError::new(ErrorKind::Busy, operation, message))
            }
        }
    }
}

fn nanoseconds((seconds, rest): (i64, i64)) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(rest)
}

/// The stamp by which a file is known later.
pub(crate) fn stamp(metadata: &Metadata) -> FileStamp {
    let modified = nanoseconds((metadata.mtime(), metadata.mtime_nsec()));
    let changed = nanoseconds((metadata.ctime(), metadata.ctime_nsec()));
    FileStamp::new(metadata.len(), metadata.ino(), modified, changed)
}

/// Whether a disk is a raw LUKS disk, in which what was never written reads as noise.
pub(crate) fn is_raw_luks(disk: &Disk<'_>) -> bool {
    disk.format == DiskFormat::Raw && matches!(disk.protection, Protection::Luks { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_log() {
        let shown: String = "asked for\nERROR all is lost\u{1b}[2J"
            .chars()
            .flat_map(visible)
            .collect();
        assert_eq!(shown, "asked for\\nERROR all is lost\\u{1b}[2J");
    }
}
