//! A state directory with everything that works on it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use strongroom_control_plane::ControlPlane;
use strongroom_endpoint_selector::{Endpoint, RegisteredEndpoints};
use strongroom_exec::{Runner, SystemRunner};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_passphrase_store::{FileKek, KeyEncryptionKey, sqlite::Database};
use strongroom_types::{Call, HostId};

use crate::drivers::Drivers;
use crate::state::StateDirectory;

/// A state directory opened for work, with this machine's agent.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) control: ControlPlane,
    pub(crate) agent: Arc<HostAgent>,
    pub(crate) state: StateDirectory,
}

/// How a session is opened.
#[derive(Debug)]
pub(crate) struct Wiring {
    /// Where the tools are.
    pub(crate) tools: ToolPaths,
    /// Agents beside that of this machine, already probed.
    pub(crate) others: Vec<Arc<HostAgent>>,
}

impl Session {
    /// Opens the directory, finishes or undoes what an earlier process left, and says so on standard error.
    pub(crate) fn open(path: &Path, wiring: Wiring, call: &Call) -> Result<Self> {
        let state = StateDirectory::open(path)?;
        let kek: Arc<dyn KeyEncryptionKey> = Arc::new(open_kek(&state)?);
        let database = Database::open(state.database())?;
        let runner: Arc<dyn Runner> = Arc::new(SystemRunner::new());
        let agent = Arc::new(HostAgent::new(local_host()?, wiring.tools, runner));
        let mut endpoints = RegisteredEndpoints::new();
        endpoints.register(agent.clone());
        for other in wiring.others {
            endpoints.register(other);
        }
        let control = ControlPlane::open(database, kek, Arc::new(Drivers), Arc::new(endpoints))?;
        let session = Self {
            control,
            agent,
            state,
        };
        session.restore_facts()?;
        for recovered in session
            .control
            .recover(call)
            .context("cannot finish what an earlier process left")?
        {
            tracing::warn!("{recovered}");
        }
        Ok(session)
    }
}

impl Session {
    /// Gives the agents what earlier probes found, and the pools that they reach.
    fn restore_facts(&self) -> Result<()> {
        for record in self.control.hosts()? {
            if record.facts.id == self.agent.host().id {
                self.agent.restore(record.facts);
            }
        }
        for pool in self.control.pools()? {
            self.agent.reach(pool.id);
        }
        Ok(())
    }
}

/// The name of this machine's host.
pub(crate) fn local_host() -> Result<HostId> {
    Ok("local".parse()?)
}

/// Where probes try things out: beside the state, because that is where there is room.
pub(crate) fn scratch(state: &Path) -> std::path::PathBuf {
    state.to_owned()
}

/// The key-encryption key: made with the state, and never made again for a database that is there, because a new key would
/// open nothing of it.
fn open_kek(state: &StateDirectory) -> Result<FileKek> {
    let path = state.kek();
    if state.database().exists() || path.symlink_metadata().is_ok() {
        return FileKek::open(&path)
            .with_context(|| format!("cannot use the key-encryption key {}", path.display()));
    }
    FileKek::create(&path).with_context(|| format!("cannot make the key-encryption key {}", path.display()))
}
