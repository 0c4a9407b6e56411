use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};
use strongroom_endpoint_selector::{
    ContentSource, Disk, DiskFacts, DiskLocation, EndpointError, ErrorKind, FormatQcow2, HostAnswer,
    SourceImage,
};
use strongroom_image::Magic;
use strongroom_types::{Call, DiskFormat, EncryptionFormat, SECTOR, VolumeId};

use crate::ephemeral::Ephemeral;
use crate::placing::Place;
use crate::tools::Tools;
use crate::{create, failure, inspect, overlay, reading};

const FORMAT: &str = "FormatQcow2";

/// How the mark of an unfinished disk begins. Behind it come SHA-256 of the volume's id and how many bytes may be written.
const TITLE: &[u8] = b"strongroom: a qcow2 disk is begun here\n";

/// Writes an empty qcow2 disk, on its base if it has one, onto a blank device, or finishes what the same command began.
///
/// The tables are made in memory and copied. In the first sector stands a mark until all the rest is on stable storage, and then the
/// header: whenever the work is stopped, the device either says whose it is to become or has the whole disk.
pub(crate) fn format(tools: &Tools, call: &Call, c: &FormatQcow2<'_>) -> Result<HostAnswer, EndpointError> {
    if let DiskLocation::File(path) = c.location {
        let message = format!(
            "{} is said to be a file, and is made like one; this is for devices",
            path.display()
        );
        return Err(EndpointError::new(ErrorKind::InvalidRequest, FORMAT, message));
    }
    create::largest(FORMAT, DiskFormat::Qcow2, c.guest)?;
    if c.protection.format() == Some(EncryptionFormat::Luks2) {
        let message = "qcow2 has no LUKS2; use luks1";
        return Err(EndpointError::new(ErrorKind::Unsupported, FORMAT, message));
    }
    if let Some(base) = &c.base {
        fits(c, base)?;
    }
    let disk = Disk::new(c.location, DiskFormat::Qcow2, c.protection).on(c.base);
    let mut beginning = reading::bounded(FORMAT, c.location)?;
    let found = Magic::read(&mut beginning).map_err(|e| reading::unreadable(FORMAT, c.location.path(), e))?;
    drop(beginning);
    if found == Magic::Qcow2 {
        return finished(tools, call, c, &disk).map(HostAnswer::Disk);
    }
    let Some(memory) = Ephemeral::new() else {
        let message =
            "there is no file system in memory to make the tables in; mount a tmpfs on /dev/shm or /run";
        return Err(EndpointError::new(ErrorKind::Unsupported, FORMAT, message));
    };
    let shell = memory.path().join("qcow2");
    match &c.base {
        None => tools.create_qcow2(FORMAT, call, &shell, c.guest, c.protection)?,
        Some(base) => {
            let name = overlay::absolute_name(FORMAT, base.path)?;
            tools.create_overlay(FORMAT, call, (&shell, c.guest, c.protection), base, &name)?;
        }
    }
    write(call, c, &shell)?;
    prove(tools, call, c, &disk).map(HostAnswer::Disk)
}

/// Fails when the disk cannot lie on this base.
fn fits(c: &FormatQcow2<'_>, base: &SourceImage<'_>) -> Result<(), EndpointError> {
    reading::absolute(FORMAT, base.path)?;
    let bytes = overlay::admit(FORMAT, base)?;
    if bytes <= c.guest.get() {
        return Ok(());
    }
    let message = format!(
        "{} has {bytes} bytes, the disk that is to lie on it only {}; ask for at least as much",
        base.path.display(),
        c.guest.get()
    );
    Err(EndpointError::new(ErrorKind::InvalidRequest, FORMAT, message))
}

/// Copies the tables to the device.
fn write(call: &Call, c: &FormatQcow2<'_>, shell: &Path) -> Result<(), EndpointError> {
    let io = |e| failure::io(FORMAT, shell, e);
    let tables = File::options().read(true).write(true).open(shell).map_err(io)?;
    let bytes = tables.metadata().map_err(io)?.len().next_multiple_of(SECTOR);
    tables.set_len(bytes).map_err(io)?;
    let mut place = Place::open(FORMAT, c.location)?;
    if bytes > place.length() {
        let message = format!(
            "{} has {} bytes, the tables of this disk alone have {bytes}",
            c.location,
            place.length()
        );
        return Err(EndpointError::new(ErrorKind::InvalidRequest, FORMAT, message));
    }
    let begun = begun(c, &mut place)?;
    place.blank_from(call, begun)?;
    place.put(&mark(c.volume, bytes.max(begun)), 0)?;
    place.sync()?;
    if begun > bytes {
        place.zero(bytes..begun)?;
    }
    place.copy(&tables, SECTOR..bytes)?;
    place.copy(&tables, 0..SECTOR)
}

/// The first sector of a device on which a disk is begun, of which this much may be written already.
fn mark(volume: &VolumeId, bytes: u64) -> Vec<u8> {
    let whose = Sha256::digest(volume.as_str());
    let mut sector = TITLE.to_vec();
    sector.extend_from_slice(&whose);
    sector.extend(bytes.to_be_bytes());
    sector.resize(usize::try_from(SECTOR).unwrap_or(512), 0);
    sector
}

/// How much of the device an earlier attempt for this volume may have written; nothing of one that is not marked.
fn begun(c: &FormatQcow2<'_>, place: &mut Place<'_>) -> Result<u64, EndpointError> {
    let io = |e| failure::io(FORMAT, c.location.path(), e);
    let length = place.length();
    let disk = place.disk();
    let mut sector = Vec::new();
    disk.seek(SeekFrom::Start(0)).map_err(io)?;
    disk.take(SECTOR).read_to_end(&mut sector).map_err(io)?;
    let at = TITLE.len() + Sha256::output_size();
    let bytes = sector
        .get(at..at + 8)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_be_bytes)
        .filter(|bytes| mark(c.volume, *bytes) == sector);
    Ok(bytes.unwrap_or(0).min(length))
}

/// The disk that is there already, if it is what was asked for and nobody has used it.
fn finished(
    tools: &Tools,
    call: &Call,
    c: &FormatQcow2<'_>,
    disk: &Disk<'_>,
) -> Result<DiskFacts, EndpointError> {
    let facts = prove(tools, call, c, disk).map_err(|e| match e.kind() {
        ErrorKind::WrongKey | ErrorKind::WrongDisk => {
            let message = format!(
                "{} has a qcow2 disk that is not the one of this command; it stays as it is",
                c.location
            );
            EndpointError::new(ErrorKind::AlreadyExists, FORMAT, message).with_source(e)
        }
        _ => e,
    })?;
    unused(tools, call, disk, &facts)?;
    reading::open(FORMAT, c.location)?
        .sync_all()
        .map_err(|e| failure::io(FORMAT, c.location.path(), e))?;
    Ok(facts)
}

/// Fails of a disk that has content, also in a snapshot: a header does not say whose it is.
fn unused(tools: &Tools, call: &Call, disk: &Disk<'_>, facts: &DiskFacts) -> Result<(), EndpointError> {
    let used = |what: &str| {
        let message = format!(
            "{} has a qcow2 disk {what}, maybe another volume's; it stays as it is",
            disk.location
        );
        Err(EndpointError::new(ErrorKind::AlreadyExists, FORMAT, message))
    };
    if reading::snapshots(FORMAT, disk.location)? > 0 {
        return used("with snapshots inside");
    }
    let whole = 0..facts.guest.get();
    match tools.map(FORMAT, call, &ContentSource::Disk(*disk), &whole)? {
        Some(parts) if parts.iter().all(|part| part.zero || part.depth > 0) => Ok(()),
        _ => used("to which something was written"),
    }
}

fn prove(
    tools: &Tools,
    call: &Call,
    c: &FormatQcow2<'_>,
    disk: &Disk<'_>,
) -> Result<DiskFacts, EndpointError> {
    let facts = inspect::prove(tools, call, FORMAT, disk)?;
    if facts.guest != c.guest {
        let message = format!(
            "{} has a disk of {} bytes, not of {}",
            c.location,
            facts.guest.get(),
            c.guest.get()
        );
        return Err(EndpointError::new(ErrorKind::WrongDisk, FORMAT, message));
    }
    tools.check_metadata(FORMAT, call, disk)?;
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_volume_and_fills_a_sector() {
        let of = |id: &str, bytes| mark(&id.parse().unwrap(), bytes);
        assert_eq!(of("v", 1).len() as u64, SECTOR);
        assert_ne!(of("v", 1), of("w", 1));
        assert_ne!(of("v", 1), of("v", 2));
    }
}
