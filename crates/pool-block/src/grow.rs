use strongroom_endpoint_selector::{DiskFacts, GrowDisk, Need, ProveBlank, VerifyDisk};
use strongroom_storage_pool::{ErrorKind, OpContext, PoolError, ResizeVolume, Volume};
use strongroom_types::DiskFormat;

use crate::errand::{Errand, Purpose, volume};
use crate::kind::Kind;
use crate::{BlockPool, BlockStorage, Supply};

const GROW: &str = "grow";

impl<S: BlockStorage> BlockPool<S> {
    /// Makes a volume larger: first its device, then the disk on it, then what is written down. Each step finds what an earlier
    /// attempt did.
    pub(crate) fn grow_volume(
        &self,
        cx: &OpContext<'_>,
        request: &ResizeVolume<'_>,
    ) -> Result<Volume, PoolError> {
        let id = request.volume;
        let _claim = self.claim(cx, GROW, id)?;
        let before = self.existing(cx, GROW, id)?;
        let purpose = Purpose::reading(GROW, id, &before).writing();
        let kind = self.same_side(purpose, request.key)?;
        let need = kind.need(Need::any());
        let facts = self.on_host(cx, purpose, need.clone(), |errand| {
            let location = kind
                .location(&errand.device, before.label.guest)
                .map_err(self.unfit(GROW))?;
            errand.disk(kind, VerifyDisk::new(kind.disk(&location, request.key)))
        })?;
        if request.to < facts.guest {
            let message = format!(
                "volume {id} has {} bytes and would lose some at {}",
                facts.guest.get(),
                request.to.get()
            );
            return Err(self.error(ErrorKind::InvalidRequest, GROW, &message));
        }
        if request.to == facts.guest && request.to == before.label.guest {
            return Ok(volume(id, &before, facts));
        }
        let size = kind
            .device(request.to, self.qcow2_percent)
            .map_err(|e| self.error(ErrorKind::InvalidRequest, GROW, &e.to_string()))?;
        let mut provided = before;
        if provided.size < size {
            let hosts = std::mem::take(&mut provided.hosts);
            provided = self
                .storage
                .resize(cx.call, id, size)
                .map_err(self.failed(GROW))?;
            provided.hosts.extend(hosts);
        }
        let purpose = Purpose::reading(GROW, id, &provided).writing();
        let facts = self.on_host(cx, purpose, need, |errand| {
            let facts = self.grow_disk(errand, purpose, kind, request)?;
            let label = &provided.label;
            self.relabel(cx, purpose, label, &label.with_guest(request.to))?;
            Ok(facts)
        })?;
        Ok(volume(id, &provided, facts))
    }

    fn grow_disk(
        &self,
        errand: &Errand<'_>,
        purpose: Purpose<'_>,
        kind: Kind,
        request: &ResizeVolume<'_>,
    ) -> Result<DiskFacts, PoolError> {
        let unfit = self.unfit(GROW);
        let location = kind.location(&errand.device, request.to).map_err(&unfit)?;
        // What is there may be somebody's, and the guest of a plain volume would read it.
        if kind.format == DiskFormat::Raw && self.storage.features().supply == Supply::Reused {
            let used = kind.used(purpose.provided.label.guest).map_err(&unfit)?;
            errand.done(ProveBlank::new(&location).from(used))?;
        }
        let facts = errand.disk(kind, GrowDisk::new(kind.disk(&location, request.key), request.to))?;
        errand.exactly(facts, request.to)
    }
}
