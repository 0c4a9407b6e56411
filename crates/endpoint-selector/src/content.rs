use crate::{Disk, EndpointError, ErrorKind, Protection, SourceImage};

/// What a new disk holds.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum DiskContent<'a> {
    /// Nothing. A plain disk or a qcow2 reads as zeros; a raw LUKS disk reads as noise, because what was never written
    /// decrypts to noise.
    Blank,
    /// The content of an image that somebody untrusted may have made. It is at most as large as the disk.
    Template(SourceImage<'a>),
    /// Nothing of its own: a qcow2 that reads as this plain image until something is written to it. Only what is written is
    /// encrypted. The image is at most as large as the disk, and never changes and never goes while the disk lies on it.
    Overlay(SourceImage<'a>),
    /// The content of another disk that nobody writes to meanwhile, at most as large. From an encrypted disk into a plain one
    /// it is refused: that takes [`Declassified`](Self::Declassified).
    Copy(Disk<'a>),
    /// The content of an encrypted disk, in clear: the new disk is plain, and that is meant. The host logs it with the reason.
    Declassified(Disk<'a>, Declassification<'a>),
}

impl DiskContent<'_> {
    /// Whether this content may go into a disk with this protection: nothing that was encrypted becomes plain in silence.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] with what to do.
    pub fn admit(&self, operation: &'static str, into: Protection<'_>) -> Result<(), EndpointError> {
        match self {
            Self::Copy(from) => copy(operation, from, into),
            Self::Declassified(from, _) => declassify(operation, from, into),
            Self::Blank | Self::Template(_) | Self::Overlay(_) => Ok(()),
        }
    }
}

fn refuse(operation: &'static str, problem: &str) -> Result<(), EndpointError> {
    Err(EndpointError::new(ErrorKind::InvalidRequest, operation, problem))
}

fn copy(operation: &'static str, from: &Disk<'_>, into: Protection<'_>) -> Result<(), EndpointError> {
    match (from.protection, into) {
        (Protection::Luks { .. }, Protection::Plain) => refuse(
            operation,
            "the content of an encrypted disk would become plain; declassify it, or ask for an encrypted disk",
        ),
        _ => Ok(()),
    }
}

fn declassify(operation: &'static str, from: &Disk<'_>, into: Protection<'_>) -> Result<(), EndpointError> {
    match (from.protection, into) {
        (Protection::Plain, _) => refuse(operation, "the disk to declassify is plain; copy it"),
        (_, Protection::Luks { .. }) => refuse(
            operation,
            "the target is encrypted, so nothing is declassified; copy it",
        ),
        (Protection::Luks { .. }, Protection::Plain) => Ok(()),
    }
}

/// That somebody wants the content of an encrypted disk in clear, and why. It is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Declassification<'a> {
    /// Why.
    pub reason: &'a str,
}

/// Where content for a disk that is there already, or to compare it with, comes from.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ContentSource<'a> {
    /// A plain image that somebody untrusted may have made.
    Image(SourceImage<'a>),
    /// Another disk that nobody writes to meanwhile.
    Disk(Disk<'a>),
    /// An encrypted disk that nobody writes to meanwhile, whose content is wanted in clear in a plain disk.
    Declassified(Disk<'a>, Declassification<'a>),
}

impl ContentSource<'_> {
    /// Whether content from there may go into a disk with this protection: nothing that was encrypted becomes plain in silence.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] with what to do.
    pub fn admit(&self, operation: &'static str, into: Protection<'_>) -> Result<(), EndpointError> {
        match self {
            Self::Disk(from) => copy(operation, from, into),
            Self::Declassified(from, _) => declassify(operation, from, into),
            Self::Image(_) => Ok(()),
        }
    }
}

impl<'a> From<SourceImage<'a>> for ContentSource<'a> {
    fn from(image: SourceImage<'a>) -> Self {
        Self::Image(image)
    }
}

impl<'a> From<Disk<'a>> for ContentSource<'a> {
    fn from(disk: Disk<'a>) -> Self {
        Self::Disk(disk)
    }
}
