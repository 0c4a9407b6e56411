use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use strongroom_exec::{CommandSpec, Completed, Program, Runner, SystemRunner, Watch};

use super::export::is_sound;
use super::{Export, NfsError};

/// Longer than a client waits for a server that is there.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server's directory, mounted by the kernel's client. Unmounted when dropped, also while the server hangs.
#[derive(Debug)]
pub struct NfsMount(PathBuf);

impl NfsMount {
    /// Mounts what the server exports, with options of nfs(5) like `soft,timeo=10,retrans=1`, by NFS 4.2 unless the options
    /// say otherwise. The directory is made when it is not there.
    ///
    /// # Errors
    /// [`NfsError::Failed`] when the client does not mount it, [`NfsError::Run`] when it does not answer for half a minute.
    pub fn new(at: impl Into<PathBuf>, options: &str) -> Result<Self, NfsError> {
        let at = at.into();
        if !is_sound(&at) {
            return Err(NfsError::Path { path: at });
        }
        fs::create_dir_all(&at).map_err(NfsError::io("make the directory to mount on"))?;
        // One try: what waits for a server is the test.
        let options = format!("vers=4.2,retry=0,{options}");
        let source = format!("127.0.0.1:{}", Export::NAME);
        let command = CommandSpec::new(tool("mount.nfs")?)
            .arg(source)
            .arg(&at)
            .arg("-o")
            .arg(options.trim_end_matches(','));
        run("mount it", command)?;
        Ok(Self(at))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Takes it away: waits for what is not written yet, and fails while somebody uses it.
    ///
    /// # Errors
    /// [`NfsError::Io`] when it is in use (`EBUSY`).
    pub fn unmount(self) -> Result<(), NfsError> {
        unmount(&self.0, UnmountFlags::empty()).map_err(NfsError::os("unmount it"))
    }
}

impl Drop for NfsMount {
    fn drop(&mut self) {
        // With force and lazily, so that no server is needed. That it may be gone already is no matter.
        let _ = unmount(&self.0, UnmountFlags::FORCE | UnmountFlags::DETACH);
    }
}

pub(super) fn tool(name: &str) -> Result<Program, NfsError> {
    Program::find(name).map_err(|source| NfsError::Tool { source })
}

pub(super) fn run(doing: &'static str, command: CommandSpec<'_>) -> Result<Completed, NfsError> {
    let done = SystemRunner::new()
        .run(&command.timeout(PATIENCE), &Watch::nobody())
        .map_err(|source| NfsError::Run { doing, source })?;
    if done.code == 0 {
        Ok(done)
    } else {
        Err(NfsError::Failed {
            doing,
            code: done.code,
            message: done.message(),
        })
    }
}
