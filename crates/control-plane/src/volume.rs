use std::fmt;

use strongroom_storage_pool::Volume;
use strongroom_types::{
    DeviceSize, DiskFormat, EncryptionFormat, GuestSize, OfferingId, PassphraseId, PoolId, TemplateId,
    VolumeId,
};

use crate::{ControlPlane, ControlPlaneError, JobKind, volume_table};

/// What a volume is doing. It follows from the volume's job: a volume without one is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VolumeState {
    /// It is what its record says.
    Ready,
    /// A job works on it, or worked on it when the process died.
    Working(JobKind),
    /// A job neither ended nor could be undone. The next [`recover`](ControlPlane::recover) tries again.
    Failed(JobKind),
}

impl fmt::Display for VolumeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ready => "ready",
            Self::Working(job) => job.participle(),
            Self::Failed(_) => "error",
        })
    }
}

/// A volume as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VolumeRecord {
    /// Its id.
    pub id: VolumeId,
    /// The offering that it was made from.
    pub offering: OfferingId,
    /// The pool that it lies in.
    pub pool: PoolId,
    /// The name that its disk has in the pool: the volume's id at first, another one after the disk was replaced.
    pub disk: VolumeId,
    /// What it is doing.
    pub state: VolumeState,
    /// What its guest sees.
    pub guest: GuestSize,
    /// What the storage provides; `None` until the volume is made.
    pub device: Option<DeviceSize>,
    /// How its sectors lie.
    pub format: DiskFormat,
    /// Which LUKS it is encrypted with; `None` for a plain volume. On which side of the cipher it is was decided at allocation, from
    /// the offering, and never changes.
    pub encryption: Option<EncryptionFormat>,
    /// Names the passphrase that opens it; `None` exactly when [`encryption`](Self::encryption) is.
    pub passphrase: Option<PassphraseId>,
    /// The template that it reads from where nothing was written, whose content lies in clear in the pool; `None` when it stands
    /// alone.
    pub template: Option<TemplateId>,
    /// The volumes, deleted ones among them, with which it shares passphrase and volume key, because a clone was asked to. Whoever
    /// has an old header of one of them opens it.
    pub shares_key_with: Vec<VolumeId>,
    /// The volume whose next or former disk this is, while that volume's disk is replaced; `None` for a volume proper. What is here
    /// beyond the length of such work is what could not be removed yet, and may be deleted.
    pub disk_of: Option<VolumeId>,
}

/// The error for a volume that is not there.
pub(crate) fn unknown(id: &VolumeId) -> ControlPlaneError {
    ControlPlaneError::Unknown {
        what: "volume",
        id: id.to_string(),
    }
}

impl ControlPlane {
    /// Every volume, by id.
    ///
    /// # Errors
    /// [`ControlPlaneError::Store`], [`ControlPlaneError::DamagedRow`].
    pub fn volumes(&self) -> Result<Vec<VolumeRecord>, ControlPlaneError> {
        self.read("list volumes", volume_table::list)
    }

    /// One volume.
    ///
    /// # Errors
    /// [`ControlPlaneError::Unknown`], [`ControlPlaneError::Store`], [`ControlPlaneError::DamagedRow`].
    pub fn volume(&self, id: &VolumeId) -> Result<VolumeRecord, ControlPlaneError> {
        self.read("read a volume", |connection| {
            volume_table::get(connection, id)?.ok_or_else(|| unknown(id).into())
        })
    }

    /// One volume that no job has.
    pub(crate) fn ready_volume(&self, id: &VolumeId) -> Result<VolumeRecord, ControlPlaneError> {
        let record = self.volume(id)?;
        match record.state {
            VolumeState::Ready => Ok(record),
            VolumeState::Working(_) | VolumeState::Failed(_) => Err(self.unfinished(id)),
        }
    }
}

/// Whether a volume as the pool sees it is what the record says, with this guest size.
pub(crate) fn agrees(
    record: &VolumeRecord,
    seen: &Volume,
    guest: GuestSize,
) -> Result<(), ControlPlaneError> {
    let said =
        |encryption: Option<EncryptionFormat>| encryption.map_or("no encryption", EncryptionFormat::as_str);
    let mut problems = Vec::new();
    if seen.id != record.disk {
        problems.push(format!("the pool speaks of volume {}", seen.id));
    }
    if seen.format != record.format {
        problems.push(format!("it is {}, not {}", seen.format, record.format));
    }
    if seen.encryption != record.encryption {
        problems.push(format!(
            "it has {}, not {}",
            said(seen.encryption),
            said(record.encryption)
        ));
    }
    if seen.overlay_of != record.template {
        let on = |template: &Option<TemplateId>| match template {
            Some(id) => format!("lies on template {id}"),
            None => "stands alone".to_owned(),
        };
        problems.push(format!(
            "it {}, and the record says that it {}",
            on(&seen.overlay_of),
            on(&record.template)
        ));
    }
    if seen.guest != guest {
        problems.push(format!(
            "its guest sees {} bytes, not {}",
            seen.guest.get(),
            guest.get()
        ));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(ControlPlaneError::Mismatch {
        volume: record.id.clone(),
        problem: problems.join(", "),
    })
}
