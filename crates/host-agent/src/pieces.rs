//! Which parts of a content there are, so that what is not there is neither read nor written.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use strongroom_endpoint_selector::{ContentSource, DiskLocation, EndpointError};
use strongroom_types::{Call, PayloadOffset, SECTOR};

use crate::source::{Source, is_raw_luks};
use crate::tools::{Tools, disk_of};
use crate::{failure, reading};

/// How much of a content is in memory at a time.
pub(crate) const WINDOW: u64 = 16 << 20;

/// Pieces with less in between go together: starting a tool takes as long as copying this much several times, and room is worth
/// something too.
const NEAR: u64 = 4 << 20;

/// The parts of a content that there are, from the first to the last.
#[derive(Debug)]
pub(crate) enum Pieces<'a> {
    /// As the file of a raw LUKS disk has them.
    Written(Written),
    /// As QEMU has them.
    Mapped(Mapped<'a>),
}

impl<'a> Pieces<'a> {
    /// Those of a source, up to `end`.
    pub(crate) fn of(
        tools: &'a Tools,
        call: &'a Call,
        operation: &'static str,
        source: &'a Source<'a>,
        end: u64,
    ) -> Result<Self, EndpointError> {
        if let Some(disk) = disk_of(&source.content).filter(|disk| is_raw_luks(disk))
            && let Some(written) = Written::open(operation, disk.location, source.payload_offset, end)?
        {
            return Ok(Self::Written(written));
        }
        Ok(Self::Mapped(Mapped {
            tools,
            call,
            operation,
            content: &source.content,
            end,
            known: Vec::new(),
            known_to: 0,
            step: end,
        }))
    }

    /// The first part that ends behind `from`, without what is before `from`.
    fn next(&mut self, from: u64) -> Result<Option<Range<u64>>, EndpointError> {
        match self {
            Self::Written(written) => written.next(from),
            Self::Mapped(mapped) => mapped.next(from),
        }
    }

    /// The next parts from `from` on, as many as lie in one window.
    pub(crate) fn window(&mut self, from: u64) -> Result<Vec<Range<u64>>, EndpointError> {
        let Some(first) = self.next(from)? else {
            return Ok(Vec::new());
        };
        // The first one may be as long as it is: whoever copies it needs no memory for it.
        let (end, mut at) = (first.start + WINDOW, first.end);
        let mut window = vec![first];
        while at < end {
            let near = end.min(at + NEAR);
            match self.next(at)?.filter(|piece| piece.start < near) {
                Some(piece) => {
                    at = piece.end.min(end);
                    window.push(piece.start..at);
                }
                None => break,
            }
        }
        Ok(window)
    }
}

/// What was ever written to a raw LUKS disk that is a file. In the holes of the file there is nothing of the guest's: they decrypt to
/// noise. No ciphertext is a hole, for that would take a block of zeros.
#[derive(Debug)]
pub(crate) struct Written {
    file: File,
    operation: &'static str,
    path: PathBuf,
    payload: u64,
    end: u64,
}

impl Written {
    /// Of a disk that is a file; `None` for a device, which has no holes.
    pub(crate) fn open(
        operation: &'static str,
        location: &DiskLocation,
        payload: PayloadOffset,
        end: u64,
    ) -> Result<Option<Self>, EndpointError> {
        let DiskLocation::File(path) = location else {
            return Ok(None);
        };
        let file = reading::open(operation, location)?;
        // Some file systems know their holes only when everything is on disk.
        file.sync_all().map_err(|e| failure::io(operation, path, e))?;
        Ok(Some(Self {
            file,
            operation,
            path: path.clone(),
            payload: payload.get(),
            end,
        }))
    }

    /// The first part that ends behind `from`, without what is before `from`.
    pub(crate) fn next(&self, from: u64) -> Result<Option<Range<u64>>, EndpointError> {
        if from >= self.end {
            return Ok(None);
        }
        let io = |e: Errno| failure::io(self.operation, Path::new(&self.path), e.into());
        let start = match seek(&self.file, SeekFrom::Data(self.payload + from)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            // A file system without holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some(from..self.end)),
            Err(e) => return Err(io(e)),
        };
        let hole = seek(&self.file, SeekFrom::Hole(start)).map_err(io)?;
        let start = start.saturating_sub(self.payload) / SECTOR * SECTOR;
        let end = hole
            .saturating_sub(self.payload)
            .next_multiple_of(SECTOR)
            .min(self.end);
        Ok((start < self.end).then(|| start.max(from)..end))
    }

    /// Whether all of this part was written.
    pub(crate) fn covers(&self, part: &Range<u64>) -> Result<bool, EndpointError> {
        let found = self.next(part.start)?;
        Ok(part.is_empty() || found.is_some_and(|f| f.start <= part.start && f.end >= part.end))
    }
}

/// What does not read as zeros, by the tables of the format.
#[derive(Debug)]
pub(crate) struct Mapped<'a> {
    tools: &'a Tools,
    call: &'a Call,
    operation: &'static str,
    content: &'a ContentSource<'a>,
    end: u64,
    known: Vec<Range<u64>>,
    known_to: u64,
    step: u64,
}

impl Mapped<'_> {
    fn next(&mut self, from: u64) -> Result<Option<Range<u64>>, EndpointError> {
        loop {
            let first = self.known.partition_point(|piece| piece.end <= from);
            if let Some(piece) = self.known.get(first) {
                return Ok(Some(piece.start.max(from)..piece.end));
            }
            let start = self.known_to.max(from);
            if start >= self.end {
                return Ok(None);
            }
            self.look(start..self.end.min(start + self.step))?;
        }
    }

    /// Asks for a part. When it is in too many pieces, asks for less, and in the end takes a window for one piece: zeros are then read.
    fn look(&mut self, part: Range<u64>) -> Result<(), EndpointError> {
        self.known.clear();
        match self.tools.map(self.operation, self.call, self.content, &part)? {
            Some(extents) => {
                for extent in extents.iter().filter(|e| !e.zero) {
                    let piece = extent.start.max(part.start)..(extent.start + extent.length).min(part.end);
                    match self.known.last_mut() {
                        Some(last) if last.end == piece.start => last.end = piece.end,
                        _ => self.known.push(piece),
                    }
                }
                self.known_to = part.end;
            }
            None if part.end - part.start <= WINDOW => {
                self.known_to = part.end;
                self.known.push(part);
            }
            None => {
                self.step = ((part.end - part.start) / 2).next_multiple_of(SECTOR).max(WINDOW);
                self.known_to = part.start;
            }
        }
        Ok(())
    }
}
