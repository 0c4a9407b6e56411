//! A state directory with everything that works on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use anyhow::{Context, Result, bail};
use rusqlite::OptionalExtension;
use strongroom_control_plane::ControlPlane;
use strongroom_endpoint_selector::{Endpoint, RegisteredEndpoints};
use strongroom_exec::{Runner, SystemRunner};
use strongroom_host_agent::{HostAgent, ToolPaths};
use strongroom_passphrase_store::{FileKek, KeyEncryptionKey, sqlite::Database};
use strongroom_remote_endpoint::RemoteEndpoint;
use strongroom_types::{Call, HostId, PoolId};

use crate::drivers::Drivers;
use crate::remote_hosts::RemoteHosts;
use crate::state::StateDirectory;

/// A state directory opened for work, with this machine's agent.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) control: ControlPlane,
    pub(crate) agent: Arc<HostAgent>,
    elsewhere: BTreeMap<HostId, Arc<RemoteEndpoint>>,
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
        Self::open_in(StateDirectory::open(path, call)?, wiring, call)
    }

    /// The same in a directory that is open.
    pub(crate) fn open_in(state: StateDirectory, wiring: Wiring, call: &Call) -> Result<Self> {
        let (kek, database) = open_records(&state)?;
        let kek: Arc<dyn KeyEncryptionKey> = Arc::new(kek);
        let runner: Arc<dyn Runner> = Arc::new(SystemRunner::new());
        let agent = Arc::new(HostAgent::new(local_host()?, wiring.tools, runner));
        let mut endpoints = RegisteredEndpoints::new();
        endpoints.register(agent.clone());
        for other in wiring.others {
            endpoints.register(other);
        }
        let remote = RemoteHosts::read(state.path())?;
        let mut elsewhere = BTreeMap::new();
        for (name, host) in &remote.0 {
            let endpoint = host.endpoint(name)?;
            endpoints.register(endpoint.clone());
            elsewhere.insert(name.clone(), endpoint);
        }
        let control = ControlPlane::open(database, kek, Arc::new(Drivers), Arc::new(endpoints))?;
        let session = Self {
            control,
            agent,
            elsewhere,
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
    /// Remembers that a host elsewhere is the one that reaches a pool.
    pub(crate) fn give_pool(&self, host: &HostId, pool: &PoolId) -> Result<()> {
        let mut remote = RemoteHosts::read(self.state.path())?;
        let (Some(known), Some(endpoint)) = (remote.0.get_mut(host), self.elsewhere.get(host)) else {
            bail!("there is no host {host} elsewhere; add it with: strongroom host add");
        };
        known.pools.insert(pool.clone());
        endpoint.reach(pool.clone());
        remote.write(self.state.path())
    }

    /// Gives the agents what earlier probes found, and the pools that they reach.
    fn restore_facts(&self) -> Result<()> {
        for record in self.control.hosts()? {
            if record.facts.id == self.agent.host().id {
                self.agent.restore(record.facts);
            }
        }
        let remote = RemoteHosts::read(self.state.path())?;
        for pool in self.control.pools()? {
            if !remote.have(&pool.id) {
                self.agent.reach(pool.id);
            }
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

/// The format of the state directory.
const FORMAT: &str = "strongroom state 1\n";

/// The key-encryption key and the database. Both are made with the state and never again: a new key would open nothing of what
/// the database has, and a new database would know nothing of the volumes.
fn open_records(state: &StateDirectory) -> Result<(FileKek, Database)> {
    let (path, database) = (state.kek(), state.database());
    let made = match fs::read_to_string(state.format()) {
        Ok(format) if format == FORMAT => true,
        Ok(other) => bail!(
            "{} is in the format {:?}, and this program knows {:?}; use the program that made it, or a newer one",
            state.path().display(),
            other.trim(),
            FORMAT.trim()
        ),
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", state.format().display())),
    };
    if made && !database.metadata().is_ok_and(|m| m.len() > 0) {
        bail!(
            "the database {} is gone or empty, and with it every record of volumes and keys; restore it from a copy",
            database.display()
        );
    }
    let kek = if made || database.exists() || path.symlink_metadata().is_ok() {
        FileKek::open(&path)
            .with_context(|| format!("cannot use the key-encryption key {}", path.display()))?
    } else {
        FileKek::create(&path)
            .with_context(|| format!("cannot make the key-encryption key {}", path.display()))?
    };
    let opened = Database::open(&database)?;
    refuse_another_kek(&opened, &kek, &path)?;
    if !made {
        fs::write(state.format(), FORMAT)
            .with_context(|| format!("cannot write {}", state.format().display()))?;
    }
    Ok((kek, opened))
}

/// What is sealed here was sealed by one key. A volume made under another would not open once the right one is back.
fn refuse_another_kek(database: &Database, kek: &FileKek, path: &Path) -> Result<()> {
    let other: Option<String> = database
        .connection()
        .query_row(
            "SELECT kek FROM passphrases WHERE kek <> ?1 LIMIT 1",
            [kek.id().as_str()],
            |row| row.get(0),
        )
        .optional()
        .context("cannot read which key sealed the passphrases")?;
    match other {
        None => Ok(()),
        Some(other) => bail!(
            "the passphrases here were sealed by the key {other}, and {} has the key {}; put the right key file back",
            path.display(),
            kek.id()
        ),
    }
}
