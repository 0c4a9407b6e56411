use std::cmp::Ordering;

use strongroom_endpoint_selector::{BaseImage, DiskLocation, ErrorKind};
use strongroom_types::{DiskFormat, HostId, PoolId, TemplateId, VolumeId};

use super::MemoryPool;
use super::volume::{FakeVolume, fingerprint};
use crate::{
    Attachment, Capabilities, CloneVolume, CreateVolume, FlattenVolume, LimitVolume, OpContext, PoolDriver,
    PoolError, PoolUsage, ResizeVolume, SnapshotGroup, SnapshotVolume, Volume,
};

#[deny(clippy::missing_trait_methods)]
impl PoolDriver for MemoryPool {
    fn pool(&self) -> &PoolId {
        &self.pool
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    fn prepare(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        self.run(cx, "prepare", None, |state| {
            state.owner = Some(self.pool.clone());
            Ok(())
        })
    }

    fn usage(&self, cx: &OpContext<'_>) -> Result<PoolUsage, PoolError> {
        self.run(cx, "usage", None, |state| {
            Ok(PoolUsage::new(self.total, self.free(state)))
        })
    }

    fn create(&self, cx: &OpContext<'_>, request: &CreateVolume<'_>) -> Result<Volume, PoolError> {
        self.run(cx, "create", Some(request.volume), |state| {
            self.make(cx, state, request)
        })
    }

    fn delete(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<(), PoolError> {
        self.run(cx, "delete", Some(volume), |state| {
            state.volumes.remove(volume);
            Ok(())
        })
    }

    fn get(&self, cx: &OpContext<'_>, volume: &VolumeId) -> Result<Option<Volume>, PoolError> {
        self.run(cx, "get", Some(volume), |state| {
            Ok(state.volumes.get(volume).map(FakeVolume::facts))
        })
    }

    fn attach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<Attachment, PoolError> {
        self.run(cx, "attach", Some(volume), |state| {
            let there = self.existing("attach", state, volume)?;
            if state.unreachable.contains(host) {
                let message = format!("host {host} does not reach pool {}", self.pool);
                return Err(PoolError::unsupported("attach", message));
            }
            let location = DiskLocation::File(self.path(there));
            let mut attachment = Attachment::new(location, there.facts.format, there.facts.encryption);
            attachment.base = there.facts.overlay_of.as_ref().map(|template| {
                let path = format!("/memory/{}/templates/{template}", self.pool);
                BaseImage::new(path, DiskFormat::Raw)
            });
            attachment.discard = self.capabilities.discard;
            if let Some(there) = state.volumes.get_mut(volume) {
                there.attached.insert(host.clone());
            }
            Ok(attachment)
        })
    }

    fn detach(&self, cx: &OpContext<'_>, volume: &VolumeId, host: &HostId) -> Result<(), PoolError> {
        self.run(cx, "detach", Some(volume), |state| {
            if let Some(there) = state.volumes.get_mut(volume) {
                there.attached.remove(host);
            }
            Ok(())
        })
    }

    fn grow(&self, cx: &OpContext<'_>, request: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        self.run(cx, "grow", Some(request.volume), |state| {
            self.able("grow", self.capabilities.grow, "does not grow volumes")?;
            self.resize(cx, "grow", state, request, Ordering::Greater)
        })
    }

    fn shrink(&self, cx: &OpContext<'_>, request: &ResizeVolume<'_>) -> Result<Volume, PoolError> {
        self.run(cx, "shrink", Some(request.volume), |state| {
            self.able("shrink", self.capabilities.shrink, "does not shrink volumes")?;
            self.resize(cx, "shrink", state, request, Ordering::Less)
        })
    }

    fn snapshot(&self, cx: &OpContext<'_>, request: &SnapshotVolume<'_>) -> Result<Volume, PoolError> {
        self.run(cx, "snapshot", Some(request.volume), |state| {
            self.act(cx, state, request)
        })
    }

    fn snapshot_group(
        &self,
        cx: &OpContext<'_>,
        request: &SnapshotGroup<'_>,
    ) -> Result<Vec<Volume>, PoolError> {
        self.run(cx, "snapshot_group", None, |state| {
            self.take_all(cx, state, request)
        })
    }

    fn clone_volume(&self, cx: &OpContext<'_>, request: &CloneVolume<'_>) -> Result<Volume, PoolError> {
        self.run(cx, "clone_volume", Some(request.volume), |state| {
            self.clone_of(cx, state, request)
        })
    }

    fn flatten(&self, cx: &OpContext<'_>, request: &FlattenVolume<'_>) -> Result<Volume, PoolError> {
        const FLATTEN: &str = "flatten";
        self.run(cx, FLATTEN, Some(request.volume), |state| {
            let there = self.existing(FLATTEN, state, request.volume)?;
            let can = self.capabilities.overlays.contains(&there.facts.format);
            self.able(FLATTEN, can, "makes no overlays, so there are none to flatten")?;
            self.host_side(cx, FLATTEN, there.facts.format, request.key)?;
            there.open(FLATTEN, fingerprint(&state.fingerprints, request.key))?;
            there.closed(FLATTEN)?;
            let mut after = there.clone();
            after.facts.overlay_of = None;
            let facts = after.facts();
            state.volumes.insert(request.volume.clone(), after);
            Ok(facts)
        })
    }

    fn limit(&self, cx: &OpContext<'_>, request: &LimitVolume<'_>) -> Result<(), PoolError> {
        self.run(cx, "limit", Some(request.volume), |state| {
            self.able("limit", self.capabilities.qos, "does not limit volumes")?;
            self.existing("limit", state, request.volume)?;
            if let Some(there) = state.volumes.get_mut(request.volume) {
                there.limits = request.limits;
            }
            Ok(())
        })
    }

    fn forget_template(&self, cx: &OpContext<'_>, template: &TemplateId) -> Result<(), PoolError> {
        const FORGET: &str = "forget_template";
        self.run(cx, FORGET, None, |state| {
            let mut volumes = state.volumes.values();
            if let Some(user) = volumes.find(|v| v.facts.overlay_of.as_ref() == Some(template)) {
                let message = format!("volume {} still reads from template {template}", user.facts.id);
                return Err(PoolError::new(ErrorKind::Busy, FORGET, message));
            }
            state.templates.remove(template);
            Ok(())
        })
    }

    fn recover(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        self.run(cx, "recover", None, |_| Ok(()))
    }
}
