use strongroom_endpoint_selector::{
    CompareContent, ContentSource, Disk, EndpointError, HostAnswer, ReplaceContent, Sameness,
};
use strongroom_types::Call;

use crate::copy::portion;
use crate::pieces::Written;
use crate::source::{self, Source, is_raw_luks};
use crate::tools::{Tools, disk_of};
use crate::{copy, digest, inspect};

/// Overwrites a disk with the content of an image or another disk.
pub(crate) fn replace(
    tools: &Tools,
    call: &Call,
    c: &ReplaceContent<'_>,
) -> Result<HostAnswer, EndpointError> {
    const REPLACE: &str = "ReplaceContent";
    c.source.admit(REPLACE, c.disk.protection)?;
    let source = Source::admit(tools, call, REPLACE, c.source)?;
    let facts = inspect::prove(tools, call, REPLACE, &c.disk)?;
    source::openable(REPLACE, &c.disk)?;
    source.fits(REPLACE, facts.guest)?;
    source::not_itself(REPLACE, &source, &c.disk)?;
    source.log_declassification(c.disk.location.path());
    copy::copy(tools, call, REPLACE, &source, &c.disk, false)?;
    inspect::prove(tools, call, REPLACE, &c.disk).map(HostAnswer::Disk)
}

/// Compares a disk with an image or another disk; what the disk has beyond it must read as zeros.
pub(crate) fn compare(
    tools: &Tools,
    call: &Call,
    c: &CompareContent<'_>,
) -> Result<HostAnswer, EndpointError> {
    const COMPARE: &str = "CompareContent";
    let with = Source::admit(tools, call, COMPARE, c.with)?;
    let disk = Source::admit(tools, call, COMPARE, ContentSource::Disk(c.disk))?;
    with.fits(COMPARE, disk.size)?;
    let noise = [disk_of(&with.content), Some(&c.disk)]
        .into_iter()
        .flatten()
        .any(is_raw_luks);
    let same = if noise && disk_of(&with.content).is_some() {
        same_written(tools, call, COMPARE, &c.disk, &disk, &with)?
    } else {
        tools.compare(COMPARE, call, &c.disk, &with.content)?
    };
    with.unchanged(COMPARE)?;
    disk.unchanged(COMPARE)?;
    Ok(HostAnswer::Compared(if same {
        Sameness::Identical
    } else {
        Sameness::Different
    }))
}

/// Compares two disks of which one at least is raw LUKS: what it never got is noise, and another noise on each disk, so it counts as
/// zeros. Beyond the end of the other, the disk must have got zeros.
fn same_written(
    tools: &Tools,
    call: &Call,
    operation: &'static str,
    of: &Disk<'_>,
    disk: &Source<'_>,
    with: &Source<'_>,
) -> Result<bool, EndpointError> {
    let tail = with.size.get()..disk.size.get();
    if is_raw_luks(of)
        && let Some(written) = Written::open(operation, of.location, disk.payload_offset, tail.end)?
        && !written.covers(&tail)?
    {
        return Ok(false);
    }
    let size = disk.size;
    let theirs = digest::of(
        tools,
        &portion(call, &(0..1), 2),
        operation,
        with,
        with.size,
        size,
    )?;
    let ours = digest::of(tools, &portion(call, &(1..2), 2), operation, disk, size, size)?;
    Ok(theirs == ours)
}
