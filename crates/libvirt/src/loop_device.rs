use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use strongroom_exec::{CommandSpec, Program, RunError, Runner, Watch};
use strongroom_types::{Call, Interrupted};

use crate::MemoryFileError;

/// losetup takes no time, unless the storage hangs.
const LIMIT: Duration = Duration::from_secs(30);

/// A loop device that the kernel takes back when nobody has it open any more: with this value, or with the process.
#[derive(Debug)]
pub(crate) struct LoopDevice {
    path: PathBuf,
    file: File,
}

impl LoopDevice {
    /// Makes one of the file that this process sees at that path.
    pub(crate) fn attach(
        runner: &dyn Runner,
        call: &Call,
        seen_by: u32,
        file: &Path,
    ) -> Result<Self, MemoryFileError> {
        let losetup = tool("losetup", "mount")?;
        let attach = tool("nsenter", "util-linux")?
            .arg(format!("--mount=/proc/{seen_by}/ns/mnt"))
            .arg(losetup.program().path())
            .args(["--find", "--show"])
            .arg(file);
        let path = PathBuf::from(run(runner, call, attach)?.trim_end());
        let opened = OpenOptions::new().read(true).write(true).open(&path);
        // In use, so it goes later: when the last one lets go of it.
        let detached = detach(runner, &path);
        let file = opened.map_err(MemoryFileError::io("open", &path))?;
        detached?;
        Ok(Self { path, file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// In bytes.
    pub(crate) fn length(&self) -> Result<u64, MemoryFileError> {
        use std::io::{Seek, SeekFrom};
        (&self.file)
            .seek(SeekFrom::End(0))
            .map_err(MemoryFileError::io("measure", &self.path))
    }

    /// Whether this machine has one of this file. One whose daemon has died does not count, for its file has no name any more.
    pub(crate) fn is_there(file: &Path) -> Result<bool, MemoryFileError> {
        let devices = Path::new("/sys/block");
        let entries = fs::read_dir(devices).map_err(MemoryFileError::io("read", devices))?;
        Ok(entries.flatten().any(|entry| {
            let backing = entry.path().join("loop/backing_file");
            let named = fs::read_to_string(backing).unwrap_or_default();
            named.strip_suffix('\n').map(Path::new) == Some(file)
        }))
    }
}

fn detach(runner: &dyn Runner, device: &Path) -> Result<(), MemoryFileError> {
    let detach = tool("losetup", "mount")?.arg("--detach").arg(device);
    run(runner, &Call::new(), detach).map(drop)
}

pub(crate) fn tool(
    name: &'static str,
    package: &'static str,
) -> Result<CommandSpec<'static>, MemoryFileError> {
    Program::find(name)
        .map(CommandSpec::new)
        .map_err(|source| MemoryFileError::MissingTool {
            name,
            package,
            source,
        })
}

fn run(runner: &dyn Runner, call: &Call, command: CommandSpec<'_>) -> Result<String, MemoryFileError> {
    let done = runner
        .run(&command.timeout(LIMIT), &Watch::call(call))
        .map_err(|source| match source {
            RunError::Cancelled { .. } => MemoryFileError::Interrupted(Interrupted::Cancelled),
            source => MemoryFileError::Run(source),
        })?;
    if done.code != 0 {
        return Err(MemoryFileError::Failed {
            what: "losetup",
            message: done.message(),
        });
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
