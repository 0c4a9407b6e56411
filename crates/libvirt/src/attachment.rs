use std::thread::sleep;
use std::time::{Duration, Instant};

use strongroom_types::{Call, DiskTarget, Interrupted};

use crate::{Document, DomainDisk, LibvirtError, Machine, MachineState};

/// How long a detach waits for the guest when the call has no deadline.
pub const DETACH_LIMIT: Duration = Duration::from_secs(30);

/// How often it is looked whether a disk is gone. Each look is a process of virsh.
const INTERVAL: Duration = Duration::from_millis(100);

/// What QEMU says of a device that the guest was asked to let go of and still has.
const ASKED_ALREADY: &str = "is already in the process of unplug";

/// Disks that come and go while the guest runs.
impl Machine<'_> {
    /// Gives a running guest another disk. Its secret has to be [loaded](crate::Connection::load_secret), and can go when this returns.
    ///
    /// # Errors
    /// As for [`start`](crate::Connection::start), and [`LibvirtError::AlreadyExists`] when the target is taken. Then QEMU has neither
    /// a node nor a secret of it, unless the call was interrupted.
    pub fn attach(&self, call: &Call, disk: &DomainDisk) -> Result<(), LibvirtError> {
        let document = Document::new(&disk.to_element()?)?;
        let attach = self
            .command("attach-device")
            .document("--file", &document)
            .word("--live");
        self.connection.run(call, &attach).map(drop)
    }

    /// Takes a disk from a running guest and returns when libvirt does not have it any more; then QEMU has closed it. A disk that is not
    /// there is fine.
    ///
    /// libvirt reports success also when the guest has not answered. So it is looked until the disk is gone, the call's deadline or,
    /// without one, [`DETACH_LIMIT`].
    ///
    /// **A guest whose processors are stopped is not asked**, for it cannot answer: the request would wait in QEMU, and the disk vanish
    /// when the guest goes on. Asked once more in that moment, libvirtd 11.3 was seen to die.
    ///
    /// # Errors
    /// [`LibvirtError::StillAttached`] when the guest does not let go in time: it may do so later. [`LibvirtError::NoDomain`],
    /// [`LibvirtError::Interrupted`] when the caller asked to stop, and as [`Connection::run`](crate::Connection::run).
    pub fn detach(&self, call: &Call, target: &DiskTarget) -> Result<(), LibvirtError> {
        let until = call.deadline().unwrap_or_else(|| Instant::now() + DETACH_LIMIT);
        if self.describe(call)?.disk(target).is_none() {
            return Ok(());
        }
        if matches!(self.state(call)?, MachineState::Paused | MachineState::Stopped) {
            return Err(LibvirtError::StillAttached {
                target: target.clone(),
            });
        }
        let late = |error| match error {
            LibvirtError::Interrupted {
                source: Interrupted::Deadline,
                ..
            } => LibvirtError::StillAttached {
                target: target.clone(),
            },
            other => other,
        };
        self.ask_to_detach(call, target).map_err(late)?;
        while self.describe(call).map_err(late)?.disk(target).is_some() {
            if until <= Instant::now() {
                return Err(LibvirtError::StillAttached {
                    target: target.clone(),
                });
            }
            sleep(INTERVAL.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    fn ask_to_detach(&self, call: &Call, target: &DiskTarget) -> Result<(), LibvirtError> {
        let detach = self
            .command("detach-disk")
            .option("--target", target.as_str())
            .word("--live");
        match self.connection.run(call, &detach) {
            // It went by itself between the look and now.
            Ok(_) | Err(LibvirtError::NoDisk { .. }) => Ok(()),
            // It was asked before, and the guest has not answered yet.
            Err(LibvirtError::Failed { message, .. }) if message.ends_with(ASKED_ALREADY) => Ok(()),
            Err(other) => Err(other),
        }
    }
}
