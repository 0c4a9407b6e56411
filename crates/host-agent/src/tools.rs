//! The tools of this machine, as the agent uses them.

mod luks;
mod qemu;
mod running;
mod transfer;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use strongroom_cryptsetup::Cryptsetup;
use strongroom_endpoint_selector::{EndpointError, ErrorKind};
use strongroom_exec::{CommandSpec, Program, ProgramNotFound, Runner, Watch};
use strongroom_libvirt::{Connection, Uri};
use strongroom_qemu_img::QemuImg;
use strongroom_secret::{Passphrase, SecretFile};
use strongroom_types::Call;

use crate::failure;

pub(crate) use self::luks::NewHeader;
pub(crate) use self::transfer::{Loaded, disk_of};

/// The name of QEMU's tool.
pub(crate) const QEMU_IMG: &str = "qemu-img";
/// The name of the LUKS tool.
pub(crate) const CRYPTSETUP: &str = "cryptsetup";

/// The tool for loop devices.
const LOSETUP: &str = "losetup";

/// libvirt's tool.
pub(crate) const VIRSH: &str = "virsh";

/// The programs on which what a host can do depends.
const LOOKED_AT: [&str; 6] = [
    QEMU_IMG,
    CRYPTSETUP,
    VIRSH,
    "libvirtd",
    "virtqemud",
    "qemu-system-x86_64",
];

/// What follows the name of a tool, where a probe says which file it was.
pub(crate) const FILE: &str = " (file)";

/// Where the tools are looked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToolPaths {
    directory: Option<PathBuf>,
}

impl ToolPaths {
    /// The directories of the system.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// This directory alone. It is absolute; a tool that is not there counts as not installed.
    #[must_use]
    pub fn in_directory(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: Some(directory.into()),
        }
    }

    fn find(&self, name: &str) -> Result<Program, ProgramNotFound> {
        match &self.directory {
            None => Program::find(name),
            Some(directory) => Program::at(directory.join(name)),
        }
    }
}

/// The tools, looked for anew at each use: one that is installed later is found.
#[derive(Debug)]
pub(crate) struct Tools {
    paths: ToolPaths,
    runner: Arc<dyn Runner>,
}

impl Tools {
    pub(crate) fn new(paths: ToolPaths, runner: Arc<dyn Runner>) -> Self {
        Self { paths, runner }
    }

    fn find(&self, operation: &'static str, name: &'static str) -> Result<Program, EndpointError> {
        self.paths.find(name).map_err(|e| {
            let package = match name {
                QEMU_IMG => "qemu-utils",
                LOSETUP => "mount",
                VIRSH => "libvirt-clients",
                _ => "cryptsetup-bin",
            };
            let message = format!("{e}; on Debian the package is {package}");
            EndpointError::new(ErrorKind::MissingTool, operation, message).with_source(e)
        })
    }

    fn qemu_img(&self, operation: &'static str) -> Result<QemuImg<Arc<dyn Runner>>, EndpointError> {
        Ok(QemuImg::new(self.find(operation, QEMU_IMG)?, self.runner.clone()))
    }

    fn cryptsetup(&self, operation: &'static str) -> Result<Cryptsetup, EndpointError> {
        Ok(Cryptsetup::new(
            self.find(operation, CRYPTSETUP)?,
            self.runner.clone(),
        ))
    }

    /// What starts the tools.
    pub(crate) fn runner(&self) -> &Arc<dyn Runner> {
        &self.runner
    }

    /// libvirt at this URI, by its virsh.
    pub(crate) fn libvirt(&self, operation: &'static str, uri: Uri) -> Result<Connection, EndpointError> {
        Ok(Connection::new(
            self.find(operation, VIRSH)?,
            self.runner.clone(),
            uri,
        ))
    }

    /// Has a loop device notice that its file has another size.
    pub(crate) fn update_loop(
        &self,
        operation: &'static str,
        call: &Call,
        path: &Path,
    ) -> Result<(), EndpointError> {
        let command = CommandSpec::new(self.find(operation, LOSETUP)?)
            .arg("--set-capacity")
            .arg(path);
        let problem = match self.runner.run(&command, &Watch::call(call)) {
            Ok(done) if done.code == 0 => return Ok(()),
            Ok(done) => {
                EndpointError::new(ErrorKind::Tool, operation, format!("losetup: {}", done.message()))
            }
            Err(e) => failure::run(operation, LOSETUP, e),
        };
        Err(problem)
    }

    /// What each tool says of its version, or why it does not.
    pub(crate) fn versions(&self, call: &Call) -> BTreeMap<String, String> {
        [QEMU_IMG, CRYPTSETUP]
            .into_iter()
            .map(|name| (name.to_owned(), self.version(call, name)))
            .collect()
    }

    /// Which files the tools are, and those that they lead to: what a probe found holds as long as these are the same.
    pub(crate) fn files(&self) -> BTreeMap<String, String> {
        let stamped = LOOKED_AT.into_iter().filter_map(|name| {
            let program = self.paths.find(name).ok()?;
            let file = std::fs::metadata(program.path()).ok()?;
            let stamp = format!(
                "{} {}:{} {} {}.{:09}",
                program.path().display(),
                file.dev(),
                file.ino(),
                file.size(),
                file.mtime(),
                file.mtime_nsec()
            );
            Some((format!("{name}{FILE}"), stamp))
        });
        stamped.collect()
    }

    fn version(&self, call: &Call, name: &'static str) -> String {
        let program = match self.paths.find(name) {
            Ok(program) => program,
            Err(e) => return e.to_string(),
        };
        match self
            .runner
            .run(&CommandSpec::new(program).arg("--version"), &Watch::call(call))
        {
            Ok(done) => {
                let text = String::from_utf8_lossy(&done.stdout);
                text.lines()
                    .next()
                    .unwrap_or("says nothing")
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(120)
                    .collect()
            }
            Err(e) => e.to_string(),
        }
    }
}

/// Puts a key where a tool can read it.
pub(crate) fn hand_over(operation: &'static str, key: &Passphrase) -> Result<SecretFile, EndpointError> {
    SecretFile::new(key)
        .map_err(|e| EndpointError::new(ErrorKind::Io, operation, e.to_string()).with_source(e))
}
