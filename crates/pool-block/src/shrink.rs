use strongroom_endpoint_selector::{BlankDevice, Need, ShrinkDisk, VerifyDisk};
use strongroom_storage_pool::{ErrorKind, OpContext, PoolError, ResizeVolume, Volume};
use strongroom_types::DiskFormat;

use crate::errand::{Errand, Purpose};
use crate::kind::Kind;
use crate::{BlockPool, BlockStorage};

const SHRINK: &str = "shrink";

impl<S: BlockStorage> BlockPool<S> {
    /// Makes a volume smaller: first what is behind its new end goes, then what is written down changes. Each step finds what an
    /// earlier attempt did. The device stays as large as it is.
    pub(crate) fn shrink_volume(
        &self,
        cx: &OpContext<'_>,
        request: &ResizeVolume<'_>,
    ) -> Result<Volume, PoolError> {
        let id = request.volume;
        let _claim = self.claim(cx, SHRINK, id)?;
        let provided = self.existing(cx, SHRINK, id)?;
        let purpose = Purpose::reading(SHRINK, id, &provided).writing();
        let (kind, label) = (self.same_side(purpose, request.key)?, &provided.label);
        self.on_disk(cx, purpose, kind.need(Need::any()), |errand| {
            let location = kind
                .location(&errand.device, label.guest)
                .map_err(self.unfit(SHRINK))?;
            let disk = errand.on_base(kind.disk(&location, request.key));
            let now = errand.disk(kind, VerifyDisk::new(disk))?;
            if request.to > now.guest {
                let message = format!(
                    "volume {id} has {} bytes, not the {} to which it is to be made smaller",
                    now.guest.get(),
                    request.to.get()
                );
                return Err(self.error(ErrorKind::InvalidRequest, SHRINK, &message));
            }
            if request.to == now.guest && request.to == label.guest {
                return Ok(errand.volume(id, &provided, now));
            }
            match kind.format {
                DiskFormat::Qcow2 => {
                    let facts = errand.disk(kind, ShrinkDisk::new(disk, request.to))?;
                    errand.exactly(facts, request.to)?;
                }
                DiskFormat::Raw => {
                    let kept = kind.used(request.to).map_err(self.unfit(SHRINK))?;
                    errand.done(BlankDevice::new(&location).from(kept))?;
                }
            }
            self.relabel(cx, purpose, label, &label.with_guest(request.to))?;
            self.shrunk(errand, purpose, kind, request)
        })
    }

    /// The volume as it is now, if its key opens it.
    fn shrunk(
        &self,
        errand: &Errand<'_>,
        purpose: Purpose<'_>,
        kind: Kind,
        request: &ResizeVolume<'_>,
    ) -> Result<Volume, PoolError> {
        let location = kind
            .location(&errand.device, request.to)
            .map_err(self.unfit(SHRINK))?;
        let disk = errand.on_base(kind.disk(&location, request.key));
        let facts = errand.disk(kind, VerifyDisk::new(disk))?;
        let facts = errand.exactly(facts, request.to)?;
        Ok(errand.volume(request.volume, purpose.provided, facts))
    }
}
