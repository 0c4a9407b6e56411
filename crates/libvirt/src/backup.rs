use std::collections::BTreeSet;

use strongroom_types::{Call, CheckpointId, DiskFormat, DiskTarget};

use crate::checkpoint::Checkpoint;
use crate::disk_job::{abandoning, failed};
use crate::xml::Element;
use crate::{Document, Image, LibvirtError, LiveDomain, Machine, Refusal};

const ACTION: &str = "backup-begin";

/// Where a disk is backed up to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskBackup {
    /// Which disk.
    pub target: DiskTarget,
    /// An encrypted image that is there already and has exactly the size that the guest sees.
    pub to: Image,
}

impl DiskBackup {
    /// This disk to this image.
    #[must_use]
    pub fn new(target: DiskTarget, to: Image) -> Self {
        Self { target, to }
    }
}

/// A backup of disks as they are at one instant. Disks that are not named are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backup {
    /// The disks, and where each goes.
    pub disks: Vec<DiskBackup>,
    /// Only what changed after this checkpoint. The images then are qcow2 and hold nothing but that.
    pub since: Option<CheckpointId>,
    /// Under which name the instant is remembered.
    pub checkpoint: Option<CheckpointId>,
}

impl Backup {
    /// A full backup that is not remembered.
    #[must_use]
    pub fn full(disks: impl IntoIterator<Item = DiskBackup>) -> Self {
        Self {
            disks: disks.into_iter().collect(),
            since: None,
            checkpoint: None,
        }
    }

    /// The same with only what changed after this checkpoint.
    #[must_use]
    pub fn since(mut self, checkpoint: CheckpointId) -> Self {
        self.since = Some(checkpoint);
        self
    }

    /// The same, remembered under this name.
    #[must_use]
    pub fn remembered_as(mut self, checkpoint: CheckpointId) -> Self {
        self.checkpoint = Some(checkpoint);
        self
    }

    fn targets(&self) -> Vec<DiskTarget> {
        self.disks.iter().map(|disk| disk.target.clone()).collect()
    }
}

/// Backups of a guest that runs.
impl Machine<'_> {
    /// Writes the content that disks have at this instant into encrypted images while the guest goes on, and returns when all is written.
    /// The keys may be others than those of the disks; the secrets are loaded for this call. **Look at the headers of the images then**,
    /// before the backup is called one.
    ///
    /// # Errors
    /// [`Refusal::InClear`] for an image in clear, whatever the disk is. [`Refusal::NoChanges`], [`Refusal::NotQcow2`],
    /// [`Refusal::InUse`], [`Refusal::TargetTwice`], [`Refusal::NoDisks`]. [`LibvirtError::BrokenCheckpoint`] when that since which is not whole any more.
    /// [`LibvirtError::AlreadyExists`] when the new one is there. [`LibvirtError::JobFailed`], for instance when the sizes differ or the storage is
    /// full, [`LibvirtError::Busy`], [`LibvirtError::NoSecret`], [`LibvirtError::WrongKey`] and the like, [`LibvirtError::Interrupted`], and as
    /// [`Connection::run`](crate::Connection::run). Then no backup is at work, QEMU has none of the images open and the new checkpoint is not
    /// there, unless libvirt could not be reached; what was written is the caller's to remove.
    pub fn back_up(&self, call: &Call, backup: &Backup) -> Result<(), LibvirtError> {
        let domain = self.check_backup(call, backup)?;
        let document = Document::new(&description(&domain, backup)?)?;
        let checkpoint = backup
            .checkpoint
            .as_ref()
            .map(|id| Checkpoint::new(id.clone(), backup.targets()).to_element(&domain));
        let checkpoint = checkpoint.map(|element| Document::new(&element)).transpose()?;
        let mut begin = self.command(ACTION).document("--backupxml", &document);
        if let Some(checkpoint) = &checkpoint {
            begin = begin.document("--checkpointxml", checkpoint);
        }
        begin = begin.word("--reuse-external");
        let before = self.before(call)?;
        match self.connection.run(call, &begin) {
            Ok(_) => {}
            Err(error @ LibvirtError::Interrupted { .. }) => return Err(self.undone(backup, error)),
            Err(error) => return Err(self.swept(&before, error)),
        }
        self.until_backed_up(call, backup)
            .map_err(|error| self.undone(backup, error))
    }

    /// Ends a backup that nobody waits for, also one that was begun before libvirt was restarted, and returns when it is over. Where there
    /// is none, nothing happens.
    ///
    /// # Errors
    /// [`LibvirtError::NoDomain`], [`LibvirtError::Busy`] when the machine is at something else, and as
    /// [`Connection::run`](crate::Connection::run).
    pub fn abandon_backup(&self, call: &Call) -> Result<(), LibvirtError> {
        if !self.is_backed_up(call)? {
            return Ok(());
        }
        let aborted = self.connection.run(call, &self.command("domjobabort"));
        while self.is_backed_up(call)? {
            if aborted.is_err() {
                return aborted.map(drop);
            }
            self.pause(call, "domjobabort")?;
        }
        Ok(())
    }

    fn check_backup(&self, call: &Call, backup: &Backup) -> Result<LiveDomain, LibvirtError> {
        if backup.disks.is_empty() {
            return Err(Refusal::NoDisks.into());
        }
        self.alive(call, ACTION)?;
        let mut targets = BTreeSet::new();
        for DiskBackup { target, to } in &backup.disks {
            if !targets.insert(target.as_str()) {
                return Err(Refusal::TargetTwice(target.to_string()).into());
            }
            if to.secret().is_none() {
                return Err(Refusal::InClear {
                    target: target.clone(),
                    what: "its backup",
                    instead: "",
                }
                .into());
            }
            let disk = self.idle_disk(call, ACTION, target)?;
            let remembers = backup.since.is_some() || backup.checkpoint.is_some();
            if remembers && disk.image.format != DiskFormat::Qcow2.as_str() {
                return Err(Refusal::NoChanges(target.clone()).into());
            }
            if backup.since.is_some() && to.format() != DiskFormat::Qcow2 {
                return Err(Refusal::NotQcow2(target.clone()).into());
            }
        }
        if let Some(new) = &backup.checkpoint
            && self.checkpoints(call)?.contains(new)
        {
            return Err(LibvirtError::AlreadyExists {
                action: ACTION,
                message: format!("checkpoint {new}"),
            });
        }
        let domain = self.describe(call)?;
        domain.refuse_used(backup.disks.iter().map(|disk| &disk.to))?;
        Ok(domain)
    }

    fn until_backed_up(&self, call: &Call, backup: &Backup) -> Result<(), LibvirtError> {
        while self.is_backed_up(call)? {
            let jobs = self.block_jobs(call)?;
            let of_backup = jobs.iter().filter(|job| job.kind == "backup");
            let (done, length) = of_backup.fold((0, 0), |(done, length), job| {
                (done + job.done, length + job.length)
            });
            crate::disk_job::report(call, done, length);
            self.pause(call, ACTION)?;
        }
        let ask = self.command("domjobinfo").word("--completed").word("--anystats");
        let printed = self.connection.run(call, &ask)?;
        let value = |name: &str| {
            let line = printed.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim).unwrap_or_default().to_owned()
        };
        match (value("Job type:").as_str(), backup.disks.first()) {
            ("Completed", _) | (_, None) => Ok(()),
            (_, Some(first)) => {
                let message = value("Error message:");
                let message = if message.is_empty() {
                    "libvirt gives no reason; the usual ones are an image of another size, and storage that is full".to_owned()
                } else {
                    message
                };
                Err(failed("backup", &first.target, message))
            }
        }
    }

    fn is_backed_up(&self, call: &Call) -> Result<bool, LibvirtError> {
        let printed = self.connection.run(call, &self.command("domjobinfo"))?;
        let value = |name: &str| {
            let line = printed.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim)
        };
        Ok(value("Job type:") != Some("None") && value("Operation:").is_none_or(|what| what == "Backup"))
    }

    /// Ends what was begun. A checkpoint without its backup would let the next incremental one leave out what nobody has.
    fn undone(&self, backup: &Backup, error: LibvirtError) -> LibvirtError {
        let call = abandoning();
        let _the_first_error_counts = self.abandon_backup(&call).and_then(|()| {
            let new = backup.checkpoint.iter();
            new.clone().try_for_each(|id| self.forget(&call, id))
        });
        error
    }
}

fn description(domain: &LiveDomain, backup: &Backup) -> Result<Element, Refusal> {
    let mut disks = Element::new("disks");
    for target in &domain.targets {
        let disk = Element::new("disk").with("name", target.as_str());
        let of_this = |disk: &&DiskBackup| disk.target.as_str() == target.as_str();
        disks = disks.holding(match backup.disks.iter().find(of_this) {
            None => disk.with("backup", "no"),
            Some(DiskBackup { to, .. }) => disk
                .with("backup", "yes")
                .with("type", to.source().kind())
                .holding(Element::new("driver").with("type", to.format_word()))
                .holding(to.place("target")?),
        });
    }
    let mut description = Element::new("domainbackup").with("mode", "push");
    if let Some(since) = &backup.since {
        description = description.holding(Element::new("incremental").saying(since.as_str()));
    }
    Ok(description.holding(disks))
}
