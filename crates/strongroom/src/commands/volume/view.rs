use anyhow::Result;
use comfy_table::Table;
use serde::Serialize;
use strongroom_control_plane::{Erasure, ExportRecord, VolumeRecord};
use strongroom_types::{
    ByteSize, DiskFormat, EncryptionFormat, HostId, OfferingId, PassphraseId, PoolId, SnapshotId, TemplateId,
    VolumeId,
};

use crate::output::table;
use crate::session::Session;

/// A volume as it is shown. Sizes are in bytes.
#[derive(Debug, Serialize)]
pub(super) struct VolumeView {
    id: VolumeId,
    offering: OfferingId,
    pool: PoolId,
    /// The name of its disk in the pool.
    disk: VolumeId,
    state: String,
    format: DiskFormat,
    /// The LUKS it is encrypted with; null for a plain volume.
    encryption: Option<EncryptionFormat>,
    /// What the guest sees.
    size: u64,
    /// What the storage provided when the volume was last worked on; null until it is made. Of a qcow2, the length of the file.
    device_size: Option<u64>,
    /// Names the sealed key, and is not the key.
    passphrase: Option<PassphraseId>,
    /// The template that it still reads from, in clear; null when it stands alone.
    template: Option<TemplateId>,
    /// The volumes that share its key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shares_key_with: Vec<VolumeId>,
    /// The volume whose next or former disk this is.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_of: Option<VolumeId>,
    snapshots: Vec<SnapshotId>,
    header_backups: Vec<String>,
    /// The files to which its content was written.
    exports: Vec<String>,
}

pub(super) fn view(session: &Session, record: VolumeRecord) -> Result<VolumeView> {
    let control = &session.control;
    let snapshots = control.snapshots(&record.id)?.into_iter().map(|s| s.id).collect();
    let backups = control.header_backups(&record.id)?.into_iter();
    let exports = control.exports()?.into_iter();
    let own = |e: &ExportRecord| e.volume == record.id && !e.volume_gone;
    Ok(VolumeView {
        snapshots,
        header_backups: backups.map(|b| b.path.display().to_string()).collect(),
        exports: exports
            .filter(own)
            .map(|e| format!("{} ({})", e.path.display(), protection(&e)))
            .collect(),
        state: record.state.to_string(),
        size: record.guest.get(),
        device_size: record.device.map(|d| d.get()),
        id: record.id,
        offering: record.offering,
        pool: record.pool,
        disk: record.disk,
        format: record.format,
        encryption: record.encryption,
        passphrase: record.passphrase,
        template: record.template,
        shares_key_with: record.shares_key_with,
        disk_of: record.disk_of,
    })
}

impl VolumeView {
    /// Its encryption, with what weakens it.
    fn protection(&self) -> String {
        let mut text = self
            .encryption
            .map_or("none", EncryptionFormat::as_str)
            .to_owned();
        if !self.shares_key_with.is_empty() {
            text += &format!(", key shared with {}", names(&self.shares_key_with));
        }
        if let Some(template) = &self.template {
            text += &format!(", reads {template} in clear");
        }
        text
    }
}

fn names(volumes: &[VolumeId]) -> String {
    volumes
        .iter()
        .map(VolumeId::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

fn snapshots(v: &VolumeView) -> String {
    let each: Vec<_> = v.snapshots.iter().map(SnapshotId::as_str).collect();
    each.join(", ")
}

pub(super) fn details(v: &VolumeView) -> Table {
    let mut table = table(["what", "value"]);
    for (what, value) in [
        ("volume", v.id.to_string()),
        ("state", v.state.clone()),
        ("size", format!("{} ({} bytes)", ByteSize::bytes(v.size), v.size)),
        ("format", v.format.to_string()),
        ("encryption", v.protection()),
        (
            "sealed key",
            v.passphrase
                .as_ref()
                .map_or("none".to_owned(), ToString::to_string),
        ),
        ("offering", v.offering.to_string()),
        ("pool", format!("{}, as {}", v.pool, v.disk)),
        ("snapshots", snapshots(v)),
        ("header backups", v.header_backups.join(", ")),
        ("exports", v.exports.join(", ")),
    ] {
        table.add_row([what.to_owned(), value]);
    }
    if let Some(volume) = &v.disk_of {
        table.add_row([
            "stands for".to_owned(),
            format!("another disk of volume {volume}"),
        ]);
    }
    table
}

pub(super) fn listing(volumes: &[VolumeView]) -> Table {
    let mut table = table([
        "volume",
        "state",
        "size",
        "format",
        "encryption",
        "pool",
        "offering",
        "snapshots",
    ]);
    for v in volumes {
        let name = match &v.disk_of {
            Some(volume) => format!("{} (another disk of {volume})", v.id),
            None => v.id.to_string(),
        };
        table.add_row([
            &name,
            &v.state,
            &ByteSize::bytes(v.size).to_string(),
            v.format.as_str(),
            &v.protection(),
            v.pool.as_str(),
            v.offering.as_str(),
            &snapshots(v),
        ]);
    }
    table
}

/// What a delete came to, or the destruction of a former disk.
#[derive(Debug, Serialize)]
pub(super) struct ErasureView {
    pub(super) id: VolumeId,
    destroyed: Vec<String>,
    /// What could not be destroyed, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) left: Vec<String>,
    /// What was made of it on purpose and lives on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lives_on: Vec<String>,
}

impl ErasureView {
    pub(super) fn new(id: VolumeId, erasure: Erasure) -> Self {
        Self {
            id,
            destroyed: erasure.destroyed,
            left: erasure.left,
            lives_on: erasure.lives_on,
        }
    }

    pub(super) fn table(&self) -> Table {
        let left = self.left.iter().map(|l| format!("LEFT: {l}"));
        let lives_on = self.lives_on.iter().map(|l| format!("LIVES ON: {l}"));
        let all: Vec<_> = self
            .destroyed
            .iter()
            .cloned()
            .chain(left)
            .chain(lives_on)
            .collect();
        lines("destroyed", &all)
    }
}

pub(super) fn lines(heading: &str, lines: &[String]) -> Table {
    let mut table = table([heading]);
    for line in lines {
        table.add_row([line]);
    }
    table
}

/// An exported copy as it is shown.
#[derive(Debug, Serialize)]
pub(super) struct ExportView {
    volume: VolumeId,
    volume_gone: bool,
    host: HostId,
    path: String,
    format: DiskFormat,
    encrypted: bool,
    /// Why the content of an encrypted volume lies there in clear; null when it does not.
    declassified: Option<String>,
    /// When it was made, in seconds since 1970 in UTC.
    begun: u64,
}

fn protection(export: &ExportRecord) -> String {
    match (&export.declassified, export.encrypted) {
        (Some(reason), _) => format!("declassified: {reason}"),
        (None, true) => "encrypted".to_owned(),
        (None, false) => "plain".to_owned(),
    }
}

impl From<ExportRecord> for ExportView {
    fn from(record: ExportRecord) -> Self {
        let since = record.begun.duration_since(std::time::UNIX_EPOCH);
        Self {
            volume: record.volume,
            volume_gone: record.volume_gone,
            host: record.host,
            path: record.path.display().to_string(),
            format: record.format,
            encrypted: record.encrypted,
            declassified: record.declassified,
            begun: since.map_or(0, |since| since.as_secs()),
        }
    }
}

pub(super) fn exports(exports: &[ExportView]) -> Table {
    let mut table = table(["volume", "host", "file", "format", "protection"]);
    for e in exports {
        let gone = if e.volume_gone { " (deleted)" } else { "" };
        let protection = match (&e.declassified, e.encrypted) {
            (Some(reason), _) => format!("declassified: {reason}"),
            (None, true) => "encrypted".to_owned(),
            (None, false) => "plain".to_owned(),
        };
        table.add_row([
            format!("{}{gone}", e.volume),
            e.host.to_string(),
            e.path.clone(),
            e.format.to_string(),
            protection,
        ]);
    }
    table
}
