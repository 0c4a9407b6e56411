//! Which pool a new volume goes to.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use strongroom_storage_pool::{Capabilities, CloneKind, Encryption, PoolDriver};
use strongroom_types::{ByteSize, Call, DiskFormat, EncryptionFormat, PoolId};

use crate::{ControlPlane, ControlPlaneError, OfferingRecord, PoolRecord, pool};

/// How long one pool may take to say how full it is, so that one that hangs keeps no other from being asked.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a pool will not do for a volume. It prints as `main cannot encrypt`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolRefusal {
    /// Which pool.
    pub pool: PoolId,
    /// Every reason, as a fragment that follows the pool's name.
    pub reason: String,
}

impl fmt::Display for PoolRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pool, self.reason)
    }
}

/// A pool that can have the volume.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) pool: PoolId,
    pub(crate) driver: Arc<dyn PoolDriver>,
    /// With which LUKS its host will encrypt; `None` for a plain volume.
    pub(crate) encryption: Option<EncryptionFormat>,
    pub(crate) format: DiskFormat,
    free: ByteSize,
}

/// What a pool must be able to put into a new volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filling {
    Blank,
    Template,
    Overlay,
    Copy,
    /// A clone that shares the key of its source.
    SharedClone,
}

/// What is asked of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) encrypt: bool,
    pub(crate) format: DiskFormat,
    pub(crate) filling: Filling,
}

impl Wish {
    pub(crate) fn of(offering: &OfferingRecord, filling: Filling) -> Self {
        Self {
            encrypt: offering.encrypt,
            format: offering.format,
            filling,
        }
    }
}

/// With which LUKS a pool would have such a volume, or every reason for which it will not.
fn fit(can: &Capabilities, wish: &Wish) -> Result<Option<EncryptionFormat>, String> {
    let mut reasons = Vec::new();
    let mut encryption = None;
    if wish.encrypt {
        match can.encryption {
            Encryption::OnHost(EncryptionFormat::Luks2) if wish.format == DiskFormat::Qcow2 => {
                reasons.push("encrypts with luks2, which qcow2 does not have".to_owned());
            }
            Encryption::OnHost(format) => encryption = Some(format),
            Encryption::Unsupported => reasons.push("cannot encrypt".to_owned()),
            _ => reasons.push("encrypts in the storage, where nobody here can check it".to_owned()),
        }
    }
    if !can.formats.contains(&wish.format) {
        reasons.push(format!("makes no {} volumes", wish.format));
    }
    let missing = match wish.filling {
        Filling::Template if !can.templates => Some("makes no volumes from templates".to_owned()),
        Filling::Overlay if !can.overlays.contains(&wish.format) => {
            Some(format!("makes no {} overlays on templates", wish.format))
        }
        Filling::Copy if !can.copies => Some("makes no volumes as copies of other disks".to_owned()),
        Filling::SharedClone if !can.clone.contains(&CloneKind::SharedKey) => {
            Some("makes no clones that share a key".to_owned())
        }
        _ => None,
    };
    reasons.extend(missing);
    if reasons.is_empty() {
        Ok(encryption)
    } else {
        Err(reasons.join(", "))
    }
}

/// The same call, but over after so long at the latest. It reports no progress: that is for the work itself.
fn at_most(call: &Call, patience: Duration) -> Call {
    let left = call.remaining().map_or(patience, |left| left.min(patience));
    Call::new()
        .with_cancellation(call.cancellation().clone())
        .with_timeout(left)
}

impl ControlPlane {
    /// The pools that can have the volume, that with the most free space first, and the refusals of the others. Only the named
    /// pool is looked at when one is named. A pool that does not answer in time is refused like one that fails.
    pub(crate) fn candidates(
        &self,
        call: &Call,
        wish: &Wish,
        named: Option<&PoolId>,
    ) -> Result<(Vec<Candidate>, Vec<PoolRefusal>), ControlPlaneError> {
        let mut pools = self.pools()?;
        if let Some(named) = named {
            pools.retain(|p| p.id == *named);
            if pools.is_empty() {
                return Err(ControlPlaneError::Unknown {
                    what: "pool",
                    id: named.to_string(),
                });
            }
        }
        let (mut candidates, mut refusals) = (Vec::new(), Vec::new());
        for record in pools {
            match self.candidate(call, wish, &record) {
                Ok(candidate) => candidates.push(candidate),
                Err(reason) => refusals.push(PoolRefusal {
                    pool: record.id,
                    reason,
                }),
            }
        }
        // Ids come in order and the sort is stable: among equals the smallest id is first.
        candidates.sort_by_key(|c| Reverse(c.free));
        if candidates.is_empty() {
            // Pools that were stopped while they answered have not refused.
            call.check().map_err(|source| ControlPlaneError::Interrupted {
                action: "a pool was chosen",
                source,
            })?;
            return Err(ControlPlaneError::NoPool { refusals });
        }
        Ok((candidates, refusals))
    }

    fn candidate(&self, call: &Call, wish: &Wish, record: &PoolRecord) -> Result<Candidate, String> {
        let unusable = |e: ControlPlaneError| format!("cannot be used: {}", e.chain());
        let driver = self.open_pool(record).map_err(unusable)?;
        let encryption = fit(&driver.capabilities(), wish)?;
        let usage = driver
            .usage(&self.context(&at_most(call, PATIENCE)))
            .map_err(pool::failed(&record.id, "say how full it is"))
            .map_err(unusable)?;
        Ok(Candidate {
            pool: record.id.clone(),
            driver,
            encryption,
            format: wish.format,
            free: usage.free,
        })
    }

    /// The one pool, which is to have the volume.
    pub(crate) fn the_pool(
        &self,
        call: &Call,
        wish: &Wish,
        pool: &PoolId,
    ) -> Result<Candidate, ControlPlaneError> {
        let (candidates, refusals) = self.candidates(call, wish, Some(pool))?;
        candidates
            .into_iter()
            .next()
            .ok_or(ControlPlaneError::NoPool { refusals })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_so_long_to_answer_and_no_longer_than_the_caller_waits() {
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(3600));
        for (call, most) in [
            (Call::new(), PATIENCE),
            (Call::new().with_timeout(long), PATIENCE),
            (Call::new().with_timeout(short), short),
        ] {
            let asked = at_most(&call, PATIENCE);
            assert!(asked.remaining().is_some_and(|left| left <= most), "{asked:?}");
            call.cancellation().cancel();
            assert!(asked.cancellation().is_cancelled());
        }
    }
}
