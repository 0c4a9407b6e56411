use std::path::{Path, PathBuf};

use crate::LabError;
use crate::hypervisors::tools::{run, succeed, tool};

/// The Debian package of `losetup`.
const PACKAGE: &str = "mount";

/// A loop device on a file of this machine, as long as this lives.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    /// The next free device, on all of this file.
    ///
    /// # Errors
    /// [`LabError::Tool`] and [`LabError::Failed`], as when this is not root.
    pub fn on(file: &Path) -> Result<Self, LabError> {
        let command = tool("losetup", PACKAGE)?.args(["--find", "--show"]).arg(file);
        let done = succeed(&command)?;
        Ok(Self {
            path: String::from_utf8_lossy(&done.stdout).trim().into(),
        })
    }

    /// The device.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if let Ok(command) = tool("losetup", PACKAGE) {
            // It may be gone already.
            let _ = run(&command.arg("--detach").arg(&self.path));
        }
    }
}
