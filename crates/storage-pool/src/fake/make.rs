use strongroom_endpoint_selector::ErrorKind;
use strongroom_types::ByteSize;

use super::volume::{Change, FakeVolume, device, fingerprint};
use super::{MemoryPool, State};
use crate::{CloneKey, CloneKind, CloneVolume, CreateVolume, OpContext, PoolError, Volume};

const CREATE: &str = "create";
const CLONE: &str = "clone_volume";

impl MemoryPool {
    pub(super) fn make(
        &self,
        cx: &OpContext<'_>,
        state: &mut State,
        request: &CreateVolume<'_>,
    ) -> Result<Volume, PoolError> {
        let formats = &self.capabilities.formats;
        let what = format!("makes no {} volumes", request.format);
        self.able(CREATE, formats.contains(&request.format), &what)?;
        self.admit(request)?;
        let encryption = self.host_side(cx, CREATE, request.format, request.key)?;
        let key = fingerprint(&state.fingerprints, request.key);
        let change = Change {
            operation: CREATE,
            rule: self.capabilities.sizes,
        };
        let device = device(change, request.format, encryption, request.guest)?;
        let id = request.volume.clone();
        let mut facts = Volume::new(id, request.format, encryption, request.guest, device);
        facts.allocated = device.bytes();
        if let Some(there) = self.same(CREATE, state, &facts, key)? {
            return Ok(there);
        }
        self.room(CREATE, state, ByteSize::default(), device.bytes())?;
        let filling = self.filling(state, request)?;
        facts.overlay_of = filling.overlay_of;
        Ok(add(state, FakeVolume::new(facts, key, filling.content)))
    }

    pub(super) fn clone_of(
        &self,
        cx: &OpContext<'_>,
        state: &mut State,
        request: &CloneVolume<'_>,
    ) -> Result<Volume, PoolError> {
        let kind = match request.key {
            CloneKey::Own(_) => CloneKind::OwnKey,
            CloneKey::Shared => CloneKind::SharedKey,
        };
        let can = self.capabilities.clone.contains(&kind);
        self.able(CLONE, can, "does not clone volumes in this way")?;
        let source = self.existing(CLONE, state, request.source)?;
        self.host_side(cx, CLONE, source.facts.format, request.source_key)?;
        source.open(CLONE, fingerprint(&state.fingerprints, request.source_key))?;
        let key = match request.key {
            CloneKey::Own(key) => fingerprint(&state.fingerprints, key),
            CloneKey::Shared => source.key,
        };
        if key.is_some() != source.key.is_some() {
            let message = format!(
                "a clone is on the same side of the cipher as volume {}",
                request.source
            );
            return Err(PoolError::new(ErrorKind::InvalidRequest, CLONE, message));
        }
        let mut facts = source.facts.clone();
        facts.id = request.volume.clone();
        facts.overlay_of = None;
        let content = source.content.clone();
        if let Some(there) = self.same(CLONE, state, &facts, key)? {
            return Ok(there);
        }
        self.room(CLONE, state, ByteSize::default(), facts.allocated)?;
        Ok(add(state, FakeVolume::new(facts, key, content)))
    }

    /// The volume that is there already, if it is as wanted and the key opens it; `None` when the name is free.
    fn same(
        &self,
        operation: &'static str,
        state: &State,
        wanted: &Volume,
        key: Option<u64>,
    ) -> Result<Option<Volume>, PoolError> {
        let Some(there) = state.volumes.get(&wanted.id) else {
            return Ok(None);
        };
        let facts = &there.facts;
        let same = (facts.guest, facts.format) == (wanted.guest, wanted.format);
        if !same || there.key.is_some() != key.is_some() {
            let message = format!("pool {} has another volume {}", self.pool, wanted.id);
            return Err(PoolError::new(ErrorKind::AlreadyExists, operation, message));
        }
        there.open(operation, key)?;
        Ok(Some(there.facts()))
    }
}

fn add(state: &mut State, volume: FakeVolume) -> Volume {
    let facts = volume.facts();
    state.volumes.insert(facts.id.clone(), volume);
    facts
}
