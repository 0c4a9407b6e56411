use anyhow::{Result, bail};
use comfy_table::Table;
use serde::Serialize;
use strongroom_control_plane::{NewVolume, TemplateImage, VolumeRecord};
use strongroom_types::{
    ByteSize, Call, DiskFormat, EncryptionFormat, GuestSize, OfferingId, PassphraseId, PoolId, SnapshotId,
    VolumeId,
};

use crate::cli::{Output, Volume};
use crate::commands::{absolute, template_format};
use crate::output::{print, table};
use crate::report::with_bar;
use crate::session::Session;

/// A volume as it is shown. Sizes are in bytes.
#[derive(Debug, Serialize)]
struct VolumeView {
    id: VolumeId,
    offering: OfferingId,
    pool: PoolId,
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
    snapshots: Vec<SnapshotId>,
    header_backups: Vec<String>,
}

fn view(session: &Session, record: VolumeRecord) -> Result<VolumeView> {
    let snapshots = session
        .control
        .snapshots(&record.id)?
        .into_iter()
        .map(|s| s.id)
        .collect();
    let backups = session.control.header_backups(&record.id)?;
    Ok(VolumeView {
        snapshots,
        header_backups: backups
            .into_iter()
            .map(|b| b.path.display().to_string())
            .collect(),
        state: record.state.to_string(),
        size: record.guest.get(),
        device_size: record.device.map(|d| d.get()),
        id: record.id,
        offering: record.offering,
        pool: record.pool,
        format: record.format,
        encryption: record.encryption,
        passphrase: record.passphrase,
    })
}

#[derive(Debug, Serialize)]
struct VerificationView {
    id: VolumeId,
    checked: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ErasureView {
    id: VolumeId,
    destroyed: Vec<String>,
    /// What could not be destroyed, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left: Vec<String>,
}

pub(super) fn run(session: &Session, command: Volume, output: Output, call: &Call) -> Result<()> {
    let control = &session.control;
    let record = match command {
        Volume::Create {
            id,
            offering,
            size,
            pool,
            template,
            template_format: said,
        } => {
            let mut new = NewVolume::new(offering, GuestSize::try_from(size)?);
            (new.id, new.pool) = (id, pool);
            if let Some(path) = template {
                let path = absolute(&path)?;
                let format = template_format(&path, said)?;
                new.template = Some(TemplateImage::new(path, format));
            }
            with_bar(output, "create", call, |call| {
                Ok(control.create_volume(call, &new)?)
            })?
        }
        Volume::List => {
            let volumes = control
                .volumes()?
                .into_iter()
                .map(|r| view(session, r))
                .collect::<Result<Vec<_>>>()?;
            return print(output, &volumes, |v| listing(v));
        }
        Volume::Show { id } => {
            let shown = view(session, control.volume(&id)?)?;
            return print(output, &shown, details);
        }
        Volume::Resize { id, size } => {
            let to = GuestSize::try_from(size)?;
            let now = control.volume(&id)?.guest;
            if to < now {
                bail!(
                    "{id} has {} bytes; volumes are only made larger, and {} is less",
                    now.get(),
                    to.get()
                );
            }
            control.grow_volume(call, &id, to)?
        }
        Volume::Snapshot { id, name, delete } => {
            match (delete, name) {
                (true, Some(name)) => control.delete_snapshot(call, &id, &name)?,
                (_, name) => {
                    control.create_snapshot(call, &id, &name.unwrap_or_else(SnapshotId::random))?;
                }
            }
            control.volume(&id)?
        }
        Volume::Restore { id, name } => control.restore_snapshot(call, &id, &name)?,
        Volume::Verify { id } => {
            let verified = control.verify_volume(call, &id)?;
            let shown = VerificationView {
                id,
                checked: verified.checked,
            };
            return print(output, &shown, |v| lines("checked", &v.checked));
        }
        Volume::BackUpHeader { id, to } => {
            control.back_up_header(call, &id, &absolute(&to)?)?;
            control.volume(&id)?
        }
        Volume::Delete { id } => {
            let erasure = control.delete_volume(call, &id)?;
            let shown = ErasureView {
                id,
                destroyed: erasure.destroyed,
                left: erasure.left,
            };
            print(output, &shown, |e| {
                let left = e.left.iter().map(|l| format!("LEFT: {l}"));
                let all: Vec<_> = e.destroyed.iter().cloned().chain(left).collect();
                lines("destroyed", &all)
            })?;
            if !shown.left.is_empty() {
                bail!(
                    "{} is deleted and its key destroyed, but not everything was: see what is left",
                    shown.id
                );
            }
            return Ok(());
        }
    };
    let shown = view(session, record)?;
    print(output, &shown, |v| listing(std::slice::from_ref(v)))
}

fn lines(heading: &str, lines: &[String]) -> Table {
    let mut table = table([heading]);
    for line in lines {
        table.add_row([line]);
    }
    table
}

fn details(v: &VolumeView) -> Table {
    let mut table = table(["what", "value"]);
    let snapshots: Vec<_> = v.snapshots.iter().map(SnapshotId::as_str).collect();
    for (what, value) in [
        ("volume", v.id.to_string()),
        ("state", v.state.clone()),
        ("size", format!("{} ({} bytes)", ByteSize::bytes(v.size), v.size)),
        ("format", v.format.to_string()),
        (
            "encryption",
            v.encryption.map_or("none", EncryptionFormat::as_str).to_owned(),
        ),
        (
            "sealed key",
            v.passphrase
                .as_ref()
                .map_or("none".to_owned(), ToString::to_string),
        ),
        ("offering", v.offering.to_string()),
        ("pool", v.pool.to_string()),
        ("snapshots", snapshots.join(", ")),
        ("header backups", v.header_backups.join(", ")),
    ] {
        table.add_row([what.to_owned(), value]);
    }
    table
}

fn listing(volumes: &[VolumeView]) -> Table {
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
        let snapshots: Vec<_> = v.snapshots.iter().map(SnapshotId::as_str).collect();
        table.add_row([
            v.id.as_str(),
            &v.state,
            &ByteSize::bytes(v.size).to_string(),
            v.format.as_str(),
            v.encryption.map_or("none", EncryptionFormat::as_str),
            v.pool.as_str(),
            v.offering.as_str(),
            &snapshots.join(", "),
        ]);
    }
    table
}
