use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use strongroom_types::{DiskFormat, GuestSize, HostId, JobId, SnapshotId, VolumeId};

use crate::Erasure;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $word:literal, $participle:literal, $begun:literal;)+) => {
        /// What kind of work a job is. It prints as what was begun, such as `create it`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum JobKind {
            $($(#[$doc])* $kind),+
        }

        impl JobKind {
            const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The word that is stored.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $word),+ }
            }

            /// What a volume or virtual machine is doing meanwhile.
            pub(crate) const fn participle(self) -> &'static str {
                match self { $(Self::$kind => $participle),+ }
            }
        }

        impl fmt::Display for JobKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$kind => $begun),+ })
            }
        }
    };
}

kinds! {
    /// Making a volume.
    Create = "create", "creating", "create it";
    /// Making a volume from an image that somebody gave.
    Import = "import", "importing", "import it";
    /// Making a volume with the content of another.
    Clone = "clone", "cloning", "make it as a clone";
    /// Making a new root disk for a volume.
    Reinstall = "reinstall", "reinstalling", "make a new disk to reinstall a volume";
    /// Making a disk for a volume in another place.
    Move = "move", "moving", "make a disk to move a volume to";
    /// Making a volume larger.
    Grow = "grow", "growing", "grow it";
    /// Making a volume smaller.
    Shrink = "shrink", "shrinking", "shrink it";
    /// Making a volume independent of its template.
    Flatten = "flatten", "flattening", "flatten it";
    /// Taking a snapshot.
    TakeSnapshot = "take-snapshot", "taking snapshot", "take a snapshot";
    /// Removing a snapshot.
    RemoveSnapshot = "remove-snapshot", "removing snapshot", "remove a snapshot";
    /// Bringing a volume back to a snapshot.
    Restore = "restore", "restoring", "restore a snapshot";
    /// Overwriting a volume with an image.
    ReplaceContent = "replace-content", "replacing content", "replace its content";
    /// Copying a LUKS header into a file.
    BackUpHeader = "back-up-header", "backing up header", "back up its header";
    /// Copying a volume into an image file.
    Export = "export", "exporting", "export it";
    /// Removing a volume for ever.
    Delete = "delete", "deleting", "delete it";
    /// Starting a virtual machine.
    StartVm = "start-vm", "starting", "start it";
    /// Stopping a virtual machine.
    StopVm = "stop-vm", "stopping", "stop it";
    /// Giving a running virtual machine another disk.
    AttachDisk = "attach-disk", "attaching", "give it another disk";
    /// Taking a disk from a running virtual machine.
    DetachDisk = "detach-disk", "detaching", "take a disk from it";
}

impl FromStr for JobKind {
    type Err = String;
    /// # Errors
    /// The unknown word, in a sentence.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .iter()
            .copied()
            .find(|k| k.as_str() == text)
            .ok_or_else(|| format!("unknown kind of job {text:?}"))
    }
}

/// The work of a job, with all that finishing or undoing it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    Create,
    Import,
    Clone,
    Reinstall,
    Move,
    Grow {
        to: GuestSize,
    },
    Shrink {
        to: GuestSize,
    },
    Flatten,
    TakeSnapshot {
        snapshot: SnapshotId,
    },
    RemoveSnapshot {
        snapshot: SnapshotId,
    },
    Restore {
        snapshot: SnapshotId,
    },
    ReplaceContent {
        path: OsString,
        format: DiskFormat,
    },
    BackUpHeader {
        host: HostId,
        path: OsString,
    },
    Export {
        export: String,
        host: HostId,
        path: OsString,
    },
    Delete,
}

impl Work {
    pub(crate) fn kind(&self) -> JobKind {
        match self {
            Self::Create => JobKind::Create,
            Self::Import => JobKind::Import,
            Self::Clone => JobKind::Clone,
            Self::Reinstall => JobKind::Reinstall,
            Self::Move => JobKind::Move,
            Self::Grow { .. } => JobKind::Grow,
            Self::Shrink { .. } => JobKind::Shrink,
            Self::Flatten => JobKind::Flatten,
            Self::TakeSnapshot { .. } => JobKind::TakeSnapshot,
            Self::RemoveSnapshot { .. } => JobKind::RemoveSnapshot,
            Self::Restore { .. } => JobKind::Restore,
            Self::ReplaceContent { .. } => JobKind::ReplaceContent,
            Self::BackUpHeader { .. } => JobKind::BackUpHeader,
            Self::Export { .. } => JobKind::Export,
            Self::Delete => JobKind::Delete,
        }
    }

    /// Whether this work also settles a failed job of that kind: a delete settles everything but an export, whose file it knows
    /// nothing of, a restore whatever left the content in between, and a flatten another flatten.
    pub(crate) fn settles(&self, failed: JobKind) -> bool {
        match self {
            Self::Delete => failed != JobKind::Export,
            Self::Restore { .. } => matches!(failed, JobKind::Restore | JobKind::ReplaceContent),
            Self::Flatten => failed == JobKind::Flatten,
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

impl Job {
    /// A job at its beginning, not written down yet.
    pub(crate) fn new(volume: &VolumeId, work: Work) -> Self {
        Self {
            id: JobId::random(),
            volume: volume.clone(),
            work,
            step: Step::Begun,
            erasure: Erasure::default(),
            failure: None,
        }
    }
}
