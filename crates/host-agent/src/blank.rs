//! Block devices of which nothing may be left, or on which nothing may be.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate};
use strongroom_endpoint_selector::{
    BlankDevice, BlockDevice, DiskLocation, EndpointError, ErrorKind, HostAnswer, ProveBlank,
};
use strongroom_types::{Call, PayloadOffset};

use crate::{exclusive, failure, inspect, reading};

/// How much is looked at or zeroed before the call is asked whether to go on.
const CHUNK: u64 = 4 << 20;

/// Every header and all key material of either LUKS lie before this.
const HEADER: u64 = PayloadOffset::LUKS2_CRYPTSETUP.get();

/// Finds nothing but zeros, or says where something else is.
pub(crate) fn prove(call: &Call, c: &ProveBlank<'_>) -> Result<HostAnswer, EndpointError> {
    const PROVE: &str = "ProveBlank";
    let device = match c.from {
        None => Opened::alone(PROVE, c.location)?,
        Some(_) => Opened::reading(PROVE, c.location)?,
    };
    let zeros = vec![0; usize::try_from(CHUNK).unwrap_or(1 << 20)];
    let mut bytes = zeros.clone();
    let begin = c.from.map_or(0, |from| from.get());
    device.in_chunks(call, begin, |file, at, length| {
        let (Some(bytes), Some(zeros)) = (bytes.get_mut(..length), zeros.get(..length)) else {
            return Err(device.failed(io::Error::from(io::ErrorKind::OutOfMemory)));
        };
        file.read_exact_at(bytes, at).map_err(|e| device.failed(e))?;
        if bytes == zeros {
            return Ok(());
        }
        let first = bytes.iter().position(|byte| *byte != 0).unwrap_or_default();
        // What lies before the range is somebody's disk.
        let advice = match c.from {
            None => "wipe the device first if that may go".to_owned(),
            Some(from) => format!(
                "wipe what lies from byte {} on, and nothing before it, if that may go",
                from.get()
            ),
        };
        let message = format!(
            "{} is not blank: something is at byte {}; it stays, {advice}",
            c.location,
            at + first as u64
        );
        Err(EndpointError::new(ErrorKind::AlreadyExists, PROVE, message))
    })?;
    Ok(HostAnswer::Done)
}

/// Makes a device read as zeros.
pub(crate) fn blank(call: &Call, c: &BlankDevice<'_>) -> Result<HostAnswer, EndpointError> {
    const BLANK: &str = "BlankDevice";
    let known = matches!(c.location, DiskLocation::Block(device) if device.identity.is_some());
    if !known {
        let message = format!(
            "{} would be wiped; say which block device it is, by its identity",
            c.location
        );
        return Err(EndpointError::new(ErrorKind::InvalidRequest, BLANK, message));
    }
    let device = Opened::alone(BLANK, c.location)?;
    let begin = match c.from {
        Some(from) => from.get(),
        None => {
            // What makes the rest readable goes first, and is gone before anything else is touched.
            let header = device.length.min(HEADER);
            zero(&device.file, 0, header).map_err(|e| device.failed(e))?;
            device.file.sync_all().map_err(|e| device.failed(e))?;
            header
        }
    };
    device.in_chunks(call, begin, |file, at, length| {
        zero(file, at, length as u64).map_err(|e| device.failed(e))
    })?;
    device.file.sync_all().map_err(|e| device.failed(e))?;
    Ok(HostAnswer::Done)
}

/// A device that nobody else has open.
struct Opened<'a> {
    operation: &'static str,
    location: &'a DiskLocation,
    file: File,
    length: u64,
}

impl<'a> Opened<'a> {
    fn alone(operation: &'static str, location: &'a DiskLocation) -> Result<Self, EndpointError> {
        Self::new(operation, location, exclusive::open)
    }

    /// Others may have it open.
    fn reading(operation: &'static str, location: &'a DiskLocation) -> Result<Self, EndpointError> {
        Self::new(operation, location, reading::open)
    }

    fn new(
        operation: &'static str,
        location: &'a DiskLocation,
        open: impl FnOnce(&'static str, &DiskLocation) -> Result<File, EndpointError>,
    ) -> Result<Self, EndpointError> {
        let path = location.path();
        let DiskLocation::Block(BlockDevice { used, .. }) = location else {
            let message = format!("{location} is said to be a file; this is for block devices");
            return Err(EndpointError::new(ErrorKind::InvalidRequest, operation, message));
        };
        let mut file = open(operation, location)?;
        let there = reading::length(operation, path, &mut file)?;
        // That the device has as much was seen when it was opened.
        let length = used.map_or(there, |used| used.get());
        Ok(Self {
            operation,
            location,
            file,
            length,
        })
    }

    fn failed(&self, error: io::Error) -> EndpointError {
        failure::io(self.operation, self.location.path(), error)
    }

    /// Does something to all that is behind `begin`, piece by piece, as long as the call goes on.
    fn in_chunks(
        &self,
        call: &Call,
        begin: u64,
        mut work: impl FnMut(&File, u64, usize) -> Result<(), EndpointError>,
    ) -> Result<(), EndpointError> {
        let mut at = begin;
        while at < self.length {
            inspect::go_on(call, self.operation)?;
            let piece = CHUNK.min(self.length - at);
            let length = usize::try_from(piece).map_err(|e| self.failed(io::Error::other(e)))?;
            work(&self.file, at, length)?;
            at += piece;
            #[expect(clippy::cast_precision_loss, reason = "a share for a progress bar")]
            call.report(at as f64 / self.length as f64);
        }
        Ok(())
    }
}

/// Zeros this much by the cheapest way that the device has: giving it back, having the device zero it, or writing zeros.
///
/// On block devices both ways of `fallocate` are kept only by what then reads as zeros (`blkdev_fallocate` of Linux since 4.9).
fn zero(file: &File, at: u64, length: u64) -> io::Result<()> {
    let keep = FallocateFlags::KEEP_SIZE;
    for way in [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE] {
        if fallocate(file, keep | way, at, length).is_ok() {
            return Ok(());
        }
    }
    let zeros = vec![0; 1 << 20];
    let end = at + length;
    let mut at = at;
    while at < end {
        let piece = usize::try_from(end - at).map_or(zeros.len(), |left| left.min(zeros.len()));
        file.write_all_at(zeros.get(..piece).unwrap_or_default(), at)?;
        at += piece as u64;
    }
    Ok(())
}
