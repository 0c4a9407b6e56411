use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strongroom_types::{DiskFormat, GuestSize, HostId, JobId, SnapshotId, VolumeId};

use crate::Erasure;

/// What kind of work a job is. It prints as what was begun, such as `create it`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobKind {
    /// Making a volume.
    Create,
    /// Making a volume larger.
    Grow,
    /// Taking a snapshot.
    TakeSnapshot,
    /// Removing a snapshot.
    RemoveSnapshot,
    /// Bringing a volume back to a snapshot.
    Restore,
    /// Overwriting a volume with an image.
    ReplaceContent,
    /// Copying a LUKS header into a file.
    BackUpHeader,
    /// Removing a volume for ever.
    Delete,
}

impl JobKind {
    const ALL: [Self; 8] = [
        Self::Create,
        Self::Grow,
        Self::TakeSnapshot,
        Self::RemoveSnapshot,
        Self::Restore,
        Self::ReplaceContent,
        Self::BackUpHeader,
        Self::Delete,
    ];

    /// The word that is stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Grow => "grow",
            Self::TakeSnapshot => "take-snapshot",
            Self::RemoveSnapshot => "remove-snapshot",
            Self::Restore => "restore",
            Self::ReplaceContent => "replace-content",
            Self::BackUpHeader => "back-up-header",
            Self::Delete => "delete",
        }
    }

    /// What a volume is doing meanwhile.
    pub(crate) const fn participle(self) -> &'static str {
        match self {
            Self::Create => "creating",
            Self::Grow => "growing",
            Self::TakeSnapshot => "taking snapshot",
            Self::RemoveSnapshot => "removing snapshot",
            Self::Restore => "restoring",
            Self::ReplaceContent => "replacing content",
            Self::BackUpHeader => "backing up header",
            Self::Delete => "deleting",
        }
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Create => "create it",
            Self::Grow => "grow it",
            Self::TakeSnapshot => "take a snapshot",
            Self::RemoveSnapshot => "remove a snapshot",
            Self::Restore => "restore a snapshot",
            Self::ReplaceContent => "replace its content",
            Self::BackUpHeader => "back up its header",
            Self::Delete => "delete it",
        })
    }
}

impl FromStr for JobKind {
    type Err = String;
    /// # Errors
    /// The unknown word, in a sentence.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|k| k.as_str() == text)
            .ok_or_else(|| format!("unknown kind of job {text:?}"))
    }
}

/// The work of a job, with all that finishing or undoing it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    Create,
    Grow { to: GuestSize },
    TakeSnapshot { snapshot: SnapshotId },
    RemoveSnapshot { snapshot: SnapshotId },
    Restore { snapshot: SnapshotId },
    ReplaceContent { path: OsString, format: DiskFormat },
    BackUpHeader { host: HostId, path: OsString },
    Delete,
}

impl Work {
    pub(crate) fn kind(&self) -> JobKind {
        match self {
            Self::Create => JobKind::Create,
            Self::Grow { .. } => JobKind::Grow,
            Self::TakeSnapshot { .. } => JobKind::TakeSnapshot,
            Self::RemoveSnapshot { .. } => JobKind::RemoveSnapshot,
            Self::Restore { .. } => JobKind::Restore,
            Self::ReplaceContent { .. } => JobKind::ReplaceContent,
            Self::BackUpHeader { .. } => JobKind::BackUpHeader,
            Self::Delete => JobKind::Delete,
        }
    }

    /// Whether this work also settles a failed job of that kind: a delete settles everything, a restore whatever left the
    /// content in between.
    pub(crate) fn settles(&self, failed: JobKind) -> bool {
        match self {
            Self::Delete => true,
            Self::Restore { .. } => matches!(failed, JobKind::Restore | JobKind::ReplaceContent),
            _ => false,
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// It is written down.
    Begun,
    /// Of a delete: the disk is the volume's, because the stored key opened it.
    Proved,
    /// Of a delete: the disk's keyslots are gone, or what hinders it is noted.
    KeyslotsErased,
    /// Of a delete: the header backups are gone.
    BackupsRemoved,
    /// Of a delete: the pool said that it has the disk, and is to remove it.
    DiskFound,
    /// Of a delete: the disk is gone.
    DiskRemoved,
}

impl Step {
    const ALL: [Self; 6] = [
        Self::Begun,
        Self::Proved,
        Self::KeyslotsErased,
        Self::BackupsRemoved,
        Self::DiskFound,
        Self::DiskRemoved,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Proved => "proved",
            Self::KeyslotsErased => "keyslots-erased",
            Self::BackupsRemoved => "backups-removed",
            Self::DiskFound => "disk-found",
            Self::DiskRemoved => "disk-removed",
        }
    }
}

impl FromStr for Step {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|s| s.as_str() == text)
            .ok_or_else(|| format!("unknown step {text:?}"))
    }
}

/// A piece of work that is written down until it is finished or undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) volume: VolumeId,
    pub(crate) work: Work,
    pub(crate) step: Step,
    /// Of a delete: what it destroyed and left so far.
    pub(crate) erasure: Erasure,
    /// Why it neither ended nor could be undone.
    pub(crate) failure: Option<String>,
}
