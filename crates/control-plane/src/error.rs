use std::path::PathBuf;

use strongroom_endpoint_selector::{EndpointError, NoHost};
use strongroom_passphrase_store::{KeyringError, StoreError};
use strongroom_storage_pool::{ErrorKind, PoolError};
use strongroom_types::{DiskFormat, HostId, Interrupted, PoolId, SnapshotId, TemplateId, VolumeId};

use crate::{JobKind, PoolRefusal, VmError};

/// Why the control plane did not do what it was asked. It never holds a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlPlaneError {
    /// No such thing.
    #[error("there is no {what} {id}")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// The id that was asked for.
        id: String,
    },
    /// The id is taken. What has it stays as it is.
    #[error("{what} {id} is there already; choose another name")]
    Taken {
        /// What kind of thing.
        what: &'static str,
        /// The id that was asked for.
        id: String,
    },
    /// The pool has something of this name that the control plane did not make. It stays as it is.
    #[error(
        "pool {pool} has something named {volume} already, which this database knows nothing of; remove it or choose another name"
    )]
    Foreign {
        /// The pool.
        pool: PoolId,
        /// The name.
        volume: VolumeId,
        /// What the pool says of it, when it is no volume.
        source: Option<PoolError>,
    },
    /// The disk has a snapshot of this name that the control plane did not take. It stays as it is.
    #[error(
        "the disk of volume {volume} has a snapshot {snapshot} already, which this database knows nothing of; choose another name"
    )]
    ForeignSnapshot {
        /// The volume.
        volume: VolumeId,
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// Somebody works on the volume just now.
    #[error("somebody works on volume {volume} just now; wait for it to end")]
    Busy {
        /// The volume.
        volume: VolumeId,
    },
    /// Earlier work on the volume neither ended nor could be undone.
    #[error(
        "volume {volume} has an unfinished job, to {job}{}; it is finished or undone at the next start, or the volume can be deleted",
        .failure.as_ref().map(|f| format!(" ({f})")).unwrap_or_default()
    )]
    Unfinished {
        /// The volume.
        volume: VolumeId,
        /// What was begun.
        job: JobKind,
        /// Why it did not end.
        failure: Option<String>,
    },
    /// A volume was to be made larger, to a size that is smaller.
    #[error(
        "volume {volume} has {now} bytes, and {asked} is less; shrinking it loses what is behind that, and has to be asked for"
    )]
    Smaller {
        /// The volume.
        volume: VolumeId,
        /// What its guest sees, in bytes.
        now: u64,
        /// What was asked for, in bytes.
        asked: u64,
    },
    /// A volume was to be made smaller, to a size that is larger.
    #[error("volume {volume} has {now} bytes, and {asked} is more; grow it instead")]
    Larger {
        /// The volume.
        volume: VolumeId,
        /// What its guest sees, in bytes.
        now: u64,
        /// What was asked for, in bytes.
        asked: u64,
    },
    /// The work would lose the volume's snapshots, or what they need, and nobody said that it may.
    #[error(
        "volume {volume} has {count} snapshots, which cannot be kept when it is to {job}; delete them first{}",
        if *.may_be_lost { ", or say that they may be lost" } else { "" }
    )]
    SnapshotsInTheWay {
        /// The volume.
        volume: VolumeId,
        /// How many.
        count: usize,
        /// What was to be done.
        job: &'static str,
        /// Whether whoever asks may say that they are to be lost.
        may_be_lost: bool,
    },
    /// The volume stands alone: there is nothing to flatten.
    #[error("volume {volume} depends on no template")]
    StandsAlone {
        /// The volume.
        volume: VolumeId,
    },
    /// Volumes read from the template or are being made from it.
    #[error("template {template} is in use by {}; delete or flatten these first", names(.volumes))]
    TemplateInUse {
        /// The template.
        template: TemplateId,
        /// Every one of them.
        volumes: Vec<VolumeId>,
    },
    /// Volumes are of the offering or in the pool.
    #[error("{what} {id} has volumes: {}; delete them first, or move them to another pool", names(.volumes))]
    InUse {
        /// What kind of thing.
        what: &'static str,
        /// Its id.
        id: String,
        /// Every one of them.
        volumes: Vec<VolumeId>,
    },
    /// The image of a template does not hold any more what it did when the template was added.
    #[error(
        "the image {path:?} of template {template} does not hold what was recorded when it was added: {change}; put the \
         recorded content back, or add the image as another template"
    )]
    TemplateChanged {
        /// The template.
        template: TemplateId,
        /// Its image.
        path: PathBuf,
        /// The difference.
        change: String,
    },
    /// Somebody writes to an image while it is read.
    #[error("the image {path:?} {change} while it was read; try again when nobody writes to it")]
    Changing {
        /// The image.
        path: PathBuf,
        /// What happened to it.
        change: String,
    },
    /// A template is larger than whoever adds it allows.
    #[error(
        "the image {path:?} has {size} bytes for its guest, more than the {limit} that a template may have here; reading it from \
         end to end takes as long as that is long, so say a larger limit when it is meant"
    )]
    TooLarge {
        /// The image.
        path: PathBuf,
        /// What its guest would see, in bytes.
        size: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A raw image begins as a file of another format does.
    #[error(
        "the image {path:?} is said to be raw and begins as {claims} does, so its guest would read the {claims} file itself, \
         ciphertext if that is encrypted; say the format that it has, or that its bytes are meant as they are"
    )]
    Claims {
        /// The image.
        path: PathBuf,
        /// The format that its first bytes claim.
        claims: &'static str,
    },
    /// The template's removal has begun.
    #[error("template {template} is being removed; finish that and add it anew")]
    TemplateGoing {
        /// The template.
        template: TemplateId,
    },
    /// The content of a copy is not that of its source as it is known, so that the copy is not used.
    #[error(
        "what volume {volume} would hold is not what {source_name} is known to hold: it changed, or was damaged on the way"
    )]
    Changed {
        /// The volume.
        volume: VolumeId,
        /// The source.
        source_name: String,
    },
    /// The volume lies there already.
    #[error("volume {volume} lies in pool {pool} as {format} already")]
    InPlace {
        /// The volume.
        volume: VolumeId,
        /// The pool.
        pool: PoolId,
        /// The format.
        format: DiskFormat,
    },
    /// An encrypted volume was to be written out in clear, and nobody said why.
    #[error(
        "volume {volume} is encrypted: give a passphrase for the copy, or a reason for writing its content in clear"
    )]
    NotDeclassified {
        /// The volume.
        volume: VolumeId,
    },
    /// A path on a host is not absolute.
    #[error("{path:?} is not an absolute path; a host would not know where to look")]
    RelativePath {
        /// The path.
        path: PathBuf,
    },
    /// No pool will do, and why each will not.
    #[error("no pool will do{}", list(.refusals))]
    NoPool {
        /// Every pool that was looked at.
        refusals: Vec<PoolRefusal>,
    },
    /// The pool does not offer this.
    #[error("pool {pool} {problem}")]
    Unsupported {
        /// The pool.
        pool: PoolId,
        /// What it cannot do, as a fragment that follows its name.
        problem: String,
    },
    /// The pool's driver failed.
    #[error("pool {pool} cannot {action}")]
    Pool {
        /// The pool.
        pool: PoolId,
        /// What was to be done.
        action: String,
        /// The reason.
        source: PoolError,
    },
    /// No host will do.
    #[error("there is no host to {action}")]
    NoHost {
        /// What was to be done.
        action: String,
        /// Every reason against every host.
        source: NoHost,
    },
    /// A host failed.
    #[error("host {host} cannot {action}")]
    Host {
        /// The host.
        host: HostId,
        /// What was to be done.
        action: String,
        /// The reason.
        source: EndpointError,
    },
    /// A host gave an answer that its command does not have.
    #[error(
        "host {host} gave an answer of another command when asked to {action}; its agent is of another version"
    )]
    Answer {
        /// The host.
        host: HostId,
        /// What was to be done.
        action: String,
    },
    /// The key cannot be made or had. The volume counts as encrypted all the same.
    #[error("the key of volume {volume} cannot be had")]
    Key {
        /// The volume.
        volume: VolumeId,
        /// The reason.
        source: KeyringError,
    },
    /// The volume is plain: there is no key, and no header to back up.
    #[error("volume {volume} is not encrypted, so it has no key")]
    NotEncrypted {
        /// The volume.
        volume: VolumeId,
    },
    /// The disk is not what its record says.
    #[error("volume {volume} is not what its record says: {problem}")]
    Mismatch {
        /// The volume.
        volume: VolumeId,
        /// The difference.
        problem: String,
    },
    /// Work failed, and undoing it failed as well. The job is kept, and the next start tries again.
    #[error(
        "it failed, and volume {volume} cannot be brought back in order now: {undo}; the next start tries again"
    )]
    NotUndone {
        /// The volume.
        volume: VolumeId,
        /// Why it could not be undone.
        undo: String,
        /// Why the work failed.
        source: Box<ControlPlaneError>,
    },
    /// The caller asked to stop, or the time is over.
    #[error("stopped before {action}")]
    Interrupted {
        /// What was not begun.
        action: &'static str,
        /// Which of the two.
        source: Interrupted,
    },
    /// A row says what no row may say.
    #[error("the row {id} of table {table} is damaged: {problem}; restore the database from a copy")]
    DamagedRow {
        /// The table.
        table: &'static str,
        /// The id as it stands there.
        id: String,
        /// What is wrong.
        problem: String,
    },
    /// A virtual machine is in the way, or its own work failed.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// The database failed.
    #[error("the database of volumes and keys refused")]
    Store(#[source] StoreError),
}

fn names(volumes: &[VolumeId]) -> String {
    let each: Vec<_> = volumes.iter().map(VolumeId::as_str).collect();
    each.join(", ")
}

fn list(refusals: &[PoolRefusal]) -> String {
    if refusals.is_empty() {
        return ": there is none; add one".to_owned();
    }
    let each: Vec<_> = refusals.iter().map(ToString::to_string).collect();
    format!(": {}", each.join("; "))
}

/// A message with those of its causes, each once.
pub(crate) fn chained(mut text: String, mut cause: Option<&dyn std::error::Error>) -> String {
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

impl ControlPlaneError {
    /// The kind of failure that a pool or a host reported, or that there is no host. `None` when it was neither, so for every
    /// refusal of the control plane's own, such as [`Unknown`](Self::Unknown) or [`Taken`](Self::Taken): there the variant says
    /// what kind it is.
    #[must_use]
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Pool { source, .. } => Some(source.kind()),
            Self::Host { source, .. } => Some(source.kind()),
            Self::NoHost { .. } => Some(ErrorKind::NoHost),
            Self::NotUndone { source, .. } | Self::Vm(VmError::NotUndone { source, .. }) => source.kind(),
            _ => None,
        }
    }

    /// The message with the messages of its causes, each once.
    pub(crate) fn chain(&self) -> String {
        chained(self.to_string(), std::error::Error::source(self))
    }

    /// Whether the storage said no before it did anything, so that what was asked for has certainly not happened.
    pub(crate) fn changed_nothing(&self) -> bool {
        matches!(
            self.kind(),
            Some(
                ErrorKind::InvalidRequest
                    | ErrorKind::Unsupported
                    | ErrorKind::NotFound
                    | ErrorKind::WrongKey
                    | ErrorKind::WrongDisk
                    | ErrorKind::UntrustedImage
                    | ErrorKind::Busy
                    | ErrorKind::NoHost
                    | ErrorKind::MissingTool
            )
        )
    }
}
