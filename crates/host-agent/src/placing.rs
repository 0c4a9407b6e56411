//! Writes what was made in memory onto a device, of which only the beginning may be touched.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use strongroom_endpoint_selector::{DiskLocation, EndpointError, ErrorKind};
use strongroom_types::Call;

use crate::bounded::Bounded;
use crate::{device, exclusive, failure, inspect, reading};

/// How much is read or written at once, in bytes.
const PIECE: usize = 1 << 20;

/// A device that nobody else has, up to the end of the disk on it.
pub(crate) struct Place<'l> {
    operation: &'static str,
    location: &'l DiskLocation,
    disk: Bounded,
}

impl<'l> Place<'l> {
    /// Opens the device for writing.
    pub(crate) fn open(operation: &'static str, location: &'l DiskLocation) -> Result<Self, EndpointError> {
        device::unused(operation, location)?;
        let mut file = exclusive::open(operation, location)?;
        let bytes = reading::length(operation, location.path(), &mut file)?;
        let length = match location {
            DiskLocation::File(_) => bytes,
            DiskLocation::Block(device) => device::used(operation, device, bytes)?,
        };
        Ok(Self {
            operation,
            location,
            disk: Bounded::new(file, length),
        })
    }

    /// What can be read of it. Nothing else may open the device meanwhile: closing it would give the lock back.
    pub(crate) fn disk(&mut self) -> &mut Bounded {
        &mut self.disk
    }

    /// How many bytes it has.
    pub(crate) fn length(&self) -> u64 {
        self.disk.length()
    }

    /// Fails when anything but zeros is at or behind `from`.
    pub(crate) fn blank_from(&mut self, call: &Call, from: u64) -> Result<(), EndpointError> {
        let zeros = vec![0; PIECE];
        let mut bytes = vec![0; PIECE];
        let mut at = from;
        self.disk
            .seek(SeekFrom::Start(from))
            .map_err(|e| self.failed(e))?;
        loop {
            inspect::go_on(call, self.operation)?;
            #[expect(clippy::cast_precision_loss, reason = "a share for a progress bar")]
            call.report(at as f64 / self.length().max(1) as f64);
            let read = self.disk.read(&mut bytes).map_err(|e| self.failed(e))?;
            if read == 0 {
                return Ok(());
            }
            let found = bytes.get(..read).unwrap_or_default();
            if found != zeros.get(..read).unwrap_or_default() {
                let first = found.iter().position(|byte| *byte != 0).unwrap_or_default();
                let message = format!(
                    "{} is not blank: something is at byte {}; it stays",
                    self.location,
                    at + first as u64
                );
                return Err(EndpointError::new(
                    ErrorKind::AlreadyExists,
                    self.operation,
                    message,
                ));
            }
            at += read as u64;
        }
    }

    /// Copies this range of a file to the same place, and has it on stable storage when it returns.
    pub(crate) fn copy(&self, from: &File, range: Range<u64>) -> Result<(), EndpointError> {
        let mut bytes = vec![0; PIECE];
        let mut at = range.start;
        while at < range.end {
            let left = usize::try_from(range.end - at).unwrap_or(PIECE).min(PIECE);
            let piece = bytes.get_mut(..left).unwrap_or_default();
            from.read_exact_at(piece, at).map_err(|e| self.failed(e))?;
            self.put(piece, at)?;
            at += left as u64;
        }
        self.sync()
    }

    /// Makes this range zeros.
    pub(crate) fn zero(&self, range: Range<u64>) -> Result<(), EndpointError> {
        let zeros = vec![0; PIECE];
        let mut at = range.start;
        while at < range.end {
            let left = usize::try_from(range.end - at).unwrap_or(PIECE).min(PIECE);
            self.put(zeros.get(..left).unwrap_or_default(), at)?;
            at += left as u64;
        }
        self.sync()
    }

    /// Writes these bytes, none of which lies behind the end.
    pub(crate) fn put(&self, bytes: &[u8], at: u64) -> Result<(), EndpointError> {
        if at.saturating_add(bytes.len() as u64) > self.length() {
            return Err(self.failed(io::ErrorKind::StorageFull.into()));
        }
        self.disk
            .file()
            .write_all_at(bytes, at)
            .map_err(|e| self.failed(e))
    }

    /// Has all that was written on stable storage.
    pub(crate) fn sync(&self) -> Result<(), EndpointError> {
        self.disk.file().sync_all().map_err(|e| self.failed(e))
    }

    fn failed(&self, error: io::Error) -> EndpointError {
        failure::io(self.operation, self.location.path(), error)
    }
}
