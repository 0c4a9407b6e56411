use std::fmt;
use std::time::Duration;

use strongroom_storage_pool::Capabilities;

use crate::bench::Bench;
use crate::failure::{Checked, Failure};

/// One sentence of the contract, and how it is looked at.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Check {
    /// Its name, which stays: words of lower case with hyphens.
    pub name: &'static str,
    /// The sentence of the contract.
    pub sentence: &'static str,
    /// What the pool must be able to do so that the sentence says something about it.
    pub needs: Needs,
    pub(crate) run: fn(&Bench) -> Checked,
}

impl Check {
    pub(crate) const fn new(
        name: &'static str,
        sentence: &'static str,
        needs: Needs,
        run: fn(&Bench) -> Checked,
    ) -> Self {
        Self {
            name,
            sentence,
            needs,
            run,
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What a pool must be able to do for a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Needs {
    /// Nothing beyond what every driver has.
    Nothing,
    /// Encrypted volumes.
    Encryption,
    /// No encrypted volumes.
    NoEncryption,
    /// Volumes from templates.
    Templates,
    /// Overlays.
    Overlays,
    /// Copies of other disks.
    Copies,
    /// Clones with a key of their own.
    CloneOwnKey,
    /// Clones that share the key of their source.
    CloneSharedKey,
    /// Growth.
    Grow,
    /// Shrinking.
    Shrink,
    /// Snapshots while nobody has the volume open.
    Snapshots,
    /// Snapshots, and going back to them.
    Revert,
    /// Snapshots of several volumes at one instant.
    SnapshotGroup,
    /// Limits.
    Qos,
}

impl Needs {
    /// Whether a pool with these capabilities has it.
    #[must_use]
    pub fn met_by(self, capabilities: &Capabilities) -> bool {
        use strongroom_storage_pool::{CloneKind, Encryption};
        let encrypts = capabilities.encryption != Encryption::Unsupported;
        let snapshots = !capabilities.snapshot_offline.is_empty();
        match self {
            Self::Nothing => true,
            Self::Encryption => encrypts,
            Self::NoEncryption => !encrypts,
            Self::Templates => capabilities.templates,
            Self::Overlays => !capabilities.overlays.is_empty(),
            Self::Copies => capabilities.copies,
            Self::CloneOwnKey => capabilities.clone.contains(&CloneKind::OwnKey),
            Self::CloneSharedKey => capabilities.clone.contains(&CloneKind::SharedKey),
            Self::Grow => capabilities.grow,
            Self::Shrink => capabilities.shrink,
            Self::Snapshots => snapshots,
            Self::Revert => snapshots && capabilities.revert,
            Self::SnapshotGroup => snapshots && capabilities.snapshot_group,
            Self::Qos => capabilities.qos,
        }
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Encryption => "encryption",
            Self::NoEncryption => "no encryption",
            Self::Templates => "templates",
            Self::Overlays => "overlays",
            Self::Copies => "copies",
            Self::CloneOwnKey => "clones with a key of their own",
            Self::CloneSharedKey => "clones with a shared key",
            Self::Grow => "growth",
            Self::Shrink => "shrinking",
            Self::Snapshots => "offline snapshots",
            Self::Revert => "reverting to snapshots",
            Self::SnapshotGroup => "snapshots of several volumes",
            Self::Qos => "limits",
        })
    }
}

/// What became of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The driver keeps the sentence.
    Passed,
    /// It does not.
    Failed(Failure),
    /// It was not looked at, and why.
    NotTested(String),
}

/// A check and what became of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CheckResult {
    /// The check.
    pub check: Check,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took, cleaning up included.
    pub took: Duration,
}
