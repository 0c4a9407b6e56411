//! Work on a volume that a guest has open: through its hypervisor, which is the only one that may touch the disk.

use strongroom_endpoint_selector::{FlattenVmDisk, GrowVmDisk};
use strongroom_types::{Call, GuestSize};

use crate::job::{Job, Work};
use crate::journal::closing_call;
use crate::recovery::Settled;
use crate::vm_volume::InGuest;
use crate::{ControlPlane, ControlPlaneError, VolumeRecord};

impl ControlPlane {
    /// Grows a volume while its guest runs. The volume is claimed and ready.
    pub(crate) fn grow_live(
        &self,
        call: &Call,
        record: &VolumeRecord,
        guest: &InGuest,
        to: GuestSize,
    ) -> Result<VolumeRecord, ControlPlaneError> {
        let _claim = self.vm_claims.take(&guest.vm)?;
        self.settled_vm(&guest.vm)?;
        tracing::debug!(volume = %record.id, vm = %guest.vm, to = to.get(), "grow while the guest runs");
        let job = self.begin(&record.id, Work::Grow { to }, |_| Ok(()))?;
        let action = format!("grow volume {} under virtual machine {}", record.id, guest.vm);
        let grow = GrowVmDisk::new(&guest.vm, &guest.target, to);
        let grown = self
            .on_vm(call, &guest.host, &action, grow)
            .and_then(|_| self.record_live(call, &job, record));
        match grown {
            Ok(now) if now.guest == to => Ok(now),
            Ok(now) => Err(ControlPlaneError::Mismatch {
                volume: record.id.clone(),
                problem: format!("its guest sees {} bytes, not {}", now.guest.get(), to.get()),
            }),
            Err(error) => Err(self.settle_live(&job, record, error)),
        }
    }

    /// Makes a volume stand alone while its guest runs. The volume is claimed, and lies on a template.
    pub(crate) fn flatten_live(
        &self,
        call: &Call,
        record: &VolumeRecord,
        guest: &InGuest,
    ) -> Result<VolumeRecord, ControlPlaneError> {
        let _claim = self.vm_claims.take(&guest.vm)?;
        self.settled_vm(&guest.vm)?;
        tracing::debug!(volume = %record.id, vm = %guest.vm, "flatten while the guest runs");
        let job = self.begin(&record.id, Work::Flatten, |_| Ok(()))?;
        let action = format!("flatten volume {} under virtual machine {}", record.id, guest.vm);
        let flatten = FlattenVmDisk::new(&guest.vm, &guest.target);
        let flat = self
            .on_vm(call, &guest.host, &action, flatten)
            .and_then(|_| self.record_live(call, &job, record));
        match flat {
            Ok(now) if now.template.is_none() => Ok(now),
            Ok(_) => Err(ControlPlaneError::Mismatch {
                volume: record.id.clone(),
                problem: "it still lies on its template".to_owned(),
            }),
            Err(error) => Err(self.settle_live(&job, record, error)),
        }
    }

    /// Finishes work on a volume that its guest still has open, or records how far it came.
    pub(crate) fn finish_live(
        &self,
        call: &Call,
        job: &Job,
        record: &VolumeRecord,
        guest: &InGuest,
    ) -> Result<Settled, ControlPlaneError> {
        let action = format!("{} under virtual machine {}", job.work.kind(), guest.vm);
        let (vm, target) = (&guest.vm, &guest.target);
        let again = match &job.work {
            Work::Grow { to } => self.on_vm(call, &guest.host, &action, GrowVmDisk::new(vm, target, *to)),
            _ => self.on_vm(call, &guest.host, &action, FlattenVmDisk::new(vm, target)),
        };
        let now = match (self.record_live(call, job, record), again) {
            (Ok(now), _) => now,
            (Err(_), Err(error)) | (Err(error), Ok(_)) => return Err(error),
        };
        let done = match &job.work {
            Work::Grow { to } => now.guest == *to,
            _ => now.template.is_none(),
        };
        Ok(match done {
            true => Settled::Finished,
            false => Settled::Undone,
        })
    }

    /// Records what the pool says of the volume, and ends the job.
    fn record_live(
        &self,
        call: &Call,
        job: &Job,
        record: &VolumeRecord,
    ) -> Result<VolumeRecord, ControlPlaneError> {
        let driver = self.driver(&record.pool)?;
        match job.work {
            Work::Flatten => self.record_as_seen(call, driver.as_ref(), job, record)?,
            _ => self.record_real_size(call, driver.as_ref(), job, record)?,
        };
        self.volume(&record.id)
    }

    fn settle_live(&self, job: &Job, record: &VolumeRecord, error: ControlPlaneError) -> ControlPlaneError {
        self.settle_failed(job, error, |error| {
            if error.changed_nothing() {
                return self.end(job, |_| Ok(()));
            }
            self.record_live(&closing_call(), job, record).map(drop)
        })
    }
}
