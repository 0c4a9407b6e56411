//! One piece of work at a time on one volume, and on one virtual machine.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use strongroom_types::{VmId, VolumeId};

use crate::{ControlPlaneError, VmError};

/// Something that one piece of work at a time has to itself.
pub(crate) trait Claimed: Ord + Clone {
    /// The refusal of a second one.
    fn busy(&self) -> ControlPlaneError;
}

impl Claimed for VolumeId {
    fn busy(&self) -> ControlPlaneError {
        ControlPlaneError::Busy { volume: self.clone() }
    }
}

impl Claimed for VmId {
    fn busy(&self) -> ControlPlaneError {
        VmError::Busy { vm: self.clone() }.into()
    }
}

/// The volumes, or virtual machines, on which somebody in this process works. Drivers are promised one call after the other for one
/// volume; this keeps the promise, for work that only reads as well.
#[derive(Debug)]
pub(crate) struct Claims<I>(Mutex<BTreeSet<I>>);

impl<I> Default for Claims<I> {
    fn default() -> Self {
        Self(Mutex::new(BTreeSet::new()))
    }
}

impl<I: Claimed> Claims<I> {
    fn set(&self) -> MutexGuard<'_, BTreeSet<I>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is the caller's until the claim is dropped.
    pub(crate) fn take(&self, id: &I) -> Result<Claim<'_, I>, ControlPlaneError> {
        if self.set().insert(id.clone()) {
            Ok(Claim {
                claims: self,
                id: id.clone(),
            })
        } else {
            Err(id.busy())
        }
    }
}

/// Something on which nobody else works.
#[derive(Debug)]
pub(crate) struct Claim<'c, I: Claimed> {
    claims: &'c Claims<I>,
    id: I,
}

impl<I: Claimed> Drop for Claim<'_, I> {
    fn drop(&mut self) {
        self.claims.set().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_claimed_once_until_the_claim_is_dropped() {
        let claims = Claims::default();
        let (one, other): (VolumeId, VolumeId) = ("one".parse().unwrap(), "other".parse().unwrap());
        let claim = claims.take(&one).unwrap();
        let refused = claims.take(&one).unwrap_err();
        assert!(matches!(refused, ControlPlaneError::Busy { volume } if volume == one));
        drop(claims.take(&other).unwrap());
        drop(claim);
        drop(claims.take(&one).unwrap());
    }
}
