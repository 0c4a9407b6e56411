//! Hosts that agents serve elsewhere, as the state directory remembers them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use strongroom_remote_endpoint::{Identity, RemoteEndpoint};
use strongroom_types::{HostId, PoolId};

use crate::hosts::Elsewhere;
use crate::process::chain;

/// A host elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RemoteHost {
    /// Where its agent listens.
    pub(crate) address: String,
    /// The directory with the control plane's certificate.
    pub(crate) certificates: PathBuf,
    /// The pools that this host reaches, and this machine does not.
    #[serde(default)]
    pub(crate) pools: BTreeSet<PoolId>,
}

impl RemoteHost {
    /// The host as an endpoint. Nothing is connected yet.
    pub(crate) fn endpoint(&self, name: &HostId) -> Result<RemoteEndpoint> {
        let identity = Identity::load(&self.certificates)
            .with_context(|| format!("cannot use the certificates in {}", self.certificates.display()))?;
        Ok(RemoteEndpoint::new(name.clone(), &self.address, &identity)?)
    }

    /// The same for work: certificates that cannot be used are an error when the host is needed, and not before.
    pub(crate) fn elsewhere(&self, name: &HostId) -> Arc<Elsewhere> {
        let endpoint = self.endpoint(name).map_err(|e| chain(&e));
        let elsewhere = Elsewhere::new(name.clone(), endpoint);
        for pool in &self.pools {
            elsewhere.reach(pool.clone());
        }
        Arc::new(elsewhere)
    }
}

/// All of them, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct RemoteHosts(pub(crate) BTreeMap<HostId, RemoteHost>);

fn file(state: &Path) -> PathBuf {
    state.join("remote-hosts.json")
}

impl RemoteHosts {
    /// What the state directory remembers.
    pub(crate) fn read(state: &Path) -> Result<Self> {
        let path = file(state);
        match fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Has the state directory remember these, or what it remembers now.
    pub(crate) fn write(&self, state: &Path) -> Result<()> {
        let path = file(state);
        let staged = path.with_extension("new");
        let written = || -> io::Result<()> {
            let mut file = File::create(&staged)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&staged, &path)?;
            File::open(state)?.sync_all()
        };
        written().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Whether they reach the pool, and this machine does not.
    pub(crate) fn have(&self, pool: &PoolId) -> bool {
        self.0.values().any(|host| host.pools.contains(pool))
    }

    /// Has these hosts reach the pool, and no other.
    pub(crate) fn give(&mut self, pool: &PoolId, hosts: &[HostId]) {
        for (name, host) in &mut self.0 {
            if hosts.contains(name) {
                host.pools.insert(pool.clone());
            } else {
                host.pools.remove(pool);
            }
        }
    }
}
