//! What a seal is bound to, as bytes. The encoding is written down in `docs/sealed-records.md`.

use strongroom_types::{PassphraseId, VolumeId};

use crate::{KeyEncryptionKey, Purpose, SealedRecord};

/// The version of this encoding.
const SCHEMA: &str = "strongroom sealed passphrase 1";

/// Each field behind its length, so that no two sets of fields have the same bytes.
fn encode(fields: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in fields {
        bytes.extend((field.len() as u64).to_be_bytes());
        bytes.extend_from_slice(field.as_bytes());
    }
    bytes
}

/// For a record that is about to be sealed.
pub(crate) fn of(
    id: &PassphraseId,
    tenant: &str,
    volume: &VolumeId,
    purpose: Purpose,
    kek: &dyn KeyEncryptionKey,
) -> Vec<u8> {
    let version = kek.version().to_string();
    encode(&[
        SCHEMA,
        tenant,
        volume.as_str(),
        id.as_str(),
        purpose.as_str(),
        kek.id().as_str(),
        &version,
    ])
}

/// For a record as it was stored.
pub(crate) fn stored(record: &SealedRecord) -> Vec<u8> {
    let version = record.kek_version.to_string();
    let SealedRecord {
        id,
        tenant,
        volume,
        purpose,
        kek,
        ..
    } = record;
    encode(&[
        SCHEMA,
        tenant,
        volume.as_str(),
        id.as_str(),
        purpose.as_str(),
        kek.as_str(),
        &version,
    ])
}
