use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use strongroom_endpoint_selector::{ContentSource, Disk, DiskFacts, EndpointError, ErrorKind};
use strongroom_types::{Call, SECTOR};

use crate::copy::portion;
use crate::flatten::FLATTEN;
use crate::pieces::WINDOW;
use crate::source::Source;
use crate::tools::Tools;
use crate::{digest, exclusive, failure, inspect};

/// Parts of the base with less of its zeros in between are copied together: starting a tool takes as long as copying this much.
const NEAR: u64 = 4 << 20;

/// Where the header of a qcow2 disk says where the name of its base is, and how long it is: `docs/interop/qcow2` of QEMU, "Header".
const BASE_AT: u64 = 8;
const BASE_LENGTH: usize = 12;

/// Makes a disk on a device stand alone, where it is: there is no second device on which a new one could be made.
///
/// First all that is read from the base is written into the disk, which still lies on it, and the tool that does this ends. Then
/// twelve bytes of the first sector let go of the base. Before that nothing has changed for the guest, and after it nothing either: a
/// kill in between leaves a disk that lies on its base and needs less of it.
pub(crate) fn flatten(tools: &Tools, call: &Call, disk: &Disk<'_>) -> Result<DiskFacts, EndpointError> {
    let Some(base) = disk.base else {
        return inspect::prove(tools, call, FLATTEN, disk);
    };
    let old = Source::admit(tools, call, FLATTEN, ContentSource::Disk(*disk))?;
    let before = digest::of(
        tools,
        &portion(call, &(0..1), 3),
        FLATTEN,
        &old,
        old.size,
        old.size,
    )?;
    let whole = 0..old.size.get();
    let copying = portion(call, &(1..2), 3);
    for part in from_base(tools, call, &old, &whole)? {
        inspect::go_on(call, FLATTEN)?;
        tools.copy(
            FLATTEN,
            &copying,
            &ContentSource::Image(base),
            disk,
            Some(&part),
            false,
        )?;
    }
    let left = from_base(tools, call, &old, &whole)?;
    if let Some(part) = left.first() {
        let message = format!(
            "{} still reads what is at byte {} from its base; it stays as it is",
            disk.location, part.start
        );
        return Err(EndpointError::new(ErrorKind::Tool, FLATTEN, message));
    }
    old.unchanged(FLATTEN)?;
    let name = let_go(disk, &[0; BASE_LENGTH])?;
    let alone = disk.on(None);
    let same = Source::admit(tools, call, FLATTEN, ContentSource::Disk(alone)).and_then(|new| {
        let call = &portion(call, &(2..3), 3);
        let after = digest::of(tools, call, FLATTEN, &new, new.size, new.size)?;
        Ok((after, new.size) == (before, old.size))
    });
    match same {
        Ok(true) => inspect::prove(tools, call, FLATTEN, &alone),
        Ok(false) => {
            let_go(disk, &name)?;
            let message = format!(
                "{} would read otherwise without its base, on which it stays",
                disk.location
            );
            Err(EndpointError::new(ErrorKind::Tool, FLATTEN, message))
        }
        Err(e) => {
            let_go(disk, &name)?;
            Err(e)
        }
    }
}

/// The parts that a disk reads from its base and that are not zeros.
fn from_base(
    tools: &Tools,
    call: &Call,
    disk: &Source<'_>,
    part: &Range<u64>,
) -> Result<Vec<Range<u64>>, EndpointError> {
    inspect::go_on(call, FLATTEN)?;
    let Some(extents) = tools.map(FLATTEN, call, &disk.content, part)? else {
        let half = ((part.end - part.start) / 2).next_multiple_of(SECTOR);
        if half < WINDOW {
            let message = format!("{} is in too many pieces to be told", disk.path().display());
            return Err(EndpointError::new(ErrorKind::Tool, FLATTEN, message));
        }
        let middle = part.start + half;
        let mut parts = from_base(tools, call, disk, &(part.start..middle))?;
        parts.extend(from_base(tools, call, disk, &(middle..part.end))?);
        return Ok(parts);
    };
    let mut parts: Vec<Range<u64>> = Vec::new();
    // How far from the last part on everything is the base's.
    let mut reaches = 0;
    for extent in extents {
        let start = extent.start.max(part.start);
        let end = (extent.start + extent.length).min(part.end);
        if extent.depth == 0 {
            continue;
        }
        let joins = reaches == start;
        reaches = end;
        if extent.zero {
            if !joins {
                reaches = 0;
            }
            continue;
        }
        match parts.last_mut() {
            Some(last) if joins && start - last.end < NEAR => last.end = end,
            _ => parts.push(start..end),
        }
    }
    Ok(parts)
}

/// Puts these bytes in the place of those by which the header names the base, and gives those. They are in one sector, of which a
/// device has the old or the new.
fn let_go(disk: &Disk<'_>, bytes: &[u8; BASE_LENGTH]) -> Result<[u8; BASE_LENGTH], EndpointError> {
    let io = |e: io::Error| failure::io(FLATTEN, disk.location.path(), e);
    let device = exclusive::open(FLATTEN, disk.location)?;
    let mut before = [0; BASE_LENGTH];
    device.read_exact_at(&mut before, BASE_AT).map_err(io)?;
    // What was copied is on stable storage before the base is not needed any more.
    device.sync_all().map_err(io)?;
    device.write_all_at(bytes, BASE_AT).map_err(io)?;
    device.sync_all().map_err(io)?;
    Ok(before)
}
