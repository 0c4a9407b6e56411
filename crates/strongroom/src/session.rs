//! A state directory with everything that works on it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use anyhow::{Context, Result, bail};
use rusqlite::OptionalExtension;
use strongroom_control_plane::ControlPlane;
use strongroom_endpoint_selector::Endpoint;
use strongroom_exec::{Runner, SystemRunner};
use strongroom_host_agent::{HostAgent, HypervisorUri, ToolPaths};
use strongroom_passphrase_store::{FileKek, KeyEncryptionKey, sqlite::Database};
use strongroom_types::{Call, HostId, PoolId};

use crate::drivers::Drivers;
use crate::hosts::{Elsewhere, Hosts};
use crate::remote_hosts::RemoteHosts;
use crate::state::StateDirectory;

/// A state directory opened for work, with this machine's agent.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) control: ControlPlane,
    pub(crate) agent: Arc<HostAgent>,
    elsewhere: BTreeMap<HostId, Arc<Elsewhere>>,
    pub(crate) state: StateDirectory,
}

/// How a session is opened.
#[derive(Debug)]
pub(crate) struct Wiring {
    /// Where the tools are.
    pub(crate) tools: ToolPaths,
    /// The libvirt that runs this machine's virtual machines.
    pub(crate) hypervisor: HypervisorUri,
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
        let agent =
            Arc::new(HostAgent::new(local_host()?, wiring.tools, runner).with_hypervisor(wiring.hypervisor));
        let mut here: Vec<Arc<dyn Endpoint>> = vec![agent.clone()];
        for other in wiring.others {
            here.push(other);
        }
        let remote = RemoteHosts::read(state.path())?;
        let elsewhere: BTreeMap<_, _> = remote
            .0
            .iter()
            .map(|(name, host)| (name.clone(), host.elsewhere(name)))
            .collect();
        let hosts = Hosts::new(here, elsewhere.values().cloned().collect());
        let control = ControlPlane::open(database, kek, Arc::new(Drivers), Arc::new(hosts))?;
        let session = Self {
            control,
            agent,
            elsewhere,
            state,
        };
        let installation = session.control.installation()?;
        for host in session.elsewhere.values() {
            host.act_for(&installation);
        }
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
    /// Remembers that these hosts elsewhere reach a pool, and no other host does; that this machine does when there are none.
    pub(crate) fn give_pool(&self, hosts: &[HostId], pool: &PoolId) -> Result<()> {
        let mut remote = self.remote_hosts()?;
        let before = remote.clone();
        remote.give(pool, hosts);
        for host in hosts {
            self.host_elsewhere(host)?.reach(pool.clone());
        }
        if hosts.is_empty() {
            self.agent.reach(pool.clone());
        }
        if remote == before {
            return Ok(());
        }
        remote.write(self.state.path())
    }

    /// The hosts elsewhere as the state directory has them now.
    pub(crate) fn remote_hosts(&self) -> Result<RemoteHosts> {
        RemoteHosts::read(self.state.path())
    }

    /// A host elsewhere that was added.
    pub(crate) fn host_elsewhere(&self, name: &HostId) -> Result<&Arc<Elsewhere>> {
        self.elsewhere.get(name).with_context(|| {
            format!("there is no host {name} elsewhere; `host add` adds one, `host list` names them")
        })
    }

    /// Who answers for a pool's storage: a host elsewhere that reaches it, or this machine.
    pub(crate) fn host_of(&self, pool: &PoolId) -> Result<Arc<dyn Endpoint>> {
        let remote = self.remote_hosts()?;
        let first = remote.0.iter().find(|(_, host)| host.pools.contains(pool));
        match first {
            Some((name, _)) => Ok(self.host_elsewhere(name)?.clone()),
            None => Ok(self.agent.clone()),
        }
    }

    /// Gives the agents what earlier probes found, and the pools that they reach.
    fn restore_facts(&self) -> Result<()> {
        for record in self.control.hosts()? {
            if record.facts.id == self.agent.host().id {
                self.agent.restore(record.facts);
            } else if let Some(host) = self.elsewhere.get(&record.facts.id) {
                host.restore(record.facts);
            }
        }
        let remote = self.remote_hosts()?;
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
