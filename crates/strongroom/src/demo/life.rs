//! Steps 1 to 4: prepare, create, prove, grow, snapshot, restore.

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use strongroom_control_plane::{NewContent, NewOffering, NewPool, NewVolume, TemplateImage};
use strongroom_endpoint_selector::{Sameness, SourceImage};
use strongroom_exec::{CommandSpec, Program, Watch};
use strongroom_image::Disk;
use strongroom_types::{ByteSize, Call, DiskFormat, EncryptionFormat, GuestSize, PoolId, VolumeId};

use super::scan::Fingerprints;
use super::{Stage, Template, template};
use crate::cli::Demo;
use crate::drivers;
use crate::report::{Checks, Report};
use crate::session::scratch;

/// The pool of the demo.
pub(crate) fn main_pool() -> Result<PoolId> {
    Ok("main".parse()?)
}

/// Step 1: host, pool, offerings.
pub(crate) fn prepare(stage: &Stage, report: &mut Report) -> Result<()> {
    let control = &stage.session.control;
    report.step("probe this host", |call, checks| {
        let facts = stage.session.agent.probe(call, &scratch(&stage.directory))?;
        control.register_host(&facts)?;
        let yes = facts.capabilities.encryption_supported();
        checks.hold(
            yes,
            "encryption supported",
            "this host cannot encrypt: strongroom host list says why",
        )?;
        for (capability, finding) in facts.capabilities.findings() {
            if let strongroom_types::Finding::Works(evidence) = finding {
                checks.held(format!("{capability}: {evidence}"));
            }
        }
        Ok(())
    })?;
    report.step("make a file pool", |call, checks| {
        let pool = add_pool(stage, call, "main", "yes")?;
        checks.held(format!("directory pool {pool} is writable"));
        Ok(())
    })?;
    report.step("make a plain and an encrypted offering", |_, checks| {
        for (name, encrypt, format) in [
            ("plain", false, DiskFormat::Qcow2),
            ("secret", true, DiskFormat::Qcow2),
            ("secret-raw", true, DiskFormat::Raw),
        ] {
            control.create_offering(&NewOffering::new(name.parse()?, encrypt, format))?;
        }
        let encrypting = control
            .offerings(strongroom_control_plane::OfferingFilter::encrypting(true))?
            .len();
        checks.hold(
            encrypting == 2,
            "2 of 3 offerings encrypt",
            format!("{encrypting} offerings encrypt"),
        )
    })
}

/// Adds a directory pool that this host reaches.
pub(crate) fn add_pool(stage: &Stage, call: &Call, name: &str, encryption: &str) -> Result<PoolId> {
    let pool: PoolId = name.parse()?;
    let directory = stage.pool_directory(&pool);
    fs::create_dir_all(&directory)?;
    let text = directory
        .to_str()
        .context("the state directory's path is not UTF-8")?;
    stage.session.agent.reach(pool.clone());
    let settings = [(drivers::DIRECTORY, text), (drivers::ENCRYPTION, encryption)];
    let new = NewPool::new(
        pool.clone(),
        drivers::FILE,
        settings.map(|(k, v)| (k.to_owned(), v.to_owned())),
    );
    stage.session.control.add_pool(call, &new)?;
    Ok(pool)
}

/// The template: given, or made on the spot.
pub(crate) fn template(stage: &Stage, demo: &Demo, report: &mut Report) -> Result<Template> {
    let Some(given) = &demo.template else {
        return report.step("make a template from real files", |call, checks| {
            let path = template::make(&stage.directory, stage.runner.as_ref(), call)?;
            let found = contains(&path, template::MARKER.as_bytes(), call)?;
            checks.hold(
                found,
                "the marker is in the plain image",
                "the marker is not in the image",
            )?;
            Ok(Template {
                path,
                format: DiskFormat::Raw,
            })
        });
    };
    report.step("look at the template", |_, checks| {
        let path = fs::canonicalize(given).with_context(|| format!("cannot open {}", given.display()))?;
        let format = crate::commands::image_format(&path, demo.template_format, "--template-format")?;
        checks.held(format!("{} is taken as {format}", path.display()));
        Ok(Template { path, format })
    })
}

/// Step 2 and 3 for a blank data volume.
pub(crate) fn data_volume(stage: &Stage, report: &mut Report) -> Result<()> {
    report.step(
        "create an encrypted data volume (qcow2 with LUKS)",
        |call, checks| {
            let size = GuestSize::new(ByteSize::mib(256).get())?;
            let mut new = NewVolume::new("secret".parse()?, size);
            new.id = Some("data".parse()?);
            stage.session.control.create_volume(call, &new)?;
            prove(stage, call, checks, "data", size)
        },
    )
}

/// Step 2 and 3 for a root volume.
pub(crate) fn root_volume(stage: &Stage, template: &Template, report: &mut Report) -> Result<()> {
    let size = report.step(
        "create an encrypted root volume from the template",
        |call, checks| {
            let size = strongroom_host_agent::template_size(&template.source())?;
            let size = GuestSize::new(size)?;
            let mut new = NewVolume::new("secret".parse()?, size);
            new.id = Some("root".parse()?);
            new.content = NewContent::Image(TemplateImage::new(template.path.clone(), template.format));
            stage.session.control.create_volume(call, &new)?;
            prove(stage, call, checks, "root", size)?;
            Ok(size)
        },
    )?;
    prove_content(stage, template, report, "root", &main_pool()?)?;
    report.step("verify the root volume", |call, checks| {
        let verified = stage.session.control.verify_volume(call, &"root".parse()?)?;
        verified.checked.into_iter().for_each(|c| checks.held(c));
        checks.hold(
            verified.facts.guest == size,
            "the guest size is exact",
            "the guest size is not what was asked",
        )
    })
}

/// Reads the header on disk with our own reader and with `qemu-img info`.
pub(crate) fn prove(
    stage: &Stage,
    call: &Call,
    checks: &mut Checks,
    volume: &str,
    size: GuestSize,
) -> Result<()> {
    let disk = stage.disk(&main_pool()?, volume)?;
    let ours = match strongroom_image::read_disk(&disk)? {
        Disk::Qcow2(header) => header.luks.is_some(),
        Disk::Luks1(_) => true,
        _ => false,
    };
    checks.hold(ours, "our reader finds LUKS1", "our reader finds no LUKS1 header")?;
    let record = stage.session.control.volume(&volume.parse()?)?;
    let (told, bytes) = qemu_says(stage, call, &disk, record.format)?;
    checks.hold(
        told,
        "qemu-img info agrees",
        "qemu-img info says that it is not encrypted",
    )?;
    checks.hold(
        bytes == size.get() && record.guest == size && record.encryption == Some(EncryptionFormat::Luks1),
        format!("the guest sees exactly {bytes} bytes"),
        format!("the guest sees {bytes} bytes instead of {}", size.get()),
    )
}

/// Whether `qemu-img info` says encrypted, and the guest's size.
fn qemu_says(stage: &Stage, call: &Call, disk: &Path, format: DiskFormat) -> Result<(bool, u64)> {
    let word = if format == DiskFormat::Raw {
        "luks"
    } else {
        "qcow2"
    };
    let command = CommandSpec::new(Program::find("qemu-img")?)
        .args(["info", "--output=json", "-f", word])
        .arg(disk);
    let done = stage.runner.run(&command, &Watch::call(call))?;
    if done.code != 0 {
        bail!("qemu-img info failed: {}", done.message());
    }
    let info: serde_json::Value = serde_json::from_slice(&done.stdout)?;
    let encrypted = info
        .get("encrypted")
        .and_then(serde_json::Value::as_bool)
        .unwrap_or(false);
    Ok((
        encrypted,
        info.get("virtual-size")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0),
    ))
}

/// None of the template is in the raw bytes; through the key all of it is.
pub(crate) fn prove_content(
    stage: &Stage,
    template: &Template,
    report: &mut Report,
    volume: &str,
    pool: &PoolId,
) -> Result<()> {
    report.step(
        &format!("search {volume}'s raw bytes for the template"),
        |call, checks| {
            let raw = raw_copy(stage, call, template)?;
            let known = Fingerprints::of(&raw, call)?;
            checks.hold(
                known.len() > 0,
                format!("{} sectors of the template searched for", known.len()),
                "nothing to search for",
            )?;
            let there = known.found_in(&raw, call)?;
            checks.hold(
                there > 0,
                "they are found in the template itself",
                "the search finds nothing even where it is",
            )?;
            let disk = stage.disk(pool, volume)?;
            let found = known.found_in(&disk, call)?;
            checks.hold(
                found == 0,
                "none is in the raw bytes",
                format!("{found} sectors lie there in clear"),
            )?;
            let marker = contains(&disk, template::MARKER.as_bytes(), call)?;
            checks.hold(!marker, "nor is the marker", "the marker lies there in clear")
        },
    )?;
    report.step(&format!("read {volume} back through its key"), |call, checks| {
        let same = stage
            .session
            .control
            .compare_content(call, &volume.parse()?, &template.source())?;
        checks.hold(
            same == Sameness::Identical,
            "bit-identical to the template",
            "the content is not the template's",
        )
    })
}

/// The template as raw bytes: itself, or converted.
fn raw_copy(stage: &Stage, call: &Call, template: &Template) -> Result<std::path::PathBuf> {
    if template.format == DiskFormat::Raw {
        return Ok(template.path.clone());
    }
    let raw = stage.directory.join("template-as-raw");
    if !raw.exists() {
        let command = CommandSpec::new(Program::find("qemu-img")?)
            .args(["convert", "-f", template.format.as_str(), "-O", "raw"])
            .arg(&template.path)
            .arg(&raw);
        let done = stage.runner.run(&command, &Watch::call(call))?;
        if done.code != 0 {
            bail!("qemu-img convert failed: {}", done.message());
        }
    }
    Ok(raw)
}

/// Whether a file has these bytes anywhere.
pub(crate) fn contains(path: &Path, needle: &[u8], call: &Call) -> Result<bool> {
    let mut file = fs::File::open(path)?;
    let mut window = vec![0; 1 << 20];
    let mut kept = 0;
    loop {
        call.check()?;
        let n = file.read(window.get_mut(kept..).unwrap_or_default())?;
        let filled = kept + n;
        let bytes = window.get(..filled).unwrap_or_default();
        if bytes.windows(needle.len()).any(|w| w == needle) {
            return Ok(true);
        }
        if n == 0 {
            return Ok(false);
        }
        kept = filled.min(needle.len() - 1);
        window.copy_within(filled - kept..filled, 0);
    }
}

/// Step 4.
pub(crate) fn grow_snapshot_restore(stage: &Stage, template: &Template, report: &mut Report) -> Result<()> {
    let control = &stage.session.control;
    let root: VolumeId = "root".parse()?;
    let before = control.volume(&root)?.guest;
    let asked = GuestSize::new(before.get() + ByteSize::mib(32).get() + 512)?;
    report.step("grow the root volume", |call, checks| {
        control.grow_volume(call, &root, asked)?;
        prove(stage, call, checks, "root", asked)
    })?;
    report.step("take a snapshot", |call, checks| {
        control.create_snapshot(call, &root, &"before-change".parse()?)?;
        let there = control.snapshots(&root)?.len();
        checks.hold(
            there == 1,
            "1 snapshot is recorded and in the image",
            format!("{there} snapshots"),
        )
    })?;
    report.step("change the content", |call, checks| {
        let other = stage.directory.join("other-content");
        write_other_content(&other, before.get())?;
        let image = SourceImage::new(&other, DiskFormat::Raw);
        control.replace_content(call, &root, &image)?;
        let same = control.compare_content(call, &root, &template.source())?;
        checks.hold(
            same == Sameness::Different,
            "it differs from the template now",
            "nothing changed",
        )?;
        fs::remove_file(&other)?;
        Ok(())
    })?;
    report.step("restore the snapshot", |call, checks| {
        control.restore_snapshot(call, &root, &"before-change".parse()?)?;
        let same = control.compare_content(call, &root, &template.source())?;
        checks.hold(
            same == Sameness::Identical,
            "bit-identical to the template again",
            "the content is not what it was",
        )?;
        prove(stage, call, checks, "root", asked)
    })
}

/// Bytes that are not the template's, at most 64 MiB of them.
fn write_other_content(path: &Path, size: u64) -> Result<()> {
    use std::io::Write;
    let mut file = std::io::BufWriter::new(fs::File::create_new(path)?);
    for block in 0..size.min(ByteSize::mib(64).get()) / 512 {
        file.write_all(&[block.to_le_bytes(); 64].concat())?;
    }
    Ok(file.flush()?)
}
