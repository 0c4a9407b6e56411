use strongroom_cryptsetup::Uuid;
use strongroom_endpoint_selector::{Disk, EndpointError, ErrorKind, FormatDevice, HostAnswer, Protection};
use strongroom_types::{Call, DiskFormat, VolumeId};

use crate::tools::{NewHeader, Tools};
use crate::unfinished::{self, Beginning};
use crate::{failure, inspect, reading};

const FORMAT: &str = "FormatDevice";

/// Writes a LUKS header onto a blank device, or finishes what the same command began.
pub(crate) fn format(tools: &Tools, call: &Call, c: &FormatDevice<'_>) -> Result<HostAnswer, EndpointError> {
    let uuid = header_uuid(c.volume);
    let protection = Protection::Luks {
        format: c.format,
        key: c.key,
    };
    let disk = Disk::new(c.location, DiskFormat::Raw, protection);
    let header = match unfinished::look(FORMAT, c.location, c.format, uuid)? {
        Beginning::Finished => return finished(tools, call, c, &disk),
        Beginning::Unfinished => NewHeader::over_unfinished(uuid),
        Beginning::Other => NewHeader::on_blank(uuid),
    };
    tools.format_luks(FORMAT, call, c.location, c.format, c.key, header)?;
    inspect::prove(tools, call, FORMAT, &disk).map(HostAnswer::Disk)
}

/// The answer when the header is there already: the disk, if the key opens it.
fn finished(
    tools: &Tools,
    call: &Call,
    c: &FormatDevice<'_>,
    disk: &Disk<'_>,
) -> Result<HostAnswer, EndpointError> {
    let facts = inspect::prove(tools, call, FORMAT, disk).map_err(|e| match e.kind() {
        ErrorKind::WrongKey | ErrorKind::WrongDisk => {
            let message = format!(
                "{} is formatted for volume {} already, and does not open with this key; it stays as it is",
                c.location, c.volume
            );
            EndpointError::new(ErrorKind::AlreadyExists, FORMAT, message).with_source(e)
        }
        _ => e,
    })?;
    // Whoever wrote the header may have been stopped before it had it on stable storage.
    reading::open(FORMAT, c.location)?
        .sync_all()
        .map_err(|e| failure::io(FORMAT, c.location.path(), e))?;
    Ok(HostAnswer::Disk(facts))
}

/// The UUID of the header of a volume: of its own kind (version 8 of RFC 9562), because it comes from SHA-256 of the id. The key
/// has no part in it, so the header says nothing about the key.
fn header_uuid(volume: &VolumeId) -> Uuid {
    use sha2::{Digest, Sha256};
    let digest = Sha256::new()
        .chain_update(b"strongroom LUKS header of volume\0")
        .chain_update(volume.as_str())
        .finalize();
    let mut bytes = [0; 16];
    for (byte, digested) in bytes.iter_mut().zip(digest) {
        *byte = digested;
    }
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = *version & 0x0f | 0x80;
    *variant = *variant & 0x3f | 0x80;
    Uuid::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uuid_of_a_volume_is_always_the_same_and_no_others() {
        let of = |id: &str| header_uuid(&id.parse().unwrap());
        // Changing this would make every unfinished header of an earlier release unknown.
        assert_eq!(of("vol-1").to_string(), "2aa7276b-e8fe-8eac-87c4-5d0482c3d991");
        assert_ne!(of("vol-1"), of("vol-2"));
        assert_eq!(of("vol-1").get_version_num(), 8);
    }
}
