use std::path::{Path, PathBuf};
use std::time::SystemTime;

use strongroom_endpoint_selector::{
    CreateDisk, Declassification, DeleteDisk, Disk, DiskContent, DiskLocation, Endpoint, ErrorKind,
    InspectDisk, Need, Protection, SweepStaging,
};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, DiskFormat, EncryptionFormat, HostId, JobId, VolumeId};

use crate::content::absolute;
use crate::digest::{digest_of, same};
use crate::host_work::{OnHost, capability, run};
use crate::job::{Job, Work};
use crate::journal::closing_call;
use crate::key::Key;
use crate::{ControlPlane, ControlPlaneError, VolumeRecord, export_table};

/// On which side of the cipher an exported copy is. There is no default.
#[derive(Debug, Clone, Copy)]
pub enum ExportAs<'a> {
    /// Encrypted as LUKS1 under this passphrase, which is the caller's and is not kept.
    Sealed(&'a Passphrase),
    /// Plain, of a plain volume.
    Plain,
    /// The content of an encrypted volume in clear, for this reason, which is recorded for good.
    Declassified(&'a str),
}

/// A copy of a volume that is to be written into an image file.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NewExport<'a> {
    /// The volume. It is not changed.
    pub volume: VolumeId,
    /// The absolute path of the new file, on the host that does the work.
    pub path: PathBuf,
    /// How the image is to lie there.
    pub format: DiskFormat,
    /// On which side of the cipher.
    pub protection: ExportAs<'a>,
    /// Read both once more and compare their digests.
    pub check_digest: bool,
}

impl<'a> NewExport<'a> {
    /// A copy that is not compared once more.
    #[must_use]
    pub fn new(
        volume: VolumeId,
        path: impl Into<PathBuf>,
        format: DiskFormat,
        protection: ExportAs<'a>,
    ) -> Self {
        Self {
            volume,
            path: path.into(),
            format,
            protection,
            check_digest: false,
        }
    }
}

/// A copy of a volume that was written into a file. What became of the file since is not known here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportRecord {
    /// The volume.
    pub volume: VolumeId,
    /// The volume was deleted since. Another one may have its id.
    pub volume_gone: bool,
    /// The host that has the file.
    pub host: HostId,
    /// The file.
    pub path: PathBuf,
    /// How the image lies there.
    pub format: DiskFormat,
    /// It is encrypted, under a passphrase that is not known here.
    pub encrypted: bool,
    /// Why the content of an encrypted volume lies there in clear; `None` when it does not.
    pub declassified: Option<String>,
    /// When it was begun, to the second.
    pub begun: SystemTime,
}

impl ControlPlane {
    /// Copies a volume that nobody writes to into a new image file: encrypted under another passphrase, or plain. The content of an
    /// encrypted volume is written in clear only by explicit declassification with a reason, which is logged and recorded.
    ///
    /// The file appears when it is whole. After an error there is no such file; one that was there before is not touched. A kill leaves
    /// what [`recover`](Self::recover) undoes. The record stays when the volume is deleted: [`delete_volume`](Self::delete_volume)
    /// names the copies, and does not touch them.
    ///
    /// # Errors
    /// [`NotDeclassified`](ControlPlaneError::NotDeclassified), [`NotEncrypted`](ControlPlaneError::NotEncrypted) when a plain volume
    /// was to be declassified, [`Taken`](ControlPlaneError::Taken) when there is such a file,
    /// [`Changed`](ControlPlaneError::Changed), and those of [`verify_volume`](Self::verify_volume).
    pub fn export_volume(&self, call: &Call, new: &NewExport<'_>) -> Result<ExportRecord, ControlPlaneError> {
        absolute(&new.path)?;
        let _claim = self.claim(&new.volume)?;
        let record = self.ready_volume(&new.volume)?;
        let (protection, reason) = admit(&record, new.protection)?;
        let key = self.unseal(&record)?;
        let action = format!("export volume {}", record.id);
        let abilities = [
            capability(record.format, record.encryption),
            capability(new.format, protection.format()),
        ];
        let endpoint = self.host_that([&record.pool], abilities, &action)?;
        self.attached(call, &record, endpoint.as_ref(), |at| {
            let target = DiskLocation::file(&new.path);
            refuse_existing(at.endpoint, call, &target, new.format)?;
            let export = ExportRecord {
                volume: record.id.clone(),
                volume_gone: false,
                host: at.endpoint.host().id,
                path: new.path.clone(),
                format: new.format,
                encrypted: protection.key().is_some(),
                declassified: reason.map(ToOwned::to_owned),
                begun: export_table::now(),
            };
            let number = JobId::random().to_string();
            let work = Work::Export {
                export: number.clone(),
                host: export.host.clone(),
                path: new.path.as_os_str().to_owned(),
            };
            if let Some(reason) = reason {
                tracing::warn!(volume = %record.id, host = %export.host, path = %new.path.display(), reason, "content of an encrypted volume is written in clear");
            }
            let job = self.begin(&record.id, work, |transaction| {
                export_table::insert(transaction, &number, &export)
            })?;
            let made = self.write_export(call, at, &key, new, protection, reason);
            let made = made.and_then(|()| {
                self.end(&job, |transaction| export_table::set_made(transaction, &number))
            });
            match made {
                Ok(()) => Ok(export),
                Err(error) => Err(self.settle_failed(&job, error, |error| {
                    if error.kind() != Some(ErrorKind::AlreadyExists) {
                        delete_file(at.endpoint, &closing_call(), &new.path)?;
                    }
                    self.end(&job, |transaction| export_table::remove(transaction, &number))
                })),
            }
        })
    }

    fn write_export(
        &self,
        call: &Call,
        at: &OnHost<'_>,
        key: &Key,
        new: &NewExport<'_>,
        protection: Protection<'_>,
        reason: Option<&str>,
    ) -> Result<(), ControlPlaneError> {
        let (action, source) = (format!("export volume {}", new.volume), at.disk(key));
        let content = match reason {
            Some(reason) => DiskContent::Declassified(source, Declassification { reason }),
            None => DiskContent::Copy(source),
        };
        let create = CreateDisk::new(&new.path, new.format, at.record.guest, protection, content);
        run(at.endpoint, call, &action, &create.into())?;
        if new.check_digest {
            let location = DiskLocation::file(&new.path);
            let copy = Disk::new(&location, new.format, protection);
            let there = digest_of(at.endpoint, call, &action, source, None)?.to_string();
            let here = digest_of(at.endpoint, call, &action, copy, None)?.to_string();
            same(
                at.record,
                &there,
                &here,
                &format!("the copy {}", new.path.display()),
            )?;
        }
        Ok(())
    }

    /// Every export that was made, the oldest first, those of deleted volumes included.
    ///
    /// # Errors
    /// [`ControlPlaneError::Store`], [`ControlPlaneError::DamagedRow`].
    pub fn exports(&self) -> Result<Vec<ExportRecord>, ControlPlaneError> {
        self.read("list exports", export_table::list)
    }

    /// Undoes an export that was not finished.
    pub(crate) fn undo_export(
        &self,
        call: &Call,
        job: &Job,
        number: &str,
        host: &HostId,
        path: &Path,
    ) -> Result<(), ControlPlaneError> {
        let endpoint = self.select(&Need::any().on(host.clone()), "remove an unfinished export")?;
        delete_file(endpoint.as_ref(), call, path)?;
        if let Some(directory) = path.parent() {
            let action = format!("remove unfinished exports in {}", directory.display());
            match run(
                endpoint.as_ref(),
                call,
                &action,
                &SweepStaging::new(directory).into(),
            ) {
                Err(error) if error.kind() == Some(ErrorKind::NotFound) => {}
                swept => swept.map(drop)?,
            }
        }
        self.end(job, |transaction| export_table::remove(transaction, number))
    }
}

/// What the copy is protected by, and the reason for which it is not.
fn admit<'a>(
    record: &VolumeRecord,
    protection: ExportAs<'a>,
) -> Result<(Protection<'a>, Option<&'a str>), ControlPlaneError> {
    match (protection, record.encryption) {
        (ExportAs::Sealed(key), _) => Ok((
            Protection::Luks {
                format: EncryptionFormat::Luks1,
                key,
            },
            None,
        )),
        (ExportAs::Plain, None) => Ok((Protection::Plain, None)),
        (ExportAs::Declassified(reason), Some(_)) if !reason.trim().is_empty() => {
            Ok((Protection::Plain, Some(reason)))
        }
        (ExportAs::Declassified(_), None) => Err(ControlPlaneError::NotEncrypted {
            volume: record.id.clone(),
        }),
        (ExportAs::Plain | ExportAs::Declassified(_), Some(_)) => Err(ControlPlaneError::NotDeclassified {
            volume: record.id.clone(),
        }),
    }
}

/// A file that is there before the job is written down is not ours, and undoing the job must not remove it.
fn refuse_existing(
    endpoint: &dyn Endpoint,
    call: &Call,
    target: &DiskLocation,
    format: DiskFormat,
) -> Result<(), ControlPlaneError> {
    let look = InspectDisk::new(target, format, None);
    match run(endpoint, call, "look for an earlier export", &look.into()) {
        Err(error) if error.kind() == Some(ErrorKind::NotFound) => Ok(()),
        Err(error)
            if !matches!(
                error.kind(),
                Some(ErrorKind::WrongDisk | ErrorKind::UntrustedImage)
            ) =>
        {
            Err(error)
        }
        Ok(_) | Err(_) => Err(ControlPlaneError::Taken {
            what: "file",
            id: format!("{} on host {}", target, endpoint.host().id),
        }),
    }
}

/// Removes the file; one that is not there is fine.
fn delete_file(endpoint: &dyn Endpoint, call: &Call, path: &Path) -> Result<(), ControlPlaneError> {
    let action = format!("remove the unfinished export {}", path.display());
    run(endpoint, call, &action, &DeleteDisk::new(path).into()).map(drop)
}
