//! What a seal is bound to, as bytes. The encoding is written down in `docs/sealed-records.md`.

use strongroom_types::{PassphraseId, VolumeId};

use crate::{KekId, Purpose};

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

/// The additional data of the record of this id.
///
/// Who opens a record passes the id that was asked for, not the one that the store says: a store that answers with another
/// record is found out.
pub(crate) fn of(
    id: &PassphraseId,
    tenant: &str,
    volume: &VolumeId,
    purpose: Purpose,
    kek: &KekId,
    version: u32,
) -> Vec<u8> {
    encode(&[
        SCHEMA,
        tenant,
        volume.as_str(),
        id.as_str(),
        purpose.as_str(),
        kek.as_str(),
        &version.to_string(),
    ])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn other_fields_have_other_bytes(
            one in prop::collection::vec("[ab]{0,3}", 2..4),
            other in prop::collection::vec("[ab]{0,3}", 2..4),
        ) {
            let bytes = |fields: &[String]| encode(&fields.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(one == other, bytes(&one) == bytes(&other));
        }
    }
}
