use strongroom_endpoint_selector::{
    Disk, DiskFacts, EndpointError, ErrorKind, HostAnswer, InspectDisk, Protection, Verification, VerifyDisk,
};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, DiskFormat, EncryptionFormat};

use crate::tools::Tools;
use crate::{failure, reading};

/// What a disk is, read from its header; it must be what the command says.
pub(crate) fn inspect(tools: &Tools, call: &Call, c: &InspectDisk<'_>) -> Result<HostAnswer, EndpointError> {
    facts(tools, call, "InspectDisk", c).map(HostAnswer::Disk)
}

/// Reads the header with our own reader and, where QEMU opens the disk, with QEMU's; they must agree.
fn facts(
    tools: &Tools,
    call: &Call,
    operation: &'static str,
    c: &InspectDisk<'_>,
) -> Result<DiskFacts, EndpointError> {
    reading::absolute(operation, c.location.path())?;
    let mut facts = reading::disk(operation, c.location, c.format, c.encryption)?;
    if c.encryption == Some(EncryptionFormat::Luks2) {
        return Ok(facts);
    }
    let seen = tools.info(operation, call, c.location, c.format, c.encryption)?;
    if seen.guest != facts.guest.get() || seen.encrypted != facts.encryption.is_some() {
        let message = format!(
            "two readers disagree on {}: {} and {} bytes, encrypted {} and {}",
            c.location,
            facts.guest.get(),
            seen.guest,
            facts.encryption.is_some(),
            seen.encrypted
        );
        return Err(EndpointError::new(ErrorKind::WrongDisk, operation, message));
    }
    facts.snapshots = seen.snapshots;
    Ok(facts)
}

/// Reads the header and opens the disk with its key.
pub(crate) fn prove(
    tools: &Tools,
    call: &Call,
    operation: &'static str,
    disk: &Disk<'_>,
) -> Result<DiskFacts, EndpointError> {
    let inspect = InspectDisk::new(disk.location, disk.format, disk.protection.format());
    let facts = facts(tools, call, operation, &inspect)?;
    tools.open_with_key(operation, call, disk)?;
    Ok(facts)
}

/// Proves all that can be proved of a disk.
pub(crate) fn verify(tools: &Tools, call: &Call, c: &VerifyDisk<'_>) -> Result<HostAnswer, EndpointError> {
    const VERIFY: &str = "VerifyDisk";
    let facts = prove(tools, call, VERIFY, &c.disk)?;
    let mut checked = Vec::new();
    match c.disk.protection {
        Protection::Plain => checked.push(format!("two readers agree on plain {}", facts.format)),
        Protection::Luks { format, .. } => {
            let readers = if format.opens_in_qemu() {
                "two readers agree"
            } else {
                "the header reads"
            };
            checked.push(format!(
                "{readers} on {format}, {}",
                facts.cipher.as_deref().unwrap_or("unknown cipher")
            ));
            checked.push("the stored key opens it".to_owned());
            refuse_another_key(tools, call, &c.disk, format)?;
            checked.push("another key is refused".to_owned());
        }
    }
    if facts.format == DiskFormat::Qcow2 {
        checked.push(match tools.check_metadata(VERIFY, call, &c.disk)? {
            0 => "the metadata is consistent".to_owned(),
            leaks => format!("the metadata loses nothing, but {leaks} clusters are allocated for nothing"),
        });
    }
    Ok(HostAnswer::Verified(Verification::new(facts, checked)))
}

/// A disk that opens with any key is not encrypted in any sense that matters.
fn refuse_another_key(
    tools: &Tools,
    call: &Call,
    disk: &Disk<'_>,
    format: EncryptionFormat,
) -> Result<(), EndpointError> {
    const VERIFY: &str = "VerifyDisk";
    let other =
        Passphrase::generate().map_err(|e| EndpointError::new(ErrorKind::Io, VERIFY, e.to_string()))?;
    let wrong = Disk::new(
        disk.location,
        disk.format,
        Protection::Luks { format, key: &other },
    )
    .on(disk.base);
    match tools.open_with_key(VERIFY, call, &wrong) {
        Err(e) if e.kind() == ErrorKind::WrongKey => Ok(()),
        Err(e) => Err(e),
        Ok(()) => {
            let message = format!("{} opens with a key that was made up just now", disk.location);
            Err(EndpointError::new(ErrorKind::WrongDisk, VERIFY, message))
        }
    }
}

/// The call's end as an error of this operation.
pub(crate) fn go_on(call: &Call, operation: &'static str) -> Result<(), EndpointError> {
    call.check().map_err(|e| failure::interrupted(operation, e))
}
