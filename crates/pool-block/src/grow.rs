use strongroom_endpoint_selector::{DiskFacts, GrowDisk, Need, ProveBlank, RescanDevice, VerifyDisk};
use strongroom_storage_pool::{ErrorKind, OpContext, PoolError, ResizeVolume, Volume};
use strongroom_types::DiskFormat;

use crate::errand::{Errand, Purpose};
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
        let now = self.on_disk(cx, purpose, need.clone(), |errand| {
            let location = kind
                .location(&errand.device, before.label.guest)
                .map_err(self.unfit(GROW))?;
            let disk = errand.on_base(kind.disk(&location, request.key));
            let facts = errand.disk(kind, VerifyDisk::new(disk))?;
            Ok(errand.volume(id, &before, facts))
        })?;
        if request.to < now.guest {
            let message = format!(
                "volume {id} has {} bytes and would lose some at {}",
                now.guest.get(),
                request.to.get()
            );
            return Err(self.error(ErrorKind::InvalidRequest, GROW, &message));
        }
        if request.to == now.guest && request.to == before.label.guest {
            return Ok(now);
        }
        let size = kind
            .device(request.to, self.qcow2_percent)
            .map_err(|e| self.error(ErrorKind::InvalidRequest, GROW, &e.to_string()))?;
        let mut provided = before;
        if provided.size < size && self.storage.features().supply == Supply::Reused {
            self.look_again(cx, Purpose::reading(GROW, id, &provided))?;
        }
        if provided.size < size {
            let hosts = std::mem::take(&mut provided.hosts);
            provided = self
                .storage
                .resize(cx.call, id, size)
                .map_err(self.failed(GROW))?;
            provided.hosts.extend(hosts);
        }
        let purpose = Purpose::reading(GROW, id, &provided).writing();
        self.on_disk(cx, purpose, need, |errand| {
            let facts = self.grow_disk(errand, purpose, kind, request)?;
            let label = &provided.label;
            self.relabel(cx, purpose, label, &label.with_guest(request.to))?;
            Ok(errand.volume(id, &provided, facts))
        })
    }

    /// Has the host of a volume look how large the device is now, and tells the storage if its operator made it larger.
    fn look_again(&self, cx: &OpContext<'_>, purpose: Purpose<'_>) -> Result<(), PoolError> {
        let larger = self.on_host(cx, purpose, Need::any(), |errand| {
            let facts = errand.device_facts(RescanDevice::new(&errand.device.path))?;
            let wanted = &errand.device.identity;
            let known = wanted.serial.is_some() && wanted.serial == facts.serial;
            Ok((known && facts.size > wanted.size).then_some(facts.size))
        })?;
        match larger.map(|size| self.storage.found_larger(cx.call, purpose.volume, size)) {
            Some(Err(e)) if e.kind() != ErrorKind::Unsupported => Err(self.failed(GROW)(e)),
            _ => Ok(()),
        }
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
        let disk = errand.on_base(kind.disk(&location, request.key));
        let facts = errand.disk(kind, GrowDisk::new(disk, request.to))?;
        errand.exactly(facts, request.to)
    }
}
