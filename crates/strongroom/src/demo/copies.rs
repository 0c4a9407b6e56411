//! Step 6: one disk made from another, on pools of both kinds. Every copy reads as the template, under a key of its own.

use std::fs;

use anyhow::{Context, Result};
use strongroom_control_plane::{
    ControlPlane, ExportAs, MoveVolume, NewClone, NewContent, NewExport, NewImport, NewPool, NewTemplate,
    NewVolume, Reinstall, TemplateRecord,
};
use strongroom_secret::Passphrase;
use strongroom_types::{ByteSize, Call, DiskFormat, GuestSize, PoolId, VolumeId};

use super::life::{add_pool, main_pool};
use super::raw_disk::LoopDevice;
use super::{Stage, Template};
use crate::commands::pool::listed;
use crate::drivers::{BLOCK, DEVICES, ENCRYPTION, SHELF};
use crate::report::{Checks, Report};

/// The copies of the demo.
const VOLUMES: [&str; 3] = ["thin", "twin", "back"];

pub(crate) fn all(stage: &Stage, template: &Template, report: &mut Report) -> Result<()> {
    let control = &stage.session.control;
    let record = report.step("add the template", |call, checks| {
        let new = NewTemplate::new("demo".parse()?, template.path.clone(), template.format);
        let record = control.add_template(call, &new)?;
        checks.held(format!("its content has the SHA-256 {}", record.sha256));
        Ok(record)
    })?;
    thin(stage, &record, report)?;
    report.step("clone a volume under a key of its own", |call, checks| {
        let mut new = NewClone::new("thin".parse()?);
        new.id = Some("twin".parse()?);
        let clone = control.clone_volume(call, &new)?;
        let source = control.volume(&"thin".parse()?)?;
        checks.hold(
            clone.passphrase != source.passphrase,
            "it has another sealed key",
            "both volumes have one key",
        )?;
        reads_as_template(control, call, checks, "twin", &record)
    })?;
    report.step(
        "export a volume under another passphrase and import it",
        |call, checks| {
            let (key, path) = (Passphrase::generate()?, stage.directory.join("exported.qcow2"));
            let sealed = ExportAs::Sealed(&key);
            let export = NewExport::new("thin".parse()?, &path, DiskFormat::Qcow2, sealed);
            control.export_volume(call, &export)?;
            let mut import = NewImport::new("secret".parse()?, &path, DiskFormat::Qcow2);
            (import.id, import.key) = (Some("back".parse()?), Some(&key));
            let back = control.import_volume(call, &import)?;
            fs::remove_file(&path)?;
            checks.hold(
                back.guest == record.size,
                "its size is exact",
                "it has another size",
            )?;
            reads_as_template(control, call, checks, "back", &record)
        },
    )?;
    moves(stage, &record, report)?;
    report.step("delete the copies and the template", |call, checks| {
        for volume in VOLUMES {
            let erasure = control.delete_volume(call, &volume.parse()?)?;
            let left = erasure.left.first();
            checks.hold(
                left.is_none(),
                format!("{volume} is erased"),
                format!("{volume}: {left:?}"),
            )?;
            erasure
                .lives_on
                .into_iter()
                .for_each(|line| checks.held(format!("{volume}: {line}")));
        }
        control.remove_template(call, &record.id)?;
        let copies = fs::read_dir(stage.pool_directory(&main_pool()?).join("templates"))?.count();
        checks.hold(
            copies == 0,
            "the pool keeps nothing of it",
            format!("{copies} copies are left"),
        )
    })
}

/// An encrypted overlay, flattened, and reinstalled.
fn thin(stage: &Stage, record: &TemplateRecord, report: &mut Report) -> Result<()> {
    let control = &stage.session.control;
    report.step(
        "make an encrypted overlay on the template, and flatten it",
        |call, checks| {
            let mut new = NewVolume::new("secret".parse()?, record.size);
            (new.id, new.pool) = (Some("thin".parse()?), Some(main_pool()?));
            new.content = NewContent::Overlay(record.id.clone());
            let made = control.create_volume(call, &new)?;
            checks.hold(
                made.template.is_some(),
                "it depends on the template",
                "it depends on nothing",
            )?;
            let refused = control.remove_template(call, &record.id).is_err();
            checks.hold(
                refused,
                "so the template cannot go",
                "the template went from under it",
            )?;
            reads_as_template(control, call, checks, "thin", record)?;
            let flat = control.flatten_volume(call, &made.id)?;
            checks.hold(
                flat.template.is_none(),
                "flattened, it stands alone",
                "it lies on the template",
            )?;
            reads_as_template(control, call, checks, "thin", record)
        },
    )?;
    report.step("reinstall it under a new key", |call, checks| {
        let before = control.volume(&"thin".parse()?)?;
        let content = NewContent::Template(record.id.clone());
        let exchanged = control.reinstall_volume(call, &Reinstall::new(before.id, content))?;
        checks.hold(
            exchanged.volume.passphrase != before.passphrase,
            "it has another sealed key",
            "it has the old key",
        )?;
        for line in exchanged.former.destroyed {
            checks.held(format!("former disk: {line}"));
        }
        checks.hold(
            exchanged.former.left.is_empty(),
            "nothing of it is left",
            format!("left: {:?}", exchanged.former.left),
        )?;
        reads_as_template(control, call, checks, "thin", record)
    })
}

/// To the other kind of pool and back.
fn moves(stage: &Stage, record: &TemplateRecord, report: &mut Report) -> Result<()> {
    let control = &stage.session.control;
    report.step(
        "move a volume to another kind of pool and back",
        |call, checks| {
            let twin: VolumeId = "twin".parse()?;
            if !rustix::process::geteuid().is_root() {
                checks.held("to a directory, because only root may make loop devices");
                let pool = add_pool(stage, call, "second", "yes")?;
                control.move_volume(call, &MoveVolume::new(twin.clone(), pool))?;
                reads_as_template(control, call, checks, "twin", record)?;
                control.move_volume(call, &MoveVolume::new(twin, main_pool()?))?;
                return reads_as_template(control, call, checks, "twin", record);
            }
            let size = ByteSize::bytes(record.size.get() + ByteSize::mib(8).get());
            let backing = stage.directory.join("shelf-device");
            let device = LoopDevice::attach(stage, call, &backing, size)?;
            let pool = add_block_pool(stage, call, &device)?;
            let mut there = MoveVolume::new(twin.clone(), pool);
            there.format = Some(DiskFormat::Raw);
            let moved = control.move_volume(call, &there)?.volume;
            checks.held(format!("it is {} on a block device", moved.format));
            reads_as_template(control, call, checks, "twin", record)?;
            let mut back = MoveVolume::new(twin, main_pool()?);
            back.format = Some(DiskFormat::Qcow2);
            let moved = control.move_volume(call, &back)?.volume;
            checks.held(format!("and {} in a file again", moved.format));
            reads_as_template(control, call, checks, "twin", record)
        },
    )
}

/// A pool that has one block device.
fn add_block_pool(stage: &Stage, call: &Call, device: &LoopDevice<'_>) -> Result<PoolId> {
    let listed = [listed(stage.session.agent.as_ref(), call, &device.path)?];
    let shelf = stage.session.state.shelves()?.join("disks.shelf");
    let shelf = shelf
        .to_str()
        .context("the state directory's path is not UTF-8")?;
    let settings = [
        (DEVICES, serde_json::to_string(&listed)?),
        (SHELF, shelf.to_owned()),
        (ENCRYPTION, "yes".to_owned()),
    ];
    let pool: PoolId = "disks".parse()?;
    stage.session.agent.reach(pool.clone());
    let new = NewPool::new(pool.clone(), BLOCK, settings.map(|(k, v)| (k.to_owned(), v)));
    stage.session.control.add_pool(call, &new)?;
    Ok(pool)
}

/// Reads the volume through its key and compares it with what was recorded of the template.
fn reads_as_template(
    control: &ControlPlane,
    call: &Call,
    checks: &mut Checks,
    volume: &str,
    template: &TemplateRecord,
) -> Result<()> {
    let id: VolumeId = volume.parse()?;
    control.verify_volume(call, &id)?;
    let size: GuestSize = control.volume(&id)?.guest;
    let digest = control.digest_volume(call, &id)?.to_string();
    checks.hold(
        digest == template.sha256 && size == template.size,
        format!("{volume} has the template's SHA-256"),
        format!("{volume} has the SHA-256 {digest}"),
    )
}
