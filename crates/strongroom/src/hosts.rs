//! The hosts that are given work: the agents of this process, and hosts elsewhere.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use strongroom_endpoint_selector::{
    Endpoint, EndpointError, EndpointSelector, ErrorKind, HostAnswer, HostCommand,
};
use strongroom_host_scheduler::{Need, NoHost, Rejection, Scheduler};
use strongroom_remote_endpoint::RemoteEndpoint;
use strongroom_types::{Call, HostFacts, HostId, HostState, InstallationId, PoolId};

/// A host elsewhere. One whose certificates cannot be used is down, and hinders no other.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    name: HostId,
    endpoint: Result<RemoteEndpoint, String>,
    pools: Mutex<BTreeSet<PoolId>>,
    /// What was known of it when it was added.
    recorded: Mutex<Option<HostFacts>>,
    told: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Elsewhere {
    pub(crate) fn new(name: HostId, endpoint: Result<RemoteEndpoint, String>) -> Self {
        Self {
            name,
            endpoint,
            pools: Mutex::default(),
            recorded: Mutex::default(),
            told: AtomicBool::new(false),
        }
    }

    /// Says that it reaches a pool.
    pub(crate) fn reach(&self, pool: PoolId) {
        if let Ok(endpoint) = &self.endpoint {
            endpoint.reach(pool.clone());
        }
        lock(&self.pools).insert(pool);
    }

    /// Says for which installation this process works.
    pub(crate) fn act_for(&self, installation: &InstallationId) {
        if let Ok(endpoint) = &self.endpoint {
            endpoint.act_for(installation);
        }
    }

    /// Says what is known of it without asking it.
    pub(crate) fn restore(&self, facts: HostFacts) {
        *lock(&self.recorded) = Some(facts);
    }

    /// What is known of it without asking it.
    fn unasked(&self) -> HostFacts {
        let recorded = lock(&self.recorded).clone();
        let mut facts = recorded.unwrap_or_else(|| HostFacts::new(self.name.clone()));
        facts.pools = lock(&self.pools).clone();
        facts
    }

    /// Whether it may be the one that is needed, so that it is worth asking.
    fn may_do(&self, need: &Need) -> bool {
        need.pools.is_subset(&lock(&self.pools))
            && !need.exclude.contains(&self.name)
            && need.host.as_ref().is_none_or(|wanted| *wanted == self.name)
    }

    /// Its facts, and why it is not to be reached.
    pub(crate) fn asked(&self) -> (HostFacts, Option<String>) {
        let (facts, reason) = match &self.endpoint {
            Ok(endpoint) => {
                let facts = endpoint.host();
                let is_up = facts.state != HostState::Down;
                let reason = endpoint
                    .why_down()
                    .unwrap_or_else(|| "it does not answer".to_owned());
                (facts, (!is_up).then_some(reason))
            }
            Err(reason) => (self.unasked(), Some(reason.clone())),
        };
        match reason {
            None => (facts, None),
            Some(reason) => {
                let mut facts = self.unasked();
                facts.state = HostState::Down;
                (facts, Some(reason))
            }
        }
    }
}

impl Endpoint for Elsewhere {
    fn host(&self) -> HostFacts {
        let (facts, reason) = self.asked();
        if let Some(reason) = reason
            && !self.told.swap(true, Ordering::SeqCst)
        {
            tracing::warn!("host {} cannot be reached: {reason}", self.name);
        }
        facts
    }

    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        match &self.endpoint {
            Ok(endpoint) => endpoint.run(call, command),
            Err(reason) => {
                let message = format!("host {} cannot be reached: {reason}", self.name);
                Err(EndpointError::new(
                    ErrorKind::PermissionDenied,
                    command.name(),
                    message,
                ))
            }
        }
    }
}

/// Chooses among them. A host elsewhere that does not reach the pool is not asked, and so one that is down delays only work on its own
/// pools. Those that are asked are asked at the same time.
#[derive(Debug)]
pub(crate) struct Hosts {
    here: Vec<Arc<dyn Endpoint>>,
    elsewhere: Vec<Arc<Elsewhere>>,
    scheduler: Scheduler,
}

impl Hosts {
    pub(crate) fn new(here: Vec<Arc<dyn Endpoint>>, elsewhere: Vec<Arc<Elsewhere>>) -> Self {
        Self {
            here,
            elsewhere,
            scheduler: Scheduler::default(),
        }
    }
}

impl EndpointSelector for Hosts {
    fn endpoint(&self, host: &HostId) -> Result<Arc<dyn Endpoint>, NoHost> {
        if let Some(elsewhere) = self.elsewhere.iter().find(|known| known.name == *host) {
            return Ok(elsewhere.clone());
        }
        let here = self.here.iter().find(|known| known.host().id == *host);
        here.cloned().ok_or_else(|| {
            let why = "is not known here".to_owned();
            NoHost::new(vec![(host.clone(), vec![Rejection::Other { reason: why }])])
        })
    }

    fn select(&self, need: &Need) -> Result<Arc<dyn Endpoint>, NoHost> {
        let mut facts: Vec<_> = self.here.iter().map(|endpoint| endpoint.host()).collect();
        facts.extend(thread::scope(|scope| {
            let ask = |host: &'_ Arc<Elsewhere>| {
                let host = Arc::clone(host);
                let asked = host.may_do(need);
                scope.spawn(move || if asked { host.host() } else { host.unasked() })
            };
            let asked: Vec<_> = self.elsewhere.iter().map(ask).collect();
            let hosts = self.elsewhere.iter().zip(asked);
            hosts
                .map(|(host, asked)| asked.join().unwrap_or_else(|_| host.unasked()))
                .collect::<Vec<_>>()
        }));
        let chosen = self.scheduler.choose(need, &facts)?;
        let mut all = self.here.clone();
        for host in &self.elsewhere {
            all.push(host.clone());
        }
        all.into_iter()
            .zip(&facts)
            .find(|(_, facts)| std::ptr::eq(*facts, chosen))
            .map(|(endpoint, _)| endpoint)
            .ok_or_else(|| NoHost::new(Vec::new()))
    }
}
