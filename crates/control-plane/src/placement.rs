//! Which pool a new volume goes to.

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use strongroom_storage_pool::{Capabilities, Encryption, PoolDriver};
use strongroom_types::{ByteSize, Call, DiskFormat, EncryptionFormat, PoolId};

use crate::{ControlPlane, ControlPlaneError, NewVolume, OfferingRecord, PoolRecord, pool};

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
    free: ByteSize,
}

/// With which LUKS a pool would have a volume of this offering, or every reason for which it will not.
fn fit(
    can: &Capabilities,
    offering: &OfferingRecord,
    template: bool,
) -> Result<Option<EncryptionFormat>, String> {
    let mut reasons = Vec::new();
    let mut encryption = None;
    if offering.encrypt {
        match can.encryption {
            Encryption::OnHost(EncryptionFormat::Luks2) if offering.format == DiskFormat::Qcow2 => {
                reasons.push("encrypts with luks2, which qcow2 does not have".to_owned());
            }
            Encryption::OnHost(format) => encryption = Some(format),
            Encryption::Unsupported => reasons.push("cannot encrypt".to_owned()),
            _ => reasons.push("encrypts in the storage, where nobody here can check it".to_owned()),
        }
    }
    if !can.formats.contains(&offering.format) {
        reasons.push(format!("makes no {} volumes", offering.format));
    }
    if template && !can.templates {
        reasons.push("makes no volumes from templates".to_owned());
    }
    if reasons.is_empty() {
        Ok(encryption)
    } else {
        Err(reasons.join(", "))
    }
}

impl ControlPlane {
    /// The pools that can have the volume, that with the most free space first, and the refusals of the others. Only the named
    /// pool is looked at when one is named.
    pub(crate) fn candidates(
        &self,
        call: &Call,
        offering: &OfferingRecord,
        new: &NewVolume,
    ) -> Result<(Vec<Candidate>, Vec<PoolRefusal>), ControlPlaneError> {
        let mut pools = self.pools()?;
        if let Some(named) = &new.pool {
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
            match self.candidate(call, offering, new, &record) {
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

    fn candidate(
        &self,
        call: &Call,
        offering: &OfferingRecord,
        new: &NewVolume,
        record: &PoolRecord,
    ) -> Result<Candidate, String> {
        let unusable = |e: ControlPlaneError| format!("cannot be used: {}", e.chain());
        let driver = self.open_pool(record).map_err(unusable)?;
        let encryption = fit(&driver.capabilities(), offering, new.template.is_some())?;
        let usage = driver
            .usage(&self.context(call))
            .map_err(pool::failed(&record.id, "say how full it is"))
            .map_err(unusable)?;
        Ok(Candidate {
            pool: record.id.clone(),
            driver,
            encryption,
            free: usage.free,
        })
    }
}
