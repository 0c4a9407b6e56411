//! The template that the demo makes when it is not given one: a real file system with real files.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use strongroom_exec::{CommandSpec, Program, Runner, Watch};
use strongroom_types::{ByteSize, Call};

/// The size of the image in bytes.
const SIZE: ByteSize = ByteSize::mib(64);

/// How much of this program is in it.
const PROGRAM: ByteSize = ByteSize::mib(24);

/// A text that is in the image and must not be in any encrypted disk.
pub(crate) const MARKER: &str =
    "strongroom demo: this sentence lies in the template and nowhere else in clear";

/// Makes an ext4 image from the licence texts that Debian ships, this program itself, and a marker. Returns its path.
pub(crate) fn make(directory: &Path, runner: &dyn Runner, call: &Call) -> Result<PathBuf> {
    let mkfs = Program::find("mkfs.ext4")
        .context("the template is made by mkfs.ext4: install the package e2fsprogs")?;
    let files = directory.join("template-files");
    fs::create_dir(&files)?;
    fs::write(files.join("marker"), MARKER)?;
    if let Ok(program) = std::env::current_exe() {
        // Its beginning: with what a debugger needs, all of it may be larger than the image.
        let mut beginning = fs::File::open(program)?.take(PROGRAM.get());
        io::copy(&mut beginning, &mut fs::File::create_new(files.join("program"))?)?;
    }
    for entry in fs::read_dir("/usr/share/common-licenses")
        .into_iter()
        .flatten()
        .flatten()
    {
        if entry.file_type().is_ok_and(|t| t.is_file()) {
            fs::copy(entry.path(), files.join(entry.file_name()))?;
        }
    }
    let image = directory.join("template.raw");
    fs::File::create_new(&image)?.set_len(SIZE.get())?;
    let command = CommandSpec::new(mkfs)
        .args(["-q", "-F", "-E", "nodiscard", "-d"])
        .arg(&files)
        .arg(&image);
    let done = runner.run(&command, &Watch::call(call))?;
    if done.code != 0 {
        bail!(
            "mkfs.ext4 failed with exit code {}: {}",
            done.code,
            done.message()
        );
    }
    fs::remove_dir_all(&files)?;
    Ok(image)
}
