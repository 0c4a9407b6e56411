//! An encrypted root volume boots a guest.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use strongroom_control_plane::{
    ExportAs, NewContent, NewExport, NewVm, NewVolume, StopVmHow, TemplateImage, VmBoot, VmDiskRecord,
};
use strongroom_endpoint_selector::{Endpoint, SourceImage};
use strongroom_types::{
    ByteSize, Call, Capability, DiskFormat, DiskTarget, EncryptionFormat, GuestSize, VmId, VolumeId,
};

use super::boot_files::{BootFiles, COMMAND_LINE};
use super::boot_root::BootRoot;
use super::life::{contains, main_pool, prove};
use super::template::MARKER;
use super::{Stage, boot_files, boot_root, console};
use crate::report::{Checks, Report};

/// How long the guest has to boot: a machine without KVM emulates it.
const PATIENCE: Duration = Duration::from_secs(120);

fn vm() -> Result<VmId> {
    Ok("guest".parse()?)
}

fn volume() -> Result<VolumeId> {
    Ok("boot".parse()?)
}

/// What the guest wrote, and where a copy in clear is put for a moment.
struct Written {
    mark: String,
    disk: PathBuf,
}

/// All steps.
pub(crate) fn all(stage: &Stage, report: &mut Report) -> Result<()> {
    let (files, root) = report.step("make a system that boots from its root volume", |call, checks| {
        let files = BootFiles::make(&stage.directory)?;
        let root = boot_root::make(&stage.directory, stage.runner.as_ref(), call)?;
        checks.held(format!(
            "a root with {} files, their digests among them",
            root.files
        ));
        Ok((files, root))
    })?;
    report.step("create its encrypted root volume", |call, checks| {
        let size = GuestSize::new(strongroom_host_agent::template_size(&SourceImage::new(
            &root.image,
            DiskFormat::Raw,
        ))?)?;
        let mut new = NewVolume::new("secret".parse()?, size);
        new.id = Some(volume()?);
        new.content = NewContent::Image(TemplateImage::new(root.image.clone(), DiskFormat::Raw));
        stage.session.control.create_volume(call, &new)?;
        prove(stage, call, checks, "boot", size)
    })?;
    let written = boot(stage, &files, &root, report);
    let written = match written {
        Ok(written) => written,
        Err(error) => {
            // A guest would go on when the demo has ended.
            let control = &stage.session.control;
            drop(control.stop_vm(&Call::new().with_timeout(PATIENCE), &vm()?, StopVmHow::PowerOff));
            return Err(error);
        }
    };
    after(stage, &written, report)
}

/// Said before all else: whoever asks for a guest need not wait for the rest to learn that there is none.
pub(crate) fn able(stage: &Stage, report: &mut Report) -> Result<()> {
    report.step("look for a hypervisor and a kernel", |_, checks| {
        let facts = stage.session.agent.host();
        if let Some(reason) = facts.capabilities.why_missing(Capability::EncryptedVms) {
            bail!(
                "this machine runs no guests with encrypted disks: {reason}; on Debian, install libvirt-daemon-system, libvirt-clients \
                 and qemu-system-x86, or name another libvirt with --hypervisor"
            );
        }
        checks.held("libvirt runs guests with encrypted disks");
        let kernel = boot_files::version()?;
        checks.held(format!("kernel {kernel}"));
        boot_files::busybox()?;
        Ok(())
    })
}

/// Lets the hypervisor's own user go through the directory, which the demo has to itself. It cannot list it.
pub(crate) fn let_through(directory: &Path) -> Result<()> {
    let through = fs::Permissions::from_mode(0o711);
    fs::set_permissions(directory, through).with_context(|| format!("cannot open {}", directory.display()))
}

fn boot(stage: &Stage, files: &BootFiles, root: &BootRoot, report: &mut Report) -> Result<Written> {
    let control = &stage.session.control;
    let socket = stage.directory.join("console");
    report.step("start a guest on it", |call, checks| {
        let mut new = NewVm::new(ByteSize::mib(256), 1);
        new.id = Some(vm()?);
        new.console = Some(socket.clone());
        new.boot = VmBoot::Kernel {
            kernel: files.kernel.clone(),
            initramfs: Some(files.initramfs.clone()),
            command_line: COMMAND_LINE.to_owned(),
        };
        control.create_vm(&new)?;
        let target: DiskTarget = "vda".parse()?;
        control.attach_volume(call, &vm()?, &VmDiskRecord::new(target.clone(), volume()?))?;
        let started = control.start_vm(call, &vm()?, None)?;
        let host = started.host.map_or_else(String::new, |host| host.to_string());
        checks.held(format!("it is {} on host {host}", started.status));
        let facts = control.vm_facts(call, &vm()?)?;
        let disk = facts.as_ref().and_then(|facts| facts.disk(&target));
        let encryption = disk.and_then(|disk| disk.encryption);
        checks.hold(
            encryption == Some(EncryptionFormat::Luks1),
            "the hypervisor reads its disk through LUKS1",
            format!("the hypervisor reads its disk through {encryption:?}"),
        )?;
        let refused = control.verify_volume(call, &volume()?);
        checks.hold(
            refused
                .as_ref()
                .is_err_and(|e| e.to_string().contains("stop it first")),
            "nobody else gets at the volume while it runs",
            "a volume in use was worked on",
        )
    })?;
    report.step("let the guest read its files and write a mark", |call, checks| {
        let asked = call.clone().with_timeout(PATIENCE);
        let said = console::listen(&socket, "strongroom mark ", &asked)?;
        let after = |beginning: &str| said.iter().find_map(|line| line.strip_prefix(beginning));
        let read = after("strongroom files ").unwrap_or("no");
        checks.hold(
            read == root.files.to_string(),
            format!("the guest read {read} files as they were made"),
            format!("the guest read {read} of {} files as they were made", root.files),
        )?;
        let mark = after("strongroom mark ").context("the guest said no mark")?;
        checks.held("it wrote a mark that it made up");
        Ok(Written {
            mark: mark.to_owned(),
            disk: stage.disk(&main_pool()?, "boot")?,
        })
    })
}

/// The guest is stopped, and what it wrote is looked for.
fn after(stage: &Stage, written: &Written, report: &mut Report) -> Result<()> {
    let control = &stage.session.control;
    report.step("stop the guest", |call, checks| {
        let stopped = control.stop_vm(call, &vm()?, StopVmHow::PowerOff)?;
        checks.held(format!("it is {}", stopped.status));
        let verified = control.verify_volume(call, &volume()?)?;
        verified.checked.into_iter().for_each(|line| checks.held(line));
        Ok(())
    })?;
    report.step("look for what the guest wrote", |call, checks| {
        absent(
            &written.disk,
            &written.mark,
            call,
            checks,
            "its mark is nowhere in the raw bytes",
        )?;
        absent(
            &written.disk,
            MARKER,
            call,
            checks,
            "nor is a text of its template",
        )?;
        let clear = stage.directory.join("boot-clear.raw");
        let reason = ExportAs::Declassified("the demo looks for what its guest wrote");
        control.export_volume(call, &NewExport::new(volume()?, &clear, DiskFormat::Raw, reason))?;
        let found = contains(&clear, written.mark.as_bytes(), call)?;
        fs::remove_file(&clear)?;
        checks.hold(
            found,
            "with the key it is read back",
            "the mark is not in the volume, so that it proves nothing",
        )
    })?;
    report.step("delete the guest and its volume", |call, checks| {
        control.delete_vm(&vm()?)?;
        let erased = control.delete_volume(call, &volume()?)?;
        checks.hold(
            !written.disk.exists() && erased.left.is_empty(),
            erased.destroyed.join(", "),
            format!("not destroyed: {}", erased.left.join("; ")),
        )
    })
}

fn absent(disk: &Path, text: &str, call: &Call, checks: &mut Checks, sentence: &str) -> Result<()> {
    checks.hold(
        !contains(disk, text.as_bytes(), call)?,
        sentence,
        format!("{text:?} lies in clear in {}", disk.display()),
    )
}
