use strongroom_endpoint_selector::{Need, SnapshotAction, SnapshotDisk, VerifyDisk};
use strongroom_storage_pool::{ErrorKind, OpContext, PoolError, SnapshotVolume, Volume};
use strongroom_types::DiskFormat;

use crate::errand::Purpose;
use crate::kind::Kind;
use crate::{BlockPool, BlockStorage, Stage};

const SNAPSHOT: &str = "snapshot";

impl<S: BlockStorage> BlockPool<S> {
    /// Snapshots by the storage where it has them; inside the disk where the format has them.
    pub(crate) fn snapshot_volume(
        &self,
        cx: &OpContext<'_>,
        request: &SnapshotVolume<'_>,
    ) -> Result<Volume, PoolError> {
        let provided = self.existing(cx, SNAPSHOT, request.volume)?;
        let purpose = Purpose::reading(SNAPSHOT, request.volume, &provided).writing();
        let kind = self.same_side(purpose, request.key)?;
        if self.storage.features().snapshots {
            return self.snapshot_device(cx, purpose, request);
        }
        if kind.format != DiskFormat::Qcow2 {
            let message = format!("volume {} is {kind}; only qcow2 keeps snapshots", request.volume);
            return Err(self.error(ErrorKind::Unsupported, SNAPSHOT, &message));
        }
        self.on_disk(cx, purpose, kind.need(Need::any()), |errand| {
            let location = kind
                .location(&errand.device, provided.label.guest)
                .map_err(self.unfit(SNAPSHOT))?;
            let disk = errand.on_base(kind.disk(&location, request.key));
            let facts = errand.disk(kind, SnapshotDisk::new(disk, request.snapshot, request.action))?;
            Ok(errand.volume(request.volume, &provided, facts))
        })
    }

    /// The key must open the volume before anything is done, and whatever is there afterwards.
    fn snapshot_device(
        &self,
        cx: &OpContext<'_>,
        purpose: Purpose<'_>,
        request: &SnapshotVolume<'_>,
    ) -> Result<Volume, PoolError> {
        let before = purpose.provided;
        let online = self.storage.features().snapshots_online && request.action != SnapshotAction::Restore;
        if let Some(host) = before.hosts.first().filter(|_| !online) {
            let message = format!("host {host} has volume {}; detach it first", request.volume);
            return Err(self.error(ErrorKind::Busy, SNAPSHOT, &message));
        }
        if request.action == SnapshotAction::Restore {
            self.may_restore(purpose, request)?;
        }
        self.proven(cx, purpose, request)?;
        self.storage
            .snapshot(cx.call, request.volume, request.snapshot, request.action)
            .map_err(self.failed(SNAPSHOT))?;
        let mut after = self.existing(cx, SNAPSHOT, request.volume)?;
        after.hosts.extend(before.hosts.iter().cloned());
        let purpose = Purpose {
            provided: &after,
            ..purpose
        };
        self.proven(cx, purpose, request)
    }

    /// Only the same kind of volume may be put in the place of one.
    fn may_restore(&self, purpose: Purpose<'_>, request: &SnapshotVolume<'_>) -> Result<(), PoolError> {
        let (id, snapshot, label) = (request.volume, request.snapshot, &purpose.provided.label);
        let (kind, message) = match purpose.provided.snapshots.get(snapshot) {
            None => (
                ErrorKind::NotFound,
                format!("volume {id} has no snapshot {snapshot}"),
            ),
            Some(then) if then.stage != Stage::Ready || Kind::of(then) != Kind::of(label) => (
                ErrorKind::WrongDisk,
                format!(
                    "snapshot {snapshot} is {}, volume {id} is {}; it stays as it is",
                    Kind::of(then),
                    Kind::of(label)
                ),
            ),
            Some(_) => return Ok(()),
        };
        Err(self.error(kind, SNAPSHOT, &message))
    }

    /// The volume, if its key opens it and a guest sees what is written down.
    fn proven(
        &self,
        cx: &OpContext<'_>,
        purpose: Purpose<'_>,
        request: &SnapshotVolume<'_>,
    ) -> Result<Volume, PoolError> {
        let label = &purpose.provided.label;
        let kind = self.same_side(purpose, request.key)?;
        self.on_disk(cx, purpose, kind.need(Need::any()), |errand| {
            let location = kind
                .location(&errand.device, label.guest)
                .map_err(self.unfit(SNAPSHOT))?;
            let disk = errand.on_base(kind.disk(&location, request.key));
            let mut facts = errand.disk(kind, VerifyDisk::new(disk))?;
            if kind.format == DiskFormat::Raw {
                facts = errand.exactly(facts, label.guest)?;
            }
            Ok(errand.volume(purpose.volume, purpose.provided, facts))
        })
    }
}
