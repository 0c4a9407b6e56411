use std::fs::File;

use strongroom_cryptsetup::Uuid;
use strongroom_endpoint_selector::{
    BlockDevice, Disk, DiskLocation, EndpointError, ErrorKind, FormatDevice, HostAnswer, Protection,
};
use strongroom_types::{
    Call, DeviceSize, DiskFormat, EncryptionFormat, Geometry, PayloadOffset, SECTOR, VolumeId,
};

use crate::ephemeral::Ephemeral;
use crate::placing::Place;
use crate::tools::{NewHeader, Tools};
use crate::unfinished::{self, Beginning};
use crate::{device, failure, inspect, reading};

const FORMAT: &str = "FormatDevice";

/// Where cryptsetup puts the first key material, in bytes: behind the header, and behind its two copies.
const LUKS1_MATERIAL: u64 = 4096;
const LUKS2_MATERIAL: u64 = 32 << 10;

/// Writes a LUKS header onto a blank device, or finishes what the same command began.
pub(crate) fn format(tools: &Tools, call: &Call, c: &FormatDevice<'_>) -> Result<HostAnswer, EndpointError> {
    let uuid = header_uuid(c.volume);
    let protection = Protection::Luks {
        format: c.format,
        key: c.key,
    };
    let disk = Disk::new(c.location, DiskFormat::Raw, protection);
    let beginning = unfinished::look(FORMAT, c.location, c.format, uuid)?;
    if beginning == Beginning::Finished {
        return finished(tools, call, c, &disk);
    }
    device::unused(FORMAT, c.location)?;
    match c.location {
        DiskLocation::Block(BlockDevice { used: Some(used), .. }) => {
            place_header(tools, call, c, uuid, *used)?;
        }
        _ => {
            let header = match beginning {
                Beginning::Unfinished => NewHeader::over_unfinished(uuid),
                _ => NewHeader::on_blank(uuid),
            };
            tools.format_luks(FORMAT, call, c.location, c.format, c.key, header)?;
        }
    }
    inspect::prove(tools, call, FORMAT, &disk).map(HostAnswer::Disk)
}

/// Makes the header in memory and copies it to the beginning of a device.
///
/// `cryptsetup luksFormat` removes every signature that it finds on a device, those at the end too (2.6.1, `--batch-mode`), and there may
/// be somebody's behind the disk. The copy is written in the order of cryptsetup: first the places of the keyslots, from the first to
/// the last, then the header, so that what is left of it when it is stopped is known by the same signs.
fn place_header(
    tools: &Tools,
    call: &Call,
    c: &FormatDevice<'_>,
    uuid: Uuid,
    used: DeviceSize,
) -> Result<(), EndpointError> {
    let (header, material) = match c.format {
        EncryptionFormat::Luks1 => (PayloadOffset::LUKS1_CRYPTSETUP, LUKS1_MATERIAL),
        EncryptionFormat::Luks2 => (PayloadOffset::LUKS2_CRYPTSETUP, LUKS2_MATERIAL),
    };
    Geometry::of_device(used, header)
        .map_err(|e| EndpointError::new(ErrorKind::InvalidRequest, FORMAT, e.to_string()))?;
    let Some(memory) = Ephemeral::new() else {
        let message =
            "there is no file system in memory to make the header in; mount a tmpfs on /dev/shm or /run";
        return Err(EndpointError::new(ErrorKind::Unsupported, FORMAT, message));
    };
    let path = memory.path().join("header");
    let io = |e| failure::io(FORMAT, &path, e);
    let made = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(io)?;
    // The payload is one sector that nobody uses: a volume without one is refused.
    made.set_len(header.get() + SECTOR).map_err(io)?;
    let location = DiskLocation::file(&path);
    tools.format_luks(
        FORMAT,
        call,
        &location,
        c.format,
        c.key,
        NewHeader::on_blank(uuid),
    )?;

    let mut place = Place::open(FORMAT, c.location)?;
    let blank_from = match unfinished::look_at(FORMAT, c.location, place.disk(), c.format, uuid)? {
        Beginning::Unfinished => header.get(),
        _ => 0,
    };
    place.blank_from(call, blank_from)?;
    place.copy(&made, material..header.get())?;
    place.copy(&made, 0..material)
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
