//! The header backups of a volume that is deleted.

use strongroom_endpoint_selector::{DiskLocation, Endpoint, EraseKeyslots, ErrorKind, InspectDisk, Need};
use strongroom_types::{Call, DiskFormat, EncryptionFormat};

use crate::header_backup::{delete_file, remove};
use crate::host_work::run;
use crate::job::Job;
use crate::{ControlPlane, ControlPlaneError, HeaderBackupRecord, VolumeRecord, job_table};

/// What is in the place of a header backup.
enum Found {
    /// Nothing.
    Nothing,
    /// A disk with its payload, such as another volume's.
    WholeDisk,
    /// Something else. Erasing its keyslots is refused when it is no LUKS header.
    NoDisk,
}

/// Looks for a disk with either LUKS: what is in the file's place may be of any volume.
fn look(endpoint: &dyn Endpoint, call: &Call, location: &DiskLocation) -> Result<Found, ControlPlaneError> {
    for luks in [EncryptionFormat::Luks1, EncryptionFormat::Luks2] {
        let look = InspectDisk::new(location, DiskFormat::Raw, Some(luks));
        match run(endpoint, call, "look at a header backup", &look.into()) {
            Ok(_) => return Ok(Found::WholeDisk),
            Err(error) if error.kind() == Some(ErrorKind::NotFound) => return Ok(Found::Nothing),
            // A header alone is no disk: nothing is left for a payload.
            Err(error) if error.kind() == Some(ErrorKind::WrongDisk) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Found::NoDisk)
}

/// The line for a backup of which the keyslots are gone. In the record of the job it also says that the file was there.
fn overwritten(backup: &HeaderBackupRecord) -> String {
    format!("keyslots in header backup {} overwritten", backup.path.display())
}

impl ControlPlane {
    /// Destroys every header backup of a volume and forgets it. A file that is none stays, and is noted as left. Running it again
    /// finishes it.
    pub(crate) fn destroy_backups(
        &self,
        call: &Call,
        record: &VolumeRecord,
        job: &mut Job,
    ) -> Result<(), ControlPlaneError> {
        for backup in self.header_backups(&record.id)? {
            let endpoint = self.select(&Need::any().on(backup.host.clone()), "destroy a header backup")?;
            self.destroy_backup(call, endpoint.as_ref(), &backup, job)?;
            self.transact("forget a header backup", |transaction| {
                job_table::set_step(transaction, job)?;
                remove(transaction, record, &backup)
            })?;
        }
        Ok(())
    }

    fn destroy_backup(
        &self,
        call: &Call,
        endpoint: &dyn Endpoint,
        backup: &HeaderBackupRecord,
        job: &mut Job,
    ) -> Result<(), ControlPlaneError> {
        let shown = backup.path.display();
        let location = DiskLocation::File(backup.path.clone());
        match look(endpoint, call, &location)? {
            // Removed by an attempt that did not get to say so.
            Found::Nothing if job.erasure.destroyed.contains(&overwritten(backup)) => {}
            Found::Nothing => {
                job.erasure.note_left(format!(
                    "header backup {shown} was not there, so its keyslots were not overwritten"
                ));
                return Ok(());
            }
            Found::WholeDisk => {
                job.erasure.note_left(format!(
                    "{shown} is not the header backup that was made there but a whole disk, and stays as it is"
                ));
                return Ok(());
            }
            Found::NoDisk => {
                let erase = EraseKeyslots::new(&location, DiskFormat::Raw);
                match run(
                    endpoint,
                    call,
                    "erase the keyslots of a header backup",
                    &erase.into(),
                ) {
                    Ok(_) => {}
                    Err(error) if stays(&error) => {
                        job.erasure.note_left(format!(
                            "{shown} is no header backup whose keyslots could be overwritten, and stays as it is: {}",
                            error.chain()
                        ));
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                }
                job.erasure.note_destroyed(overwritten(backup));
                self.advance(job, job.step)?;
                delete_file(endpoint, call, backup)?;
            }
        }
        job.erasure
            .note_destroyed(format!("header backup {shown} removed"));
        Ok(())
    }
}

/// Whether what is there is no LUKS header, or the host cannot overwrite such a header.
fn stays(error: &ControlPlaneError) -> bool {
    matches!(error.kind(), Some(ErrorKind::WrongDisk | ErrorKind::Unsupported))
}
