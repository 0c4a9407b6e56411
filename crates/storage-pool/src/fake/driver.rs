use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use strongroom_endpoint_selector::{DiskLocation, ErrorKind, SnapshotAction};
use strongroom_types::{HostId, PoolId, VolumeId};

use super::MemoryPool;
use super::volume::{Change, FakeVolume, device, fingerprint};
use crate::{
    Attachment, Capabilities, CreateVolume, OpContext, PoolDriver, PoolError, PoolUsage, ResizeVolume,
    SnapshotVolume, Volume, VolumeContent,
};

#[deny(clippy::missing_trait_methods)]
impl PoolDriver for MemoryPool {
    fn pool(&self) -> &PoolId {
        &self.pool
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    fn usage(&self, cx: &OpContext<'_>) -> Result<PoolUsage, PoolError> {
        self.run(cx, "usage", None, |state| {
            Ok(PoolUsage::new(self.total, self.free(state)))
        })
    }

    fn create(&self, cx: &OpContext<'_>, request: &CreateVolume<'_>) -> Result<Volume, PoolError> {
        const CREATE: &str = "create";
        self.run(cx, CREATE, Some(request.volume), |state| {
            if !self.capabilities.formats.contains(&request.format) {
                let message = format!("pool {} makes no {} volumes", self.pool, request.format);
                return Err(PoolError::unsupported(CREATE, message));
            }
            let content = match request.content {
                VolumeContent::Blank => None,
                VolumeContent::Template(template) if self.capabilities.templates => {
                    Some(template.image.path.to_owned())
                }
                _ => {
                    let message = format!("pool {} makes no volumes with this content", self.pool);
                    return Err(PoolError::unsupported(CREATE, message));
                }
            };
            let encryption = self.host_side(cx, CREATE, request.format, request.key)?;
            let key = fingerprint(&self.fingerprints, request.key);
            if let Some(there) = state.volumes.get(request.volume) {
                let same = there.facts.guest == request.guest
                    && there.facts.format == request.format
                    && there.key.is_some() == key.is_some();
                if !same {
                    let message = format!("pool {} has another volume {}", self.pool, request.volume);
                    return Err(PoolError::new(ErrorKind::AlreadyExists, CREATE, message));
                }
                there.open(CREATE, key)?;
                return Ok(there.facts());
            }
            let change = Change {
                operation: CREATE,
                rule: self.capabilities.sizes,
            };
            let device = device(change, request.format, encryption, request.guest)?;
            self.room(
                CREATE,
                state,
                strongroom_types::ByteSize::default(),
                device.bytes(),
            )?;
            let id = request.volume.clone();
            let mut facts = Volume::new(id.clone(), request.format, encryption, request.guest, device);
            facts.allocated = device.bytes();
            let volume = FakeVolume {
                facts,
                key,
                content,
                snapshots: BTreeMap::new(),
                attached: BTreeSet::new(),
            };
            Ok(state.volumes.entry(id).or_insert(volume).facts())
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
            let path = PathBuf::from(format!("/memory/{}/{volume}", self.pool));
            let location = DiskLocation::File(path);
            let attachment = Attachment::new(location, there.facts.format, there.facts.encryption);
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
        const GROW: &str = "grow";
        self.run(cx, GROW, Some(request.volume), |state| {
            if !self.capabilities.grow {
                let message = format!("pool {} does not grow volumes", self.pool);
                return Err(PoolError::unsupported(GROW, message));
            }
            let before = self.existing(GROW, state, request.volume)?;
            self.host_side(cx, GROW, before.facts.format, request.key)?;
            before.open(GROW, fingerprint(&self.fingerprints, request.key))?;
            if request.to < before.facts.guest {
                let (id, size, to) = (request.volume, before.facts.guest.get(), request.to.get());
                let message = format!("volume {id} has {size} bytes and would lose some at {to}");
                return Err(PoolError::new(ErrorKind::InvalidRequest, GROW, message));
            }
            let after = self.resized(GROW, state, before, request.to)?;
            let facts = after.facts();
            state.volumes.insert(request.volume.clone(), after);
            Ok(facts)
        })
    }

    fn snapshot(&self, cx: &OpContext<'_>, request: &SnapshotVolume<'_>) -> Result<Volume, PoolError> {
        const SNAPSHOT: &str = "snapshot";
        self.run(cx, SNAPSHOT, Some(request.volume), |state| {
            let before = self.existing(SNAPSHOT, state, request.volume)?;
            if !self.capabilities.snapshot_offline.contains(&before.facts.format) {
                let message = format!("pool {} keeps no snapshots of {}", self.pool, before.facts.format);
                return Err(PoolError::unsupported(SNAPSHOT, message));
            }
            self.host_side(cx, SNAPSHOT, before.facts.format, request.key)?;
            before.open(SNAPSHOT, fingerprint(&self.fingerprints, request.key))?;
            if let Some(host) = before.attached.first() {
                let message = format!("volume {} is attached to {host}; detach it first", request.volume);
                return Err(PoolError::new(ErrorKind::Busy, SNAPSHOT, message));
            }
            let mut after = before.clone();
            match request.action {
                SnapshotAction::Create => {
                    let state = (before.facts.guest, before.content.clone());
                    after.snapshots.entry(request.snapshot.clone()).or_insert(state);
                }
                SnapshotAction::Delete => {
                    after.snapshots.remove(request.snapshot);
                }
                SnapshotAction::Restore => {
                    let (guest, content) = before.snapshots.get(request.snapshot).ok_or_else(|| {
                        let message =
                            format!("volume {} has no snapshot {}", request.volume, request.snapshot);
                        PoolError::new(ErrorKind::NotFound, SNAPSHOT, message)
                    })?;
                    after = self.resized(SNAPSHOT, state, before, *guest)?;
                    after.content.clone_from(content);
                }
            }
            let facts = after.facts();
            state.volumes.insert(request.volume.clone(), after);
            Ok(facts)
        })
    }

    fn recover(&self, cx: &OpContext<'_>) -> Result<(), PoolError> {
        self.run(cx, "recover", None, |_| Ok(()))
    }
}
