//! Content on its way between disks, through their ciphers.

use std::fs::File;
use std::io;
use std::num::NonZeroU8;
use std::ops::Range;

use strongroom_endpoint_selector::{ContentSource, Disk, EndpointError, ErrorKind, Protection};
use strongroom_exec::RunError;
use strongroom_qemu_img::{
    Compare, Comparison, Convert, ConvertOptions, Declassify, Encrypted, Extent, Image, Load, Map, Memory,
    Plain, QemuImgError, Side, Store,
};
use strongroom_secret::SecretFile;
use strongroom_types::{Call, DiskFormat, EncryptionFormat};

use super::qemu::{encrypted, plain, source, with_image};
use super::{Tools, hand_over};
use crate::failure;

/// How many requests of a copy are under way at a time. With qcow2 and LUKS `qemu-img` takes about 4 MiB for each, 48 MiB in all for
/// ten; with sixteen it was 72 MiB, and no faster on two processors.
const PARALLEL: u8 = 10;

/// A part of a content in memory, which does not forget whether it came out of a cipher.
#[derive(Debug)]
pub(crate) enum Loaded {
    Plain(Memory<Plain>),
    Encrypted(Memory<Encrypted>),
}

impl Loaded {
    pub(crate) fn file(&self) -> &File {
        match self {
            Self::Plain(memory) => memory.file(),
            Self::Encrypted(memory) => memory.file(),
        }
    }

    /// Makes some of it zeros.
    pub(crate) fn clear(&self, part: &Range<u64>) -> io::Result<()> {
        let length = part.end - part.start;
        match self {
            Self::Plain(memory) => memory.clear(part.start, length),
            Self::Encrypted(memory) => memory.clear(part.start, length),
        }
    }
}

/// The disk that a source is, if it is one.
pub(crate) fn disk_of<'s, 'a>(from: &'s ContentSource<'a>) -> Option<&'s Disk<'a>> {
    match from {
        ContentSource::Disk(disk) | ContentSource::Declassified(disk, _) => Some(disk),
        _ => None,
    }
}

/// Runs `$body` with `$image` bound to where content comes from, on whichever side of the cipher it is.
macro_rules! with_source {
    ($operation:expr, $from:expr, |$image:ident| $body:expr) => {
        match $from {
            ContentSource::Image(image) => {
                let $image = source(image);
                $body
            }
            ContentSource::Disk(disk) | ContentSource::Declassified(disk, _) => {
                with_image!($operation, disk, |$image| $body)
            }
            _ => Err(unknown($operation)),
        }
    };
}

fn unknown(operation: &'static str) -> EndpointError {
    let message = "this agent does not know this source of content; it is older than whoever asks";
    EndpointError::new(ErrorKind::Unsupported, operation, message)
}

/// Both ends of a transfer as QEMU opens them, where one key at most is on its way to the tool for each.
enum Sides<'k> {
    FromPlain(Image<'static, Plain>),
    FromEncrypted(Image<'k, Encrypted>),
}

/// The leave to write in clear that comes with a source.
fn leave(operation: &'static str, from: &ContentSource<'_>) -> Result<Declassify, EndpointError> {
    let invalid = |message: String| EndpointError::new(ErrorKind::InvalidRequest, operation, message);
    match from {
        ContentSource::Declassified(_, why) => {
            Declassify::because(why.reason).map_err(|e| invalid(e.to_string()))
        }
        _ => Err(invalid(
            "the content of an encrypted disk would become plain; declassify it".to_owned(),
        )),
    }
}

/// The key of a source, on its way to a tool.
fn key_of(operation: &'static str, from: &ContentSource<'_>) -> Result<Option<SecretFile>, EndpointError> {
    disk_of(from)
        .and_then(|disk| disk.protection.key())
        .map(|key| hand_over(operation, key))
        .transpose()
}

fn sides<'k>(
    operation: &'static str,
    from: &ContentSource<'_>,
    key: Option<&'k SecretFile>,
) -> Result<Sides<'k>, EndpointError> {
    Ok(match (from, key) {
        (ContentSource::Image(image), _) => Sides::FromPlain(source(image)),
        (ContentSource::Disk(disk) | ContentSource::Declassified(disk, _), None) => {
            Sides::FromPlain(plain(disk))
        }
        (ContentSource::Disk(disk) | ContentSource::Declassified(disk, _), Some(key)) => {
            Sides::FromEncrypted(encrypted(disk, key))
        }
        _ => return Err(unknown(operation)),
    })
}

impl Tools {
    /// Copies content over a disk, all of it or a part. `fresh` says that the disk was made just now and nothing was written there.
    pub(crate) fn copy(
        &self,
        operation: &'static str,
        call: &Call,
        from: &ContentSource<'_>,
        into: &Disk<'_>,
        part: Option<&Range<u64>>,
        fresh: bool,
    ) -> Result<(), EndpointError> {
        let mut options = ConvertOptions::fast().parallel(NonZeroU8::new(PARALLEL).unwrap_or(NonZeroU8::MIN));
        // What was never written reads as zeros, also behind the cipher of a qcow2, but as noise on a raw LUKS disk.
        if fresh && (into.format == DiskFormat::Qcow2 || into.protection.key().is_none()) {
            options = options.target_is_zero();
        }
        let key = key_of(operation, from)?;
        match (sides(operation, from, key.as_ref())?, into.protection) {
            (Sides::FromPlain(from), _) => with_image!(operation, into, |image| {
                self.convert(operation, call, Convert::new(&from, &image), options, part)
            }),
            (Sides::FromEncrypted(image), Protection::Plain) => {
                let convert = Convert::declassifying(&image, plain(into), leave(operation, from)?);
                self.convert(operation, call, convert, options, part)
            }
            (Sides::FromEncrypted(image), Protection::Luks { key, .. }) => {
                let key = hand_over(operation, key)?;
                let convert = Convert::new(&image, encrypted(into, &key));
                self.convert(operation, call, convert, options, part)
            }
        }
    }

    fn convert<S: Side>(
        &self,
        operation: &'static str,
        call: &Call,
        convert: Convert<'_, S>,
        options: ConvertOptions,
        part: Option<&Range<u64>>,
    ) -> Result<(), EndpointError> {
        let convert = convert.options(options);
        let convert = match part {
            None => convert,
            Some(part) => convert.part(part.start, part.end - part.start),
        };
        self.qemu_img(operation)?
            .convert(&convert, call)
            .map_err(|e| failure::qemu(operation, e))
    }

    /// Reads a part of a content into memory.
    pub(crate) fn load(
        &self,
        operation: &'static str,
        call: &Call,
        from: &ContentSource<'_>,
        part: &Range<u64>,
    ) -> Result<Loaded, EndpointError> {
        let qemu = self.qemu_img(operation)?;
        let failed = |e| failure::qemu(operation, e);
        let key = key_of(operation, from)?;
        match sides(operation, from, key.as_ref())? {
            Sides::FromPlain(image) => {
                let memory = memory(operation, part)?;
                qemu.run(&Load::new(&image, part.start, &memory), call)
                    .map_err(failed)?;
                Ok(Loaded::Plain(memory))
            }
            Sides::FromEncrypted(image) => {
                let memory = memory(operation, part)?;
                qemu.run(&Load::new(&image, part.start, &memory), call)
                    .map_err(failed)?;
                Ok(Loaded::Encrypted(memory))
            }
        }
    }

    /// Writes what was read of `from` into a disk.
    pub(crate) fn store(
        &self,
        operation: &'static str,
        call: &Call,
        from: &ContentSource<'_>,
        loaded: &Loaded,
        into: &Disk<'_>,
        start: u64,
    ) -> Result<(), EndpointError> {
        let qemu = self.qemu_img(operation)?;
        let failed = |e| failure::qemu(operation, e);
        match (loaded, into.protection) {
            (Loaded::Plain(memory), _) => with_image!(operation, into, |image| {
                qemu.run(&Store::new(memory, &image, start), call).map_err(failed)
            }),
            (Loaded::Encrypted(memory), Protection::Plain) => {
                let store = Store::declassifying(memory, &plain(into), start, leave(operation, from)?);
                qemu.run(&store, call).map_err(failed)
            }
            (Loaded::Encrypted(memory), Protection::Luks { key, .. }) => {
                let key = hand_over(operation, key)?;
                let image = encrypted(into, &key);
                qemu.run(&Store::new(memory, &image, start), call).map_err(failed)
            }
        }
    }

    /// Writes zeros through the cipher of a disk.
    pub(crate) fn store_zeros(
        &self,
        operation: &'static str,
        call: &Call,
        into: &Disk<'_>,
        part: &Range<u64>,
    ) -> Result<(), EndpointError> {
        let qemu = self.qemu_img(operation)?;
        // However long: it takes no room.
        let zeros: Memory<Plain> = memory(operation, part)?;
        with_image!(operation, into, |image| {
            qemu.run(&Store::new(&zeros, &image, part.start), call)
                .map_err(|e| failure::qemu(operation, e))
        })
    }

    /// Which parts of a content there are, from `start` on; `None` when they are too many to be told at once.
    pub(crate) fn map(
        &self,
        operation: &'static str,
        call: &Call,
        from: &ContentSource<'_>,
        part: &Range<u64>,
    ) -> Result<Option<Vec<Extent>>, EndpointError> {
        let qemu = self.qemu_img(operation)?;
        with_source!(operation, from, |image| {
            let map = Map::of(&image).range(part.start, part.end - part.start);
            match qemu.run(&map, call) {
                Err(QemuImgError::Run {
                    source: RunError::OutputLimit { .. },
                    ..
                }) => Ok(None),
                other => other.map(Some).map_err(|e| failure::qemu(operation, e)),
            }
        })
    }

    /// Whether a disk has this content.
    pub(crate) fn compare(
        &self,
        operation: &'static str,
        call: &Call,
        disk: &Disk<'_>,
        with: &ContentSource<'_>,
    ) -> Result<bool, EndpointError> {
        let qemu = self.qemu_img(operation)?;
        let found = with_source!(operation, with, |with| {
            with_image!(operation, disk, |image| {
                qemu.run(&Compare::new(&with, &image), call)
                    .map_err(|e| failure::qemu(operation, e))
            })
        })?;
        Ok(matches!(found, Comparison::Identical))
    }
}

fn memory<S: Side>(operation: &'static str, part: &Range<u64>) -> Result<Memory<S>, EndpointError> {
    Memory::zeros(part.end - part.start).map_err(|e| {
        let message = format!("no memory for {} bytes of content: {e}", part.end - part.start);
        EndpointError::new(ErrorKind::Io, operation, message).with_source(e)
    })
}
