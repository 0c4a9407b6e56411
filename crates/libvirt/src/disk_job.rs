use std::thread::sleep;
use std::time::Duration;

use strongroom_types::{Call, DiskTarget};

use crate::{LibvirtError, LiveDisk, Machine};

/// How often it is looked how far work has come. Each look is a process of virsh or two.
const INTERVAL: Duration = Duration::from_millis(100);

/// How long it may take to end what a caller does not wait for any more.
const TO_ABANDON: Duration = Duration::from_secs(60);

/// What a job does with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiskWork {
    /// It is copied to another image.
    Copy,
    /// What an overlay holds is written into what it lies on.
    Merge,
    /// What an overlay lies on is written into it.
    Flatten,
    /// It is backed up.
    Backup,
}

/// A job on a disk, as libvirt tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskJob {
    /// What it does.
    pub work: DiskWork,
    /// How much is done, in bytes, of [`length`](Self::length).
    pub done: u64,
    /// How much there is to do, in bytes. It grows while the guest writes.
    pub length: u64,
}

/// Work on the disks of a running machine.
impl Machine<'_> {
    /// The job on a disk, if there is one. libvirt has at most one for each disk.
    ///
    /// # Errors
    /// [`LibvirtError::NoDisk`], [`LibvirtError::NoDomain`], [`LibvirtError::Output`], and as
    /// [`Connection::run`](crate::Connection::run).
    pub fn disk_job(&self, call: &Call, target: &DiskTarget) -> Result<Option<DiskJob>, LibvirtError> {
        let ask = self
            .command("blockjob")
            .option("--path", target.as_str())
            .word("--raw");
        let printed = self.connection.run(call, &ask)?;
        let value = |name: &str| {
            printed
                .lines()
                .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let Some(work) = value("type") else {
            return Ok(None);
        };
        let number = |name: &str| {
            let number = value(name).and_then(|text| text.trim().parse().ok());
            number.ok_or_else(|| ask.unreadable(format!("a job has no {name}")))
        };
        Ok(Some(DiskJob {
            work: match work.trim() {
                "Block Copy" => DiskWork::Copy,
                "Block Commit" | "Active Block Commit" => DiskWork::Merge,
                "Block Pull" => DiskWork::Flatten,
                "Backup" => DiskWork::Backup,
                other => return Err(ask.unreadable(format!("{other:?} is no kind of job that is known"))),
            },
            done: number("cur")?,
            length: number("end")?,
        }))
    }

    /// Ends the job on a disk: a copy or a merge that nobody finishes, also one that was begun before libvirt was restarted. The guest goes
    /// on where it was, and the image that was written is the caller's to remove. Where there is no job, nothing happens. A backup is ended
    /// by [`abandon_backup`](Self::abandon_backup).
    ///
    /// # Errors
    /// [`LibvirtError::NoDisk`], [`LibvirtError::NoDomain`], and as [`Connection::run`](crate::Connection::run).
    pub fn abandon_disk_job(&self, call: &Call, target: &DiskTarget) -> Result<(), LibvirtError> {
        let abort = self
            .command("blockjob")
            .option("--path", target.as_str())
            .word("--abort");
        match self.connection.run(call, &abort) {
            Err(error) if self.disk_job(call, target)?.is_some() => Err(error),
            _ => Ok(()),
        }
    }

    /// The disk, when it is there and nothing works on it.
    pub(crate) fn idle_disk(
        &self,
        call: &Call,
        action: &'static str,
        target: &DiskTarget,
    ) -> Result<LiveDisk, LibvirtError> {
        let disk = self.disk(call, action, target)?;
        let busy = disk.mirror.is_some() || self.disk_job(call, target)?.is_some();
        if busy {
            return Err(LibvirtError::Busy {
                action,
                message: format!("another operation works on disk {target}"),
            });
        }
        Ok(disk)
    }

    /// The disk, when it is there.
    pub(crate) fn disk(
        &self,
        call: &Call,
        action: &'static str,
        target: &DiskTarget,
    ) -> Result<LiveDisk, LibvirtError> {
        let disks = self.describe(call)?.disks;
        let found = disks.into_iter().find(|disk| disk.target == *target);
        found.ok_or_else(|| LibvirtError::NoDisk {
            action,
            message: format!("no virtio disk is {target}"),
        })
    }

    /// Waits until a copy or merge has all and every write of the guest goes to both sides.
    pub(crate) fn until_ready(
        &self,
        call: &Call,
        work: &'static str,
        target: &DiskTarget,
    ) -> Result<LiveDisk, LibvirtError> {
        loop {
            let job = self.disk_job(call, target)?;
            let disk = self.disk(call, work, target)?;
            match (&disk.mirror, job) {
                (Some(mirror), _) if mirror.ready => return Ok(disk),
                (_, Some(job)) => report(call, job.done, job.length),
                (_, None) => return Err(failed(work, target, self.why(work))),
            }
            self.pause(call, work)?;
        }
    }

    /// Waits until there is no job on a disk any more.
    pub(crate) fn until_idle(
        &self,
        call: &Call,
        work: &'static str,
        target: &DiskTarget,
    ) -> Result<(), LibvirtError> {
        while let Some(job) = self.disk_job(call, target)? {
            report(call, job.done, job.length);
            self.pause(call, work)?;
        }
        Ok(())
    }

    pub(crate) fn pause(&self, call: &Call, action: &'static str) -> Result<(), LibvirtError> {
        call.check()
            .map_err(|source| LibvirtError::Interrupted { action, source })?;
        sleep(call.remaining().unwrap_or(INTERVAL).min(INTERVAL));
        Ok(())
    }

    /// libvirt does not say why a job ended.
    fn why(&self, work: &'static str) -> String {
        match work {
            "copy" => "the usual reasons are that the new image has not exactly the size that the guest sees, and storage that is full or gives errors",
            _ => "the usual reasons are a block device below that is smaller than what lies on it, and storage that is full or gives errors",
        }
        .to_owned()
    }

    /// Ends what was begun, after an error. The first error is the one to tell.
    pub(crate) fn abandoned(&self, target: &DiskTarget, error: LibvirtError) -> LibvirtError {
        let _the_first_error_counts = self.abandon_disk_job(&abandoning(), target);
        error
    }
}

/// A call for what has to be done although the caller's time is over.
pub(crate) fn abandoning() -> Call {
    Call::new().with_timeout(TO_ABANDON)
}

pub(crate) fn failed(work: &'static str, target: &DiskTarget, message: impl Into<String>) -> LibvirtError {
    LibvirtError::JobFailed {
        work,
        target: target.clone(),
        message: message.into(),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a fraction for people, where 52 bits are enough"
)]
pub(crate) fn report(call: &Call, done: u64, length: u64) {
    if length > 0 {
        call.report(done as f64 / length as f64);
    }
}
