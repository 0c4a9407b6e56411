//! The template of the guest's root: a file system with a system that starts, and real files with their digests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use strongroom_exec::{CommandSpec, Program, Runner, Watch};
use strongroom_types::{ByteSize, Call};

use super::boot_files::busybox;
use super::template::MARKER;

const INIT: &str = include_str!("boot_root_init.sh");

/// The size of the image in bytes.
const SIZE: ByteSize = ByteSize::mib(48);

/// The template, and how many of its files the guest is to find as they are.
#[derive(Debug)]
pub(crate) struct BootRoot {
    pub(crate) image: PathBuf,
    pub(crate) files: usize,
}

/// Makes it in this directory.
pub(crate) fn make(directory: &Path, runner: &dyn Runner, call: &Call) -> Result<BootRoot> {
    let root = directory.join("boot-root");
    for inside in ["bin", "sbin", "dev", "proc", "files"] {
        fs::create_dir_all(root.join(inside))?;
    }
    executable(&root.join("sbin/init"), INIT.as_bytes())?;
    let busybox = busybox()?;
    executable(&root.join("bin/busybox"), &fs::read(busybox.path())?)?;
    fs::write(root.join("files/marker"), MARKER)?;
    for entry in fs::read_dir("/usr/share/common-licenses")
        .into_iter()
        .flatten()
        .flatten()
    {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            fs::copy(entry.path(), root.join("files").join(entry.file_name()))?;
        }
    }
    let files = write_digests(&root, busybox, runner, call)?;
    let image = directory.join("boot-root.raw");
    fs::File::create_new(&image)?.set_len(SIZE.get())?;
    let mkfs = Program::find("mkfs.ext4")
        .context("the template is made by mkfs.ext4: install the package e2fsprogs")?;
    let command = CommandSpec::new(mkfs)
        .args(["-q", "-F", "-E", "nodiscard", "-d"])
        .arg(&root)
        .arg(&image);
    done(runner, &command, call)?;
    fs::remove_dir_all(&root)?;
    Ok(BootRoot { image, files })
}

fn executable(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// Writes the digests of all files, by their paths in the guest, and says how many there are.
fn write_digests(root: &Path, busybox: Program, runner: &dyn Runner, call: &Call) -> Result<usize> {
    let mut paths: Vec<PathBuf> = fs::read_dir(root.join("files"))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    paths.push(root.join("bin/busybox"));
    let command = CommandSpec::new(busybox).arg("sha256sum").args(&paths);
    let digests = String::from_utf8(done(runner, &command, call)?)?;
    let outside = root.to_str().context("the directory's path is not UTF-8")?;
    fs::write(root.join("digests"), digests.replace(outside, ""))?;
    Ok(paths.len())
}

fn done(runner: &dyn Runner, command: &CommandSpec<'_>, call: &Call) -> Result<Vec<u8>> {
    let done = runner.run(command, &Watch::call(call))?;
    if done.code != 0 {
        bail!(
            "{} failed with exit code {}: {}",
            command.program().path().display(),
            done.code,
            done.message()
        );
    }
    Ok(done.stdout)
}
