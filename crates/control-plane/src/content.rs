use std::path::{Path, PathBuf};

use strongroom_endpoint_selector::{CompareContent, HostAnswer, ReplaceContent, Sameness, SourceImage};
use strongroom_types::{Call, DiskFormat, VolumeId};

use crate::host_work::{odd_answer, run};
use crate::job::{Job, Work};
use crate::{ControlPlane, ControlPlaneError, VolumeRecord};

/// An image from outside whose content a new volume is to have. Somebody untrusted may have made it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TemplateImage {
    /// Its absolute path on the host that makes the volume.
    pub path: PathBuf,
    /// Its format. It is said, never probed.
    pub format: DiskFormat,
    /// A raw image that begins as another format does is meant as it is.
    pub opaque: bool,
}

impl TemplateImage {
    /// The image at this path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, format: DiskFormat) -> Self {
        Self {
            path: path.into(),
            format,
            opaque: false,
        }
    }
}

/// Refuses a path that means another place to another process.
pub(crate) fn absolute(path: &Path) -> Result<(), ControlPlaneError> {
    if path.is_absolute() {
        return Ok(());
    }
    Err(ControlPlaneError::RelativePath {
        path: path.to_owned(),
    })
}

impl ControlPlane {
    /// Compares what a guest would read of a volume with a plain image at most as large. What the volume has beyond the image's
    /// end must read as zeros.
    ///
    /// # Errors
    /// [`Unknown`](ControlPlaneError::Unknown), [`Unfinished`](ControlPlaneError::Unfinished),
    /// [`Key`](ControlPlaneError::Key), [`NoHost`](ControlPlaneError::NoHost), [`Host`](ControlPlaneError::Host),
    /// [`Pool`](ControlPlaneError::Pool).
    pub fn compare_content(
        &self,
        call: &Call,
        id: &VolumeId,
        with: &SourceImage<'_>,
    ) -> Result<Sameness, ControlPlaneError> {
        absolute(with.path)?;
        let _claim = self.claim(id)?;
        let record = self.ready_volume(id)?;
        let key = self.unseal(&record)?;
        let action = format!("compare volume {id} with an image");
        self.on_host(call, &record, &action, |at| {
            match run(
                at.endpoint,
                call,
                &action,
                &CompareContent::new(at.disk(&key), (*with).into()).into(),
            )? {
                HostAnswer::Compared(sameness) => Ok(sameness),
                _ => Err(odd_answer(at.endpoint, &action)),
            }
        })
    }

    /// Overwrites a volume that nobody has open with a plain image at most as large. Beyond the image's end it keeps what it
    /// had.
    ///
    /// The content is written in place: when it stops in the middle, the volume has some of both, opens with its key, and is in
    /// the state [`Failed`](crate::VolumeState::Failed) until [`recover`](Self::recover) writes the rest, or
    /// [`restore_snapshot`](Self::restore_snapshot) brings an earlier content back.
    ///
    /// # Errors
    /// As for [`compare_content`](Self::compare_content); [`NotUndone`](ControlPlaneError::NotUndone) when it stopped in the
    /// middle.
    pub fn replace_content(
        &self,
        call: &Call,
        id: &VolumeId,
        source: &SourceImage<'_>,
    ) -> Result<(), ControlPlaneError> {
        absolute(source.path)?;
        let _claim = self.claim(id)?;
        let record = self.ready_volume(id)?;
        drop(self.unseal(&record)?);
        let work = Work::ReplaceContent {
            path: source.path.as_os_str().to_owned(),
            format: source.format,
        };
        let job = self.begin(id, work, |_| Ok(()))?;
        self.overwrite(call, &job, &record, source).map_err(|error| {
            self.settle_failed(&job, error, |error| {
                if error.changed_nothing() {
                    return self.end(&job, |_| Ok(()));
                }
                Err(ControlPlaneError::Mismatch {
                    volume: id.clone(),
                    problem: "it has some of the old content and some of the new".to_owned(),
                })
            })
        })
    }

    /// Writes the image over the volume and takes the job out. Running it again finishes it.
    pub(crate) fn overwrite(
        &self,
        call: &Call,
        job: &Job,
        record: &VolumeRecord,
        source: &SourceImage<'_>,
    ) -> Result<(), ControlPlaneError> {
        let key = self.unseal(record)?;
        let action = format!("overwrite volume {} with an image", record.id);
        self.on_host(call, record, &action, |at| {
            run(
                at.endpoint,
                call,
                &action,
                &ReplaceContent::new(at.disk(&key), (*source).into()).into(),
            )
            .map(drop)
        })?;
        self.end(job, |_| Ok(()))
    }
}
