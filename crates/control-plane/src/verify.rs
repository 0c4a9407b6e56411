use strongroom_endpoint_selector::{DiskFacts, DiskLocation, HostAnswer, Verification, VerifyDisk};
use strongroom_types::{Call, DiskFormat, EncryptionFormat, SnapshotId, VolumeId};

use crate::host_work::{OnHost, odd_answer, run};
use crate::key::Key;
use crate::{ControlPlane, ControlPlaneError, VolumeRecord, snapshot_table};

impl ControlPlane {
    /// Proves that a volume is what its record says: a host reads the header, opens the disk with the stored key and checks
    /// its metadata, and what it found is compared with the record. What was checked is in the answer.
    ///
    /// A qcow2 disk has its snapshots inside: it must have every one that is recorded. One that it has beyond them is named in
    /// what was checked.
    ///
    /// # Errors
    /// [`Mismatch`](ControlPlaneError::Mismatch), [`Host`](ControlPlaneError::Host) when the disk is damaged or the key does
    /// not open it, [`Key`](ControlPlaneError::Key) when the key is missing or does not unseal,
    /// [`NoHost`](ControlPlaneError::NoHost), [`Pool`](ControlPlaneError::Pool),
    /// [`Unfinished`](ControlPlaneError::Unfinished).
    pub fn verify_volume(&self, call: &Call, id: &VolumeId) -> Result<Verification, ControlPlaneError> {
        let _claim = self.claim(id)?;
        let record = self.ready_volume(id)?;
        let recorded: Vec<SnapshotId> = self.read("list snapshots", |connection| {
            let snapshots = snapshot_table::list(connection, id)?;
            Ok(snapshots.into_iter().map(|s| s.id).collect())
        })?;
        let key = self.unseal(&record)?;
        let action = format!("verify volume {id}");
        let mut verified = self.on_host(call, &record, &action, |at| verify_disk(call, at, &key, &action))?;
        compare(&record, &recorded, &verified.facts)?;
        verified.checked.push(format!(
            "the record agrees: {}, {}, {} bytes",
            record.format,
            word(record.encryption),
            record.guest.get()
        ));
        if record.format == DiskFormat::Qcow2 {
            verified
                .checked
                .extend(compared_snapshots(&recorded, &verified.facts.snapshots));
        }
        Ok(verified)
    }
}

/// Has the host prove the disk with the key.
pub(crate) fn verify_disk(
    call: &Call,
    at: &OnHost<'_>,
    key: &Key,
    action: &str,
) -> Result<Verification, ControlPlaneError> {
    match run(at.endpoint, call, action, &VerifyDisk::new(at.disk(key)).into())? {
        HostAnswer::Verified(verified) => Ok(verified),
        _ => Err(odd_answer(at.endpoint, action)),
    }
}

/// Snapshots with commas in between.
fn names<'a>(snapshots: impl Iterator<Item = &'a SnapshotId>) -> String {
    snapshots.map(SnapshotId::as_str).collect::<Vec<_>>().join(", ")
}

/// What is to be said of a disk that has every recorded snapshot.
fn compared_snapshots(recorded: &[SnapshotId], seen: &[SnapshotId]) -> Vec<String> {
    let mut lines = Vec::new();
    if !recorded.is_empty() {
        lines.push(format!(
            "every recorded snapshot is there: {}",
            names(recorded.iter())
        ));
    }
    let unknown = names(seen.iter().filter(|s| !recorded.contains(s)));
    if !unknown.is_empty() {
        lines.push(format!("the disk has snapshots that no record knows: {unknown}"));
    }
    lines
}

fn word(encryption: Option<EncryptionFormat>) -> &'static str {
    encryption.map_or("not encrypted", EncryptionFormat::as_str)
}

/// Compares the record with what is on disk.
fn compare(
    record: &VolumeRecord,
    snapshots: &[SnapshotId],
    facts: &DiskFacts,
) -> Result<(), ControlPlaneError> {
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
    // A qcow2 file grows as it is written: its size says nothing. Of a block device a raw disk has only what it needs.
    let whole = matches!(facts.location, DiskLocation::File(_));
    if record.format == DiskFormat::Raw && whole && record.device != Some(facts.device) {
        let said = record.device.map_or(0, |d| d.get());
        problems.push(format!("its device has {} bytes, not {said}", facts.device.get()));
    }
    // What a pool keeps beside a raw disk is not in the disk.
    if record.format == DiskFormat::Qcow2 {
        let missing = names(snapshots.iter().filter(|s| !facts.snapshots.contains(s)));
        if !missing.is_empty() {
            problems.push(format!("it lacks the recorded snapshots {missing}"));
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(ControlPlaneError::Mismatch {
        volume: record.id.clone(),
        problem: problems.join(", "),
    })
}
