use std::collections::BTreeSet;

use strongroom_endpoint_selector::{BlankDevice, BlockDevice, DiskLocation, EraseKeyslots, Need};
use strongroom_storage_pool::{ErrorKind, OpContext, PoolError};
use strongroom_types::VolumeId;

use crate::errand::{Errand, Purpose};
use crate::kind::Kind;
use crate::{BlockPool, BlockStorage, Label, Provided, Stage, Supply};

impl<S: BlockStorage> BlockPool<S> {
    /// Destroys what is on the device of a volume and gives the device back, blank if another volume may get it.
    ///
    /// First the keyslots go, while the volume is still there for everybody: when somebody has it open, that is where it fails, and
    /// nothing has happened.
    pub(crate) fn clear(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        volume: &VolumeId,
        provided: &Provided,
    ) -> Result<(), PoolError> {
        let failed = self.failed(operation);
        let purpose = Purpose::reading(operation, volume, provided).writing();
        // On a device that was only assigned, everything is somebody else's.
        if provided.label.stage != Stage::Assigned {
            self.on_host(cx, purpose, Need::any(), |errand| {
                self.destroy(cx, errand, purpose)
            })?;
        }
        for host in &provided.hosts {
            self.storage.take_back(cx.call, volume, host).map_err(&failed)?;
        }
        self.storage.remove(cx.call, volume).map_err(&failed)
    }

    fn destroy(
        &self,
        cx: &OpContext<'_>,
        errand: &Errand<'_>,
        purpose: Purpose<'_>,
    ) -> Result<(), PoolError> {
        let label = &purpose.provided.label;
        let kind = Kind::of(label);
        let location = kind
            .location(&errand.device, label.guest)
            .map_err(self.unfit(purpose.operation))?;
        if kind.encryption.is_some() {
            match errand.done(EraseKeyslots::new(&location, kind.format)) {
                // No header, or none that can be read: an earlier attempt got that far, or it never was one.
                Err(e) if e.kind() == ErrorKind::WrongDisk => {}
                done => done?,
            }
        }
        let leaving = self.relabel(cx, purpose, label, &label.at(Stage::Leaving))?;
        let blank = match self.storage.features().supply {
            Supply::Reused => location,
            Supply::Made => match kind.header() {
                Some(header) => {
                    let device = BlockDevice::new(&errand.device.path)
                        .with_identity(errand.device.identity.clone())
                        .with_used(header);
                    DiskLocation::Block(device)
                }
                None => return Ok(()),
            },
        };
        errand.done(BlankDevice::new(&blank)).inspect_err(|e| {
            if e.kind() == ErrorKind::Busy && kind.encryption.is_none() {
                // Somebody has the volume open and nothing of it is gone.
                let _ = self.relabel(cx, purpose, &leaving, label);
            }
        })
    }

    /// Removes what a failed attempt left, if there is time and nobody else began the volume anew. What cannot be removed now is
    /// found by its label later.
    pub(crate) fn give_up(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        volume: &VolumeId,
        label: &Label,
    ) {
        let Ok(Some(left)) = self.find(cx, operation, volume) else {
            return;
        };
        if left.label.same_attempt(label) && left.label.stage != Stage::Ready {
            let _ = self.clear(cx, operation, volume, &left);
        }
    }

    /// Removes every volume that is not whole.
    pub(crate) fn clear_unfinished(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        let mut first = Ok(());
        let volumes = self.storage.volumes(cx.call).map_err(self.failed("recover"))?;
        for volume in BTreeSet::from_iter(volumes) {
            let claim = match self.claim(cx, "recover", &volume) {
                Ok(claim) => claim,
                Err(e) => {
                    first = first.and(Err(e));
                    continue;
                }
            };
            let cleared = match self.find(cx, "recover", &volume) {
                Ok(Some(left)) if left.label.stage != Stage::Ready => {
                    self.clear(cx, "recover", &volume, &left)
                }
                Ok(_) => Ok(()),
                Err(e) => Err(e),
            };
            drop(claim);
            first = first.and(cleared);
        }
        first
    }
}
