//! Commands that make one disk from another.

use anyhow::{Result, bail};
use serde::Serialize;
use strongroom_control_plane::{
    Exchanged, ExportAs, MoveVolume, NewClone, NewContent, NewExport, NewImport, Reinstall, TemplateImage,
    VolumeRecord,
};
use strongroom_secret::Passphrase;
use strongroom_types::{Call, GuestSize};

use super::view::{ErasureView, ExportView, VolumeView, exports, listing, view};
use crate::cli::{Output, Source, Volume};
use crate::commands::{absolute, image_format};
use crate::output::print;
use crate::passphrase::{Typed, given};
use crate::places::Places;
use crate::report::with_bar;
use crate::session::Session;

/// A volume that has another disk, and what became of the one that it had.
#[derive(Debug, Serialize)]
struct ExchangeView {
    #[serde(flatten)]
    volume: VolumeView,
    former_disk: ErasureView,
}

/// What the command line says of a new disk's content.
pub(super) fn content(session: &Session, source: Source) -> Result<NewContent> {
    Ok(match (source.template, source.image) {
        (Some(template), _) if source.overlay => NewContent::Overlay(template),
        (Some(template), _) => NewContent::Template(template),
        (None, Some(image)) => {
            let path = absolute(&image)?;
            Places::of(session)?.refuse_source(&path)?;
            let format = image_format(&path, source.image_format, "--image-format")?;
            let mut image = TemplateImage::new(path, format);
            image.opaque = source.opaque;
            NewContent::Image(image)
        }
        (None, None) => NewContent::Blank,
    })
}

/// The passphrase that a command wants from its user. It is asked for before the state directory is locked, since it may take its time.
pub(in crate::commands) fn passphrase(command: &Volume, call: &Call) -> Result<Option<Passphrase>> {
    match command {
        Volume::Export { passphrase, .. } => given(passphrase, Typed::New, call),
        Volume::Import { passphrase, .. } => given(passphrase, Typed::Known, call),
        _ => Ok(None),
    }
}

/// Runs the command, with the passphrase that it [wanted](passphrase).
pub(super) fn run(
    session: &Session,
    command: Volume,
    key: Option<&Passphrase>,
    output: Output,
    call: &Call,
) -> Result<()> {
    let control = &session.control;
    match command {
        Volume::Reinstall {
            id,
            source,
            lose_snapshots,
        } => {
            let check_digest = source.digest;
            let content = content(session, source)?;
            if content == NewContent::Blank {
                bail!("reinstall {id} from what? Say --template or --image");
            }
            let mut new = Reinstall::new(id, content);
            (new.lose_snapshots, new.check_digest) = (lose_snapshots, check_digest);
            let exchanged = with_bar(output, "reinstall", call, |call| {
                Ok(control.reinstall_volume(call, &new)?)
            })?;
            exchange(session, exchanged, output)
        }
        Volume::Move {
            id,
            to,
            format,
            lose_snapshots,
        } => {
            let mut new = MoveVolume::new(id, to);
            (new.format, new.lose_snapshots) = (format, lose_snapshots);
            let exchanged = with_bar(output, "move", call, |call| Ok(control.move_volume(call, &new)?))?;
            exchange(session, exchanged, output)
        }
        Volume::Clone {
            source,
            id,
            pool,
            share_key,
            digest,
        } => {
            let mut new = NewClone::new(source);
            (new.id, new.pool) = (id, pool);
            (new.share_key, new.check_digest) = (share_key, digest);
            let clone = with_bar(
                output,
                "clone",
                call,
                |call| Ok(control.clone_volume(call, &new)?),
            )?;
            show(session, clone, output)
        }
        Volume::Export {
            id,
            to,
            format,
            passphrase: _,
            declassify,
            digest,
        } => {
            let protection = match (key, &declassify) {
                (Some(key), _) => ExportAs::Sealed(key),
                (None, Some(reason)) => ExportAs::Declassified(reason),
                (None, None) => ExportAs::Plain,
            };
            let to = absolute(&to)?;
            Places::of(session)?.refuse_file(&to)?;
            let mut new = NewExport::new(id, to, format, protection);
            new.check_digest = digest;
            let made: ExportView = with_bar(output, "export", call, |call| {
                Ok(control.export_volume(call, &new)?)
            })?
            .into();
            print(output, &made, |made| exports(std::slice::from_ref(made)))
        }
        Volume::Import {
            id,
            offering,
            from,
            format,
            opaque,
            passphrase: _,
            size,
            pool,
            digest,
        } => {
            let path = absolute(&from)?;
            Places::of(session)?.refuse_source(&path)?;
            let format = image_format(&path, format, "--format")?;
            let mut new = NewImport::new(offering, path, format);
            (new.id, new.pool, new.key, new.opaque) = (id, pool, key, opaque);
            new.guest = size.map(GuestSize::try_from).transpose()?;
            new.check_digest = digest;
            let made = with_bar(output, "import", call, |call| {
                Ok(control.import_volume(call, &new)?)
            })?;
            show(session, made, output)
        }
        _ => bail!("this command makes no disk from another"),
    }
}

fn show(session: &Session, record: VolumeRecord, output: Output) -> Result<()> {
    let shown = view(session, record)?;
    print(output, &shown, |v| listing(std::slice::from_ref(v)))
}

fn exchange(session: &Session, exchanged: Exchanged, output: Output) -> Result<()> {
    let id = exchanged.volume.id.clone();
    let shown = ExchangeView {
        volume: view(session, exchanged.volume)?,
        former_disk: ErasureView::new(id.clone(), exchanged.former),
    };
    print(output, &shown, |shown| {
        let mut table = shown.former_disk.table();
        table.set_header(["FORMER DISK"]);
        table
    })?;
    if !shown.former_disk.left.is_empty() {
        bail!("{id} has its new disk, but not all of the former one was destroyed: see what is left");
    }
    Ok(())
}
