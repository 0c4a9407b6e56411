//! What a qcow2 header says of a disk.

use std::io::{Read, Seek};

use strongroom_endpoint_selector::{DiskLocation, EndpointError};
use strongroom_image::{CostLimit, Encryption, Qcow2Header};
use strongroom_types::{EncryptionFormat, PayloadOffset};

use super::{Guest, HeaderFacts, Wrong};

/// Reads the header. It may name a base, and nothing else outside its file.
pub(super) fn header(
    wrong: &Wrong<'_>,
    file: &mut (impl Read + Seek),
    said: Option<EncryptionFormat>,
) -> Result<HeaderFacts, EndpointError> {
    let header = Qcow2Header::read(file).map_err(|e| wrong.header(e))?;
    if header.data_file.is_some() {
        return Err(wrong.says("keeps its data in another file"));
    }
    if header.features.corrupt {
        return Err(wrong.says("is marked as corrupt; `qemu-img check` says what is wrong with it"));
    }
    match (header.encryption, said) {
        (Encryption::None, None) | (Encryption::Luks, Some(_)) => {}
        (Encryption::None, Some(_)) => return Err(wrong.says("is plain")),
        (Encryption::Luks, None) => return Err(wrong.says("has LUKS1 inside")),
        _ => return Err(wrong.says("is encrypted by the old method of qcow2")),
    }
    header
        .check_cost(&CostLimit::default())
        .map_err(|e| wrong.header(e))?;
    Ok(HeaderFacts {
        guest: Guest::Exactly(header.size),
        payload_offset: PayloadOffset::NONE,
        cipher: header
            .luks
            .map(|luks| wrong.sound(luks.header.cipher_spec()))
            .transpose()?,
        backing: header.backing,
    })
}

/// How many snapshots there are inside, whoever took them.
pub(crate) fn snapshots(operation: &'static str, location: &DiskLocation) -> Result<u32, EndpointError> {
    whole(operation, location).map(|header| header.snapshots)
}

/// How many bytes a cluster has.
pub(crate) fn cluster_size(operation: &'static str, location: &DiskLocation) -> Result<u64, EndpointError> {
    whole(operation, location).map(|header| header.cluster_size)
}

fn whole(operation: &'static str, location: &DiskLocation) -> Result<Qcow2Header, EndpointError> {
    let mut file = super::bounded(operation, location)?;
    Qcow2Header::read(&mut file).map_err(|e| super::unreadable(operation, location.path(), e))
}
