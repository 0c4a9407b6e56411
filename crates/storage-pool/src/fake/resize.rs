use std::cmp::Ordering;

use strongroom_endpoint_selector::ErrorKind;
use strongroom_types::GuestSize;

use super::volume::{Change, FakeVolume, fingerprint};
use super::{MemoryPool, State};
use crate::{OpContext, PoolError, ResizeVolume, Volume};

impl MemoryPool {
    /// Gives a volume another size, if it lies in this direction.
    pub(super) fn resize(
        &self,
        cx: &OpContext<'_>,
        operation: &'static str,
        state: &mut State,
        request: &ResizeVolume<'_>,
        direction: Ordering,
    ) -> Result<Volume, PoolError> {
        let before = self.existing(operation, state, request.volume)?;
        self.host_side(cx, operation, before.facts.format, request.key)?;
        before.open(operation, fingerprint(&state.fingerprints, request.key))?;
        if direction == Ordering::Less {
            before.closed(operation)?;
        }
        let there = before.facts.guest;
        if ![Ordering::Equal, direction].contains(&request.to.cmp(&there)) {
            let problem = match direction {
                Ordering::Less => "would not be smaller",
                _ => "would lose some",
            };
            let (id, size, to) = (request.volume, there.get(), request.to.get());
            let message = format!("volume {id} has {size} bytes and {problem} at {to}");
            return Err(PoolError::new(ErrorKind::InvalidRequest, operation, message));
        }
        let after = self.resized(operation, state, before, request.to)?;
        let facts = after.facts();
        state.volumes.insert(request.volume.clone(), after);
        Ok(facts)
    }

    /// A copy of the volume with another size, if it fits.
    pub(super) fn resized(
        &self,
        operation: &'static str,
        state: &State,
        before: &FakeVolume,
        to: GuestSize,
    ) -> Result<FakeVolume, PoolError> {
        let mut after = before.clone();
        let rule = self.capabilities.sizes;
        after.resize(Change { operation, rule }, to)?;
        self.room(operation, state, before.facts.allocated, after.facts.allocated)?;
        Ok(after)
    }
}
