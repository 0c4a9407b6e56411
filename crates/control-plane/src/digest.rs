use strongroom_endpoint_selector::{ContentDigest, DigestContent, Disk, Endpoint, HostAnswer};
use strongroom_types::{Call, GuestSize, VolumeId};

use crate::host_work::{odd_answer, run};
use crate::{ControlPlane, ControlPlaneError, VolumeRecord};

/// Has a host compute the digest of what a guest reads of a disk.
pub(crate) fn digest_of(
    endpoint: &dyn Endpoint,
    call: &Call,
    action: &str,
    disk: Disk<'_>,
    first: Option<GuestSize>,
) -> Result<ContentDigest, ControlPlaneError> {
    match run(
        endpoint,
        call,
        action,
        &DigestContent::new(disk).first(first).into(),
    )? {
        HostAnswer::Digest(digest) => Ok(digest),
        _ => Err(odd_answer(endpoint, action)),
    }
}

/// Refuses a copy that does not read as what was copied.
pub(crate) fn same(
    record: &VolumeRecord,
    copied: &str,
    now: &str,
    of: &str,
) -> Result<(), ControlPlaneError> {
    if copied == now {
        return Ok(());
    }
    Err(ControlPlaneError::Changed {
        volume: record.disk_of.as_ref().unwrap_or(&record.id).clone(),
        source_name: of.to_owned(),
    })
}

impl ControlPlane {
    /// The SHA-256 of what a guest would read of a volume that nobody writes to, through its cipher.
    ///
    /// # Errors
    /// As for [`verify_volume`](Self::verify_volume).
    pub fn digest_volume(&self, call: &Call, id: &VolumeId) -> Result<ContentDigest, ControlPlaneError> {
        let _claim = self.claim(id)?;
        let record = self.ready_volume(id)?;
        self.digest(call, &record, None)
    }

    /// The digest of a volume, or of its first bytes.
    pub(crate) fn digest(
        &self,
        call: &Call,
        record: &VolumeRecord,
        first: Option<GuestSize>,
    ) -> Result<ContentDigest, ControlPlaneError> {
        let key = self.unseal(record)?;
        let action = format!("read volume {} from end to end", record.id);
        self.on_host(call, record, &action, |at| {
            digest_of(at.endpoint, call, &action, at.disk(&key), first)
        })
    }
}
