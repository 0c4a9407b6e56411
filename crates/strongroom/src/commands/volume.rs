mod copies;
mod view;

use anyhow::{Result, bail};
use serde::Serialize;
use strongroom_control_plane::NewVolume;
use strongroom_secret::Passphrase;
use strongroom_types::{Call, GuestSize, SnapshotId, VolumeId};

pub(in crate::commands) use self::copies::passphrase;
use self::view::{ErasureView, ExportView, details, exports, lines, listing, view};
use crate::cli::{Output, Volume};
use crate::commands::absolute;
use crate::output::print;
use crate::places::Places;
use crate::report::with_bar;
use crate::session::Session;

#[derive(Debug, Serialize)]
struct VerificationView {
    id: VolumeId,
    checked: Vec<String>,
    /// The SHA-256 of what the guest reads, in hexadecimal, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

pub(super) fn run(
    session: &Session,
    command: Volume,
    key: Option<&Passphrase>,
    output: Output,
    call: &Call,
) -> Result<()> {
    let control = &session.control;
    let record = match command {
        Volume::Create {
            id,
            offering,
            size,
            pool,
            source,
        } => {
            let mut new = NewVolume::new(offering, GuestSize::try_from(size)?);
            (new.id, new.pool, new.check_digest) = (id, pool, source.digest);
            new.content = copies::content(session, source)?;
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
        Volume::Resize { id, size, shrink } => {
            let to = GuestSize::try_from(size)?;
            let now = control.volume(&id)?.guest;
            if to < now && !shrink {
                bail!(
                    "{id} has {} bytes, and {} is less; --shrink makes it smaller and loses what is behind that",
                    now.get(),
                    to.get()
                );
            }
            with_bar(output, "resize", call, |call| {
                Ok(match shrink {
                    true => control.shrink_volume(call, &id, to)?,
                    false => control.grow_volume(call, &id, to)?,
                })
            })?
        }
        Volume::Flatten { id } => with_bar(output, "flatten", call, |call| {
            Ok(control.flatten_volume(call, &id)?)
        })?,
        Volume::Exports => {
            let made: Vec<_> = control.exports()?.into_iter().map(ExportView::from).collect();
            return print(output, &made, |made| exports(made));
        }
        command @ (Volume::Reinstall { .. }
        | Volume::Move { .. }
        | Volume::Clone { .. }
        | Volume::Export { .. }
        | Volume::Import { .. }) => return copies::run(session, command, key, output, call),
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
        Volume::Verify { id, digest } => {
            let mut verified = control.verify_volume(call, &id)?;
            let mut sha256 = None;
            if digest {
                let of = with_bar(output, "read it", call, |call| {
                    Ok(control.digest_volume(call, &id)?)
                })?;
                verified
                    .checked
                    .push(format!("{} bytes have the SHA-256 {of}", of.bytes.get()));
                sha256 = Some(of.to_string());
            }
            let shown = VerificationView {
                id,
                checked: verified.checked,
                sha256,
            };
            return print(output, &shown, |v| lines("checked", &v.checked));
        }
        Volume::BackUpHeader { id, to } => {
            let to = absolute(&to)?;
            Places::of(session)?.pools_only().refuse_file(&to)?;
            control.back_up_header(call, &id, &to)?;
            control.volume(&id)?
        }
        Volume::Delete { id } => {
            let erasure = control.delete_volume(call, &id)?;
            let shown = ErasureView::new(id, erasure);
            print(output, &shown, ErasureView::table)?;
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
