//! The key of a volume, unsealed for the length of one piece of work.

use strongroom_endpoint_selector::Protection;
use strongroom_passphrase_store::{Keyring, Purpose, SealedRecord};
use strongroom_secret::Passphrase;
use strongroom_storage_pool::VolumeKey;
use strongroom_types::{EncryptionFormat, VolumeId};

use crate::row::RowName;
use crate::{ControlPlane, ControlPlaneError, VolumeRecord};

/// On which side of the cipher a volume is, with its key. Every request to a driver or host is made from this, and this is
/// made from the volume's record only: there is no way from a missing key to "plain".
#[derive(Debug)]
pub(crate) enum Key {
    Plain,
    Luks {
        format: EncryptionFormat,
        passphrase: Passphrase,
    },
}

impl Key {
    pub(crate) fn for_driver(&self) -> VolumeKey<'_> {
        match self {
            Self::Plain => VolumeKey::Plain,
            Self::Luks { passphrase, .. } => VolumeKey::Encrypted(passphrase),
        }
    }

    pub(crate) fn for_host(&self) -> Protection<'_> {
        match self {
            Self::Plain => Protection::Plain,
            Self::Luks { format, passphrase } => Protection::Luks {
                format: *format,
                key: passphrase,
            },
        }
    }
}

impl ControlPlane {
    /// Calls `work` with the key of an encrypted volume. The key is wiped when `work` returns; what `work` makes of it is the
    /// caller's responsibility.
    ///
    /// # Errors
    /// [`ControlPlaneError::Unknown`], [`ControlPlaneError::NotEncrypted`], [`ControlPlaneError::Key`] when the key is missing
    /// or does not unseal.
    pub fn with_key<R>(
        &self,
        volume: &VolumeId,
        work: impl FnOnce(&Passphrase) -> R,
    ) -> Result<R, ControlPlaneError> {
        tracing::debug!(%volume, "hand out a key");
        match self.unseal(&self.volume(volume)?)? {
            Key::Luks { passphrase, .. } => Ok(work(&passphrase)),
            Key::Plain => Err(ControlPlaneError::NotEncrypted {
                volume: volume.clone(),
            }),
        }
    }

    /// The key that the record says the volume has.
    pub(crate) fn unseal(&self, record: &VolumeRecord) -> Result<Key, ControlPlaneError> {
        match (record.encryption, &record.passphrase) {
            (None, None) => Ok(Key::Plain),
            (Some(format), Some(id)) => {
                let passphrase = Keyring::new(&self.store, &self.kek)
                    .unseal(id)
                    .map_err(|source| ControlPlaneError::Key {
                        volume: record.id.clone(),
                        source,
                    })?;
                Ok(Key::Luks { format, passphrase })
            }
            _ => {
                let row = RowName {
                    table: "volumes",
                    id: record.id.as_str(),
                };
                Err(row.damaged("it has one of encryption and passphrase without the other"))
            }
        }
    }

    /// Makes a passphrase for a volume and seals it. Nothing is stored yet: the record goes into the same transaction as the
    /// volume, and the key-encryption key works while no transaction is open.
    pub(crate) fn seal_new(&self, volume: &VolumeId) -> Result<SealedRecord, ControlPlaneError> {
        Keyring::new(&self.store, &self.kek)
            .seal_new(volume, Purpose::Volume)
            .map_err(|source| ControlPlaneError::Key {
                volume: volume.clone(),
                source,
            })
    }
}
