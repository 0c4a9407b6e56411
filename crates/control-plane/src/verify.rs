use strongroom_endpoint_selector::{DiskFacts, HostAnswer, Verification, VerifyDisk};
use strongroom_types::{Call, DiskFormat, EncryptionFormat, VolumeId};

use crate::host_work::{odd_answer, run};
use crate::{ControlPlane, ControlPlaneError, VolumeRecord};

impl ControlPlane {
    /// Proves that a volume is what its record says: a host reads the header, opens the disk with the stored key and checks
    /// its metadata, and what it found is compared with the record. What was checked is in the answer.
    ///
    /// # Errors
    /// [`Mismatch`](ControlPlaneError::Mismatch), [`Host`](ControlPlaneError::Host) when the disk is damaged or the key does
    /// not open it, [`Key`](ControlPlaneError::Key) when the key is missing or does not unseal,
    /// [`NoHost`](ControlPlaneError::NoHost), [`Pool`](ControlPlaneError::Pool),
    /// [`Unfinished`](ControlPlaneError::Unfinished).
    pub fn verify_volume(&self, call: &Call, id: &VolumeId) -> Result<Verification, ControlPlaneError> {
        let _claim = self.claims.take(id)?;
        let record = self.ready_volume(id)?;
        let key = self.unseal(&record)?;
        let action = format!("verify volume {id}");
        let mut verified = self.on_host(call, &record, &action, |at| {
            match run(at.endpoint, call, &action, &VerifyDisk::new(at.disk(&key)).into())? {
                HostAnswer::Verified(verified) => Ok(verified),
                _ => Err(odd_answer(at.endpoint, &action)),
            }
        })?;
        compare(&record, &verified.facts)?;
        verified.checked.push(format!(
            "the record agrees: {}, {}, {} bytes",
            record.format,
            word(record.encryption),
            record.guest.get()
        ));
        Ok(verified)
    }
}

fn word(encryption: Option<EncryptionFormat>) -> &'static str {
    encryption.map_or("not encrypted", EncryptionFormat::as_str)
}

/// Compares the record with what is on disk.
fn compare(record: &VolumeRecord, facts: &DiskFacts) -> Result<(), ControlPlaneError> {
    let mut problems = Vec::new();
    if facts.format != record.format {
        problems.push(format!("it is {}, not {}", facts.format, record.format));
    }
    if facts.encryption != record.encryption {
        problems.push(format!(
            "it is {}, not {}",
            word(facts.encryption),
            word(record.encryption)
        ));
    }
    if facts.guest != record.guest {
        let (seen, said) = (facts.guest.get(), record.guest.get());
        problems.push(format!("its guest sees {seen} bytes, not {said}"));
    }
    // A qcow2 file grows as it is written: its size says nothing.
    if record.format == DiskFormat::Raw && record.device != Some(facts.device) {
        let said = record.device.map_or(0, |d| d.get());
        problems.push(format!("its device has {} bytes, not {said}", facts.device.get()));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(ControlPlaneError::Mismatch {
        volume: record.id.clone(),
        problem: problems.join(", "),
    })
}
