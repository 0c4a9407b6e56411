use strongroom_types::{Call, DiskTarget};

use crate::node_check::wrong;
use crate::{Document, DomainDisk, Image, LibvirtError, LiveDisk, Machine, Refusal};

const WORK: &str = "copy";

/// A copy of a disk while the guest runs: to another key, another place, or from clear to encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockCopy {
    /// Which disk.
    pub target: DiskTarget,
    /// Where to. The image is there already, and has exactly the size that the guest sees.
    pub to: Image,
    /// How many bytes a second at most; as fast as it goes when it is not said.
    pub rate: Option<u64>,
}

impl BlockCopy {
    /// A copy as fast as it goes.
    #[must_use]
    pub fn new(target: DiskTarget, to: Image) -> Self {
        Self {
            target,
            to,
            rate: None,
        }
    }

    /// The same at most this fast, in bytes a second.
    #[must_use]
    pub fn with_rate(mut self, rate: u64) -> Self {
        self.rate = Some(rate);
        self
    }
}

/// Copies that are begun, looked at, and then finished or abandoned. Nothing has to be kept between these: a process that was started
/// again can do the rest, and so can one that finds libvirt restarted.
impl Machine<'_> {
    /// Begins a copy and returns when it has all and each write of the guest goes to both sides, which libvirt and QEMU were then seen
    /// to do as described. The guest still depends on the old image. **Look at the header of the new image now**, and then
    /// [finish](Self::finish_copy) or [abandon](Self::abandon_disk_job) it.
    ///
    /// The image is made by the caller, and its secret is loaded for this call. QEMU would make it as well, with a key derivation that lets
    /// the guest stand still for seconds, and would format a device that was formatted already.
    ///
    /// # Errors
    /// [`Refusal::InClear`], [`Refusal::InUse`], [`LibvirtError::Busy`], [`LibvirtError::NoSecret`], [`LibvirtError::WrongKey`],
    /// [`LibvirtError::NotLuks`] and the like, [`LibvirtError::JobFailed`], for instance when the sizes differ, [`LibvirtError::WrongNode`],
    /// [`LibvirtError::Interrupted`], and as [`Connection::run`](crate::Connection::run). Then no copy is at work any more, unless
    /// libvirt could not be reached, and what was written to the new image is the caller's to remove.
    pub fn start_copy(&self, call: &Call, copy: &BlockCopy) -> Result<(), LibvirtError> {
        let target = &copy.target;
        let domain = self.describe(call)?;
        let disk = self.idle_disk(call, "blockcopy", target)?;
        if disk.is_encrypted() && copy.to.secret().is_none() {
            let what = "the new image";
            let (target, instead) = (target.clone(), "");
            return Err(Refusal::InClear {
                target,
                what,
                instead,
            }
            .into());
        }
        domain.refuse_used([&copy.to])?;
        let described = Document::new(&DomainDisk::new(target.clone(), copy.to.clone()).to_element()?)?;
        let mut begin = self
            .command("blockcopy")
            .option("--path", target.as_str())
            .document("--xml", &described)
            .word("--transient-job")
            .word("--reuse-external");
        if let Some(rate) = copy.rate {
            begin = begin.option("--bandwidth", rate.to_string()).word("--bytes");
        }
        match self.connection.run(call, &begin) {
            Ok(_) => {}
            // It may have been begun.
            Err(error @ LibvirtError::Interrupted { .. }) => return Err(self.abandoned(target, error)),
            Err(error) => return Err(error),
        }
        self.until_ready(call, WORK, target)
            .and_then(|disk| self.check_mirror(call, &disk, &copy.to))
            .map_err(|error| self.abandoned(target, error))
    }

    /// Lets the guest go on in the new image, after another look at what QEMU has open. The old image is not written any more; it still
    /// has all content under the old key, or in clear: erasing it is the caller's.
    ///
    /// # Errors
    /// [`LibvirtError::WrongNode`] when there is no such copy, or it has not all, or is not as described. Then, and when it was interrupted,
    /// the guest is where it was. As [`Connection::run`](crate::Connection::run).
    pub fn finish_copy(&self, call: &Call, copy: &BlockCopy) -> Result<(), LibvirtError> {
        let disk = self.disk(call, "blockjob", &copy.target)?;
        self.check_mirror(call, &disk, &copy.to)?;
        self.pivot(call, &copy.target, &copy.to)?;
        let disk = self.disk(call, "blockjob", &copy.target)?;
        self.check_image(call, &copy.target, &disk.image, &copy.to)
            .map(drop)
    }

    /// Ends a copy or merge on its other side.
    pub(crate) fn pivot(&self, call: &Call, target: &DiskTarget, to: &Image) -> Result<(), LibvirtError> {
        self.pivot_to(call, target, |disk| {
            disk.image.source.as_ref() == Some(to.source())
        })
    }

    pub(crate) fn pivot_to(
        &self,
        call: &Call,
        target: &DiskTarget,
        is_there: impl Fn(&LiveDisk) -> bool,
    ) -> Result<(), LibvirtError> {
        let pivot = self
            .command("blockjob")
            .option("--path", target.as_str())
            .word("--pivot");
        match self.connection.run(call, &pivot) {
            Ok(_) => Ok(()),
            // What is done is done, also when its answer did not come.
            Err(error @ LibvirtError::Interrupted { .. }) => {
                let disk = self.disk(&crate::disk_job::abandoning(), "blockjob", target)?;
                if disk.mirror.is_none() && is_there(&disk) {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            Err(error) => Err(error),
        }
    }

    fn check_mirror(&self, call: &Call, disk: &LiveDisk, to: &Image) -> Result<(), LibvirtError> {
        let target = &disk.target;
        let mirror = disk
            .mirror
            .as_ref()
            .filter(|mirror| mirror.job.as_deref() != Some("active-commit"))
            .ok_or_else(|| wrong(target, "no copy of it is at work"))?;
        if !mirror.ready {
            return Err(wrong(target, "its copy has not all yet"));
        }
        let old = self.node_of(call, target, &disk.image)?;
        let new = self.check_image(call, target, &mirror.image, to)?;
        if new.virtual_size != old.virtual_size {
            return Err(wrong(
                target,
                format!(
                    "its copy has {} bytes instead of {}",
                    new.virtual_size, old.virtual_size
                ),
            ));
        }
        Ok(())
    }
}
