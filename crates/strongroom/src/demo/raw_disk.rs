//! Step 5: the same on raw LUKS disks that cryptsetup formats and QEMU opens.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use strongroom_control_plane::{NewContent, NewVolume, TemplateImage};
use strongroom_endpoint_selector::{
    Disk, DiskLocation, Endpoint, FormatDevice, HostAnswer, Protection, VerifyDisk,
};
use strongroom_exec::{CommandSpec, Program, Watch};
use strongroom_secret::Passphrase;
use strongroom_types::{ByteSize, Call, DiskFormat, EncryptionFormat, GuestSize, PayloadOffset};

use super::life::{main_pool, prove, prove_content};
use super::{Stage, Template};
use crate::report::Report;

/// Volumes in files, and as root a loop device.
pub(crate) fn life(stage: &Stage, template: &Template, report: &mut Report) -> Result<()> {
    let control = &stage.session.control;
    let size = GuestSize::new(strongroom_host_agent::template_size(&template.source())?)?;
    report.step("create a raw LUKS volume from the template", |call, checks| {
        let mut new = NewVolume::new("secret-raw".parse()?, size);
        new.id = Some("raw".parse()?);
        new.content = NewContent::Image(TemplateImage::new(template.path.clone(), template.format));
        control.create_volume(call, &new)?;
        prove(stage, call, checks, "raw", size)
    })?;
    prove_content(stage, template, report, "raw", &main_pool()?)?;
    report.step("grow the raw volume", |call, checks| {
        let asked = GuestSize::new(size.get() + 512)?;
        control.grow_volume(call, &"raw".parse()?, asked)?;
        prove(stage, call, checks, "raw", asked)?;
        let device = fs::metadata(stage.disk(&main_pool()?, "raw")?)?.len();
        let expected = asked.get() + PayloadOffset::LUKS1_CRYPTSETUP.get();
        checks.hold(
            device == expected,
            "the file is the guest size and the header",
            format!("the file has {device} bytes, not {expected}"),
        )
    })?;
    report.step("format a loop device as LUKS", |call, checks| {
        if !rustix::process::geteuid().is_root() {
            checks.held("left out: only root may make loop devices");
            return Ok(());
        }
        let backing = stage.directory.join("loop-backing");
        let device = LoopDevice::attach(stage, call, &backing, ByteSize::mib(16))?;
        let location = DiskLocation::block(device.path.clone());
        let key = Passphrase::generate()?;
        let agent = &stage.session.agent;
        let volume = "loop".parse()?;
        let format = FormatDevice::new(&volume, &location, EncryptionFormat::Luks1, &key);
        let HostAnswer::Disk(facts) = agent.run(call, &format.into())? else {
            bail!("no disk came back")
        };
        let expected = ByteSize::mib(16).get() - PayloadOffset::LUKS1_CRYPTSETUP.get();
        checks.hold(
            facts.guest.get() == expected,
            "the guest sees the device without its header",
            format!("the guest sees {} bytes, not {expected}", facts.guest.get()),
        )?;
        let protection = Protection::Luks {
            format: EncryptionFormat::Luks1,
            key: &key,
        };
        let disk = Disk::new(&location, DiskFormat::Raw, protection);
        let HostAnswer::Verified(verified) = agent.run(call, &VerifyDisk::new(disk).into())? else {
            bail!("nothing was verified")
        };
        verified.checked.into_iter().for_each(|c| checks.held(c));
        Ok(())
    })
}

/// A loop device that is detached when dropped.
#[derive(Debug)]
pub(crate) struct LoopDevice<'s> {
    stage: &'s Stage,
    pub(crate) path: PathBuf,
    backing: PathBuf,
}

impl<'s> LoopDevice<'s> {
    pub(crate) fn attach(stage: &'s Stage, call: &Call, backing: &Path, size: ByteSize) -> Result<Self> {
        fs::File::create_new(backing)?.set_len(size.get())?;
        let command = losetup()?.args(["--find", "--show"]).arg(backing);
        let done = stage.runner.run(&command, &Watch::call(call))?;
        if done.code != 0 {
            bail!("losetup failed: {}", done.message());
        }
        let path = PathBuf::from(String::from_utf8(done.stdout)?.trim());
        Ok(Self {
            stage,
            path,
            backing: backing.to_owned(),
        })
    }
}

impl Drop for LoopDevice<'_> {
    fn drop(&mut self) {
        // Not the call's own watch: an interrupted demo detaches the device all the same.
        if let Ok(command) = losetup() {
            let _ = self
                .stage
                .runner
                .run(&command.arg("--detach").arg(&self.path), &Watch::nobody());
        }
        let _ = fs::remove_file(&self.backing);
    }
}

fn losetup() -> Result<CommandSpec<'static>> {
    Ok(CommandSpec::new(Program::find("losetup").context(
        "loop devices need losetup: install the package mount",
    )?))
}
