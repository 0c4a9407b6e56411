use strongroom_endpoint_selector::{ErrorKind, SnapshotAction};
use strongroom_types::{SnapshotId, VolumeId};

use super::volume::{FakeVolume, fingerprint};
use super::{MemoryPool, State};
use crate::{OpContext, PoolError, SnapshotGroup, SnapshotVolume, Volume, VolumeKey};

const SNAPSHOT: &str = "snapshot";
const GROUP: &str = "snapshot_group";

impl MemoryPool {
    pub(super) fn act(
        &self,
        cx: &OpContext<'_>,
        state: &mut State,
        request: &SnapshotVolume<'_>,
    ) -> Result<Volume, PoolError> {
        let before = self.ready(cx, SNAPSHOT, state, (request.volume, request.key))?;
        let mut after = before.clone();
        match request.action {
            SnapshotAction::Create => take(&mut after, request.snapshot),
            SnapshotAction::Delete => drop(after.snapshots.remove(request.snapshot)),
            SnapshotAction::Restore => {
                self.able(SNAPSHOT, self.capabilities.revert, "brings no volume back")?;
                before.closed(SNAPSHOT)?;
                let (guest, content) = before.snapshots.get(request.snapshot).ok_or_else(|| {
                    let message = format!("volume {} has no snapshot {}", request.volume, request.snapshot);
                    PoolError::new(ErrorKind::NotFound, SNAPSHOT, message)
                })?;
                after = self.resized(SNAPSHOT, state, before, *guest)?;
                after.content.clone_from(content);
            }
        }
        let facts = after.facts();
        state.volumes.insert(request.volume.clone(), after);
        Ok(facts)
    }

    pub(super) fn take_all(
        &self,
        cx: &OpContext<'_>,
        state: &mut State,
        request: &SnapshotGroup<'_>,
    ) -> Result<Vec<Volume>, PoolError> {
        let can = self.capabilities.snapshot_group;
        self.able(GROUP, can, "keeps no snapshots of several volumes at one instant")?;
        let mut after = Vec::new();
        for volume in request.volumes {
            after.push(self.ready(cx, GROUP, state, *volume)?.clone());
        }
        let have = after
            .iter()
            .filter(|v| v.snapshots.contains_key(request.snapshot));
        let have = have.count();
        if have > 0 && have < after.len() {
            let message = format!(
                "{have} of {} volumes have a snapshot {}",
                after.len(),
                request.snapshot
            );
            return Err(PoolError::new(ErrorKind::AlreadyExists, GROUP, message));
        }
        for volume in &mut after {
            take(volume, request.snapshot);
        }
        let facts = after.iter().map(FakeVolume::facts).collect();
        state
            .volumes
            .extend(after.into_iter().map(|v| (v.facts.id.clone(), v)));
        Ok(facts)
    }

    /// The volume, if the key opens it and it is in a state of which the pool takes snapshots.
    fn ready<'s>(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        state: &'s State,
        (volume, key): (&VolumeId, VolumeKey<'_>),
    ) -> Result<&'s FakeVolume, PoolError> {
        let there = self.existing(operation, state, volume)?;
        let (format, offline) = (there.facts.format, &self.capabilities.snapshot_offline);
        let online = self.capabilities.snapshot_online.contains(&format);
        let what = format!("keeps no snapshots of {format}");
        self.able(operation, online || offline.contains(&format), &what)?;
        self.host_side(cx, operation, format, key)?;
        there.open(operation, fingerprint(&state.fingerprints, key))?;
        if !online {
            there.closed(operation)?;
        } else if there.attached.is_empty() {
            self.able(operation, offline.contains(&format), &what)?;
        }
        Ok(there)
    }
}

fn take(volume: &mut FakeVolume, snapshot: &SnapshotId) {
    let state = (volume.facts.guest, volume.content.clone());
    volume.snapshots.entry(snapshot.clone()).or_insert(state);
}
