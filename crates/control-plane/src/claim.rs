//! One piece of work at a time on one volume.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use strongroom_types::VolumeId;

use crate::ControlPlaneError;

/// The volumes on which somebody in this process works. Drivers are promised one call after the other for one volume; this
/// keeps the promise, for work that only reads as well.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<BTreeSet<VolumeId>>);

impl Claims {
    fn set(&self) -> MutexGuard<'_, BTreeSet<VolumeId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The volume is the caller's until the claim is dropped.
    pub(crate) fn take(&self, volume: &VolumeId) -> Result<Claim<'_>, ControlPlaneError> {
        if self.set().insert(volume.clone()) {
            Ok(Claim {
                claims: self,
                volume: volume.clone(),
            })
        } else {
            Err(ControlPlaneError::Busy {
                volume: volume.clone(),
            })
        }
    }
}

/// A volume on which nobody else works.
#[derive(Debug)]
pub(crate) struct Claim<'c> {
    claims: &'c Claims,
    volume: VolumeId,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.claims.set().remove(&self.volume);
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
