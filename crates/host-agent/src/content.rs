use strongroom_endpoint_selector::{
    CompareContent, ContentSource, Disk, EndpointError, ErrorKind, HostAnswer, ReplaceContent, Sameness,
    SourceImage,
};
use strongroom_types::{Call, EncryptionFormat};

use crate::tools::Tools;
use crate::{inspect, template};

/// Checks that the image fits into the disk and that both can be opened.
fn ready(
    tools: &Tools,
    call: &Call,
    operation: &'static str,
    disk: &Disk<'_>,
    source: &SourceImage<'_>,
) -> Result<(), EndpointError> {
    let size = template::admit(operation, source)?;
    let facts = inspect::prove(tools, call, operation, disk)?;
    if disk.protection.format() == Some(EncryptionFormat::Luks2) {
        let message =
            "QEMU does not open LUKS2, and there is no other way to its content without device-mapper";
        return Err(EndpointError::new(ErrorKind::Unsupported, operation, message));
    }
    if size > facts.guest.get() {
        let message = format!(
            "{} has {size} bytes, {} only {}",
            source.path.display(),
            disk.location,
            facts.guest.get()
        );
        return Err(EndpointError::new(ErrorKind::InvalidRequest, operation, message));
    }
    Ok(())
}

fn image<'a>(operation: &'static str, source: &ContentSource<'a>) -> Result<SourceImage<'a>, EndpointError> {
    match source {
        ContentSource::Image(image) => Ok(*image),
        _ => Err(EndpointError::new(
            ErrorKind::Unsupported,
            operation,
            "content of another disk",
        )),
    }
}

/// Overwrites a disk with an image.
pub(crate) fn replace(
    tools: &Tools,
    call: &Call,
    c: &ReplaceContent<'_>,
) -> Result<HostAnswer, EndpointError> {
    const REPLACE: &str = "ReplaceContent";
    let source = image(REPLACE, &c.source)?;
    ready(tools, call, REPLACE, &c.disk, &source)?;
    tools.copy_into(REPLACE, call, &c.disk, &source, false)?;
    inspect::prove(tools, call, REPLACE, &c.disk).map(HostAnswer::Disk)
}

/// Compares a disk with an image; what the disk has beyond it must read as zeros.
pub(crate) fn compare(
    tools: &Tools,
    call: &Call,
    c: &CompareContent<'_>,
) -> Result<HostAnswer, EndpointError> {
    const COMPARE: &str = "CompareContent";
    let with = image(COMPARE, &c.with)?;
    ready(tools, call, COMPARE, &c.disk, &with)?;
    let same = tools.compare(COMPARE, call, &c.disk, &with)?;
    Ok(HostAnswer::Compared(if same {
        Sameness::Identical
    } else {
        Sameness::Different
    }))
}
