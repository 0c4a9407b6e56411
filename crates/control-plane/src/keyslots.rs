//! The keyslots of a volume that is deleted: overwritten when the disk is proved to be the volume's.

use strongroom_endpoint_selector::{EraseKeyslots, ErrorKind};
use strongroom_passphrase_store::{KekError, KeyringError, StoreError};
use strongroom_storage_pool::PoolDriver;
use strongroom_types::Call;

use crate::host_work::run;
use crate::job::{Job, Step};
use crate::verify::verify_disk;
use crate::{ControlPlane, ControlPlaneError, VolumeRecord, pool};

/// Whether the key will not be had later either. A key-encryption key that does not answer is waited for, as a host is.
fn is_lost(error: &ControlPlaneError) -> bool {
    match error {
        ControlPlaneError::Key { source, .. } => match source {
            KeyringError::Store(store) => {
                matches!(store, StoreError::NotFound { .. } | StoreError::DamagedRow { .. })
            }
            KeyringError::Kek { source, .. } => !matches!(source, KekError::Unavailable { .. }),
            _ => true,
        },
        _ => false,
    }
}

/// Whether the disk is not the volume's, or nobody could overwrite anything on it: the delete goes on without.
fn is_not_to_be_erased(error: &ControlPlaneError) -> bool {
    matches!(error, ControlPlaneError::Mismatch { .. })
        || matches!(
            error.kind(),
            Some(ErrorKind::WrongKey | ErrorKind::WrongDisk | ErrorKind::Unsupported)
        )
}

/// Whether it is the pool that refuses. It may do so because of the disk, or because it is not itself there.
fn is_of_the_pool(error: &ControlPlaneError) -> bool {
    matches!(error, ControlPlaneError::Pool { .. })
}

impl ControlPlane {
    /// Overwrites the keyslots of the disk, after a host has opened it with the stored key, and notes in the job what was
    /// destroyed or left. The proof is recorded: half-erased keyslots prove nothing any more, and are erased again without it.
    pub(crate) fn erase_keyslots(
        &self,
        call: &Call,
        driver: &dyn PoolDriver,
        record: &VolumeRecord,
        job: &mut Job,
    ) -> Result<(), ControlPlaneError> {
        if record.encryption.is_none() {
            return Ok(());
        }
        let mut keyslots = format!("the keyslots of volume {}", record.id);
        let key = if job.step < Step::Proved {
            match self.unseal(record) {
                Ok(key) => Some(key),
                Err(error) if is_lost(&error) => {
                    job.erasure
                        .note_left(format!("{keyslots} were not overwritten: {}", error.chain()));
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        } else {
            None
        };
        let action = format!("erase the keyslots of volume {}", record.id);
        let erased = self.on_host(call, record, &action, |at| {
            keyslots = format!("the keyslots on {}", at.location);
            if let Some(key) = &key {
                verify_disk(call, at, key, &format!("prove the disk of volume {}", record.id))?;
                self.advance(job, Step::Proved)?;
            }
            let command = EraseKeyslots::new(at.location, record.format);
            run(at.endpoint, call, &action, &command.into()).map(drop)
        });
        match erased {
            Ok(()) => job.erasure.note_destroyed("keyslots overwritten"),
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => {
                // A volume that was never made has no disk that could be elsewhere.
                if record.device.is_some() {
                    job.erasure
                        .note_left("the disk was not there, so its keyslots were not overwritten");
                }
            }
            Err(error) if is_not_to_be_erased(&error) => {
                if is_of_the_pool(&error) {
                    let action = "say how full it is, before one of its volumes is given up".to_owned();
                    driver
                        .usage(&self.context(call))
                        .map_err(pool::failed(&record.pool, action))?;
                }
                job.erasure.stranger = error.kind() == Some(ErrorKind::WrongKey);
                job.erasure
                    .note_left(format!("{keyslots} were not overwritten: {}", error.chain()));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
