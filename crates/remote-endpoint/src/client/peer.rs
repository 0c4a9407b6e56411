//! An agent as its control plane knows it: how to reach it, who waits for it, what it said of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection};
use strongroom_endpoint_selector::ErrorKind;
use strongroom_types::{Call, HostFacts, HostId, HostState, InstallationId, Interrupted, PoolId};

use super::link::{Event, Link};
use crate::channel::{Channel, lock};
use crate::frame::{ANSWER_LIMIT, Hello, Kind, VERSION, Welcome, frame};
use crate::server::random;
use crate::{Identity, RemoteError, Role, wire};

/// After how long without a word the agent is asked for one.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long one attempt to connect may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long the first pause between two attempts is. Each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// How long a pause gets.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How old facts may be before they are asked for again.
const FRESH: Duration = Duration::from_secs(5);
/// How long facts are waited for.
const FACTS_WAIT: Duration = Duration::from_secs(2);

/// What threads share.
#[derive(Debug)]
pub(super) struct Desk {
    host: HostId,
    pub(super) state: Mutex<State>,
    learned: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    link: Option<Arc<Link>>,
    links: u64,
    last_number: u64,
    pub(super) waiting: BTreeMap<u64, Sender<Event>>,
    facts: Option<(HostFacts, Instant)>,
    /// When the agent was last not to be reached, and why.
    failed: Option<(Instant, String)>,
    pools: BTreeSet<PoolId>,
    installation: Option<String>,
}

impl Desk {
    pub(super) fn learn(&self, facts: HostFacts) {
        if facts.id == self.host {
            lock(&self.state).facts = Some((facts, Instant::now()));
            self.learned.notify_all();
        }
    }
}

/// Why there is no connection.
pub(super) enum NoLink {
    Interrupted(Interrupted),
    Refused(ErrorKind, String),
}

pub(super) struct Peer {
    desk: Arc<Desk>,
    address: String,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    client: [u8; 16],
    connecting: Mutex<()>,
    pub(super) patience: Duration,
    pub(super) heartbeat: Duration,
    pub(super) cancel_when_lost: bool,
}

impl Peer {
    pub(super) fn new(host: HostId, address: String, identity: &Identity) -> Result<Self, RemoteError> {
        if *identity.role() != Role::ControlPlane {
            return Err(RemoteError::WrongRole {
                found: identity.role().to_string(),
                needed: Role::ControlPlane.to_string(),
            });
        }
        let role = Role::Agent(host.clone());
        let name = ServerName::try_from(role.server_name()).map_err(|e| RemoteError::Make {
            role: role.to_string(),
            source: Box::new(e),
        })?;
        Ok(Self {
            name,
            address,
            tls: Arc::new(identity.client(role)?),
            client: random()?,
            desk: Arc::new(Desk {
                host,
                state: Mutex::default(),
                learned: Condvar::new(),
            }),
            connecting: Mutex::new(()),
            patience: Duration::from_secs(30),
            heartbeat: HEARTBEAT,
            cancel_when_lost: false,
        })
    }

    pub(super) fn host(&self) -> &HostId {
        &self.desk.host
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// A number for a request that is about to be sent, and whose events go there.
    pub(super) fn enlist(&self, events: Sender<Event>) -> u64 {
        let mut state = lock(&self.desk.state);
        state.last_number += 1;
        let number = state.last_number;
        state.waiting.insert(number, events);
        number
    }

    pub(super) fn settle(&self, number: u64) {
        lock(&self.desk.state).waiting.remove(&number);
    }

    /// The lowest number that somebody waits for.
    pub(super) fn settled(&self) -> u64 {
        let state = lock(&self.desk.state);
        let first = state.waiting.first_key_value().map(|(number, _)| *number);
        first.unwrap_or(state.last_number)
    }

    pub(super) fn reach(&self, pool: PoolId) {
        lock(&self.desk.state).pools.insert(pool);
    }

    pub(super) fn act_for(&self, installation: &InstallationId) {
        lock(&self.desk.state).installation = Some(installation.to_string());
    }

    pub(super) fn known(&self) -> Option<(HostFacts, Duration)> {
        let state = lock(&self.desk.state);
        let (facts, at) = state.facts.as_ref()?;
        let mut facts = facts.clone();
        facts.pools.extend(state.pools.iter().cloned());
        Some((facts, at.elapsed()))
    }

    /// What is known of the host, asked for again when it is old.
    pub(super) fn facts(&self) -> HostFacts {
        let is_fresh = |age: Duration| age < FRESH;
        if let Some((facts, age)) = self.known()
            && is_fresh(age)
        {
            return facts;
        }
        let mut failed = self.why_down();
        if failed.is_none() {
            // Once: who asks for facts asks many hosts, and one that is down is passed over.
            let link = self.living().map(Ok).unwrap_or_else(|| {
                let _turn = lock(&self.connecting);
                self.living().map(Ok).unwrap_or_else(|| self.connect(FACTS_WAIT))
            });
            failed = Some(match link {
                Ok(link) => {
                    self.await_facts(&link);
                    "it does not answer".to_owned()
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
                    "it does not answer".to_owned()
                }
                Err(e) => e.to_string(),
            });
        }
        match self.known() {
            Some((facts, age)) if is_fresh(age) => facts,
            known => {
                if let Some(reason) = failed.filter(|_| self.why_down().is_none()) {
                    lock(&self.desk.state).failed = Some((Instant::now(), reason));
                }
                let mut facts = match known {
                    Some((facts, _)) => facts,
                    None => HostFacts::new(self.desk.host.clone()),
                };
                facts.pools.extend(lock(&self.desk.state).pools.iter().cloned());
                facts.state = HostState::Down;
                facts
            }
        }
    }

    fn await_facts(&self, link: &Link) {
        let is_old = |state: &mut State| state.facts.as_ref().is_none_or(|(_, at)| at.elapsed() >= FRESH);
        let mut state = lock(&self.desk.state);
        if !is_old(&mut state) {
            return;
        }
        drop(state);
        link.ask_facts();
        let waited = self
            .desk
            .learned
            .wait_timeout_while(lock(&self.desk.state), FACTS_WAIT, is_old);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn living(&self) -> Option<Arc<Link>> {
        let state = lock(&self.desk.state);
        state.link.clone().filter(|link| link.is_alive())
    }

    /// Why the agent was not to be reached when it was asked for facts just now.
    pub(super) fn why_down(&self) -> Option<String> {
        let state = lock(&self.desk.state);
        let (at, reason) = state.failed.as_ref()?;
        (at.elapsed() < FRESH).then(|| reason.clone())
    }

    /// The connection, made when there is none, as long as the call and patience allow.
    pub(super) fn link(&self, call: &Call) -> Result<Arc<Link>, NoLink> {
        let until = Instant::now().checked_add(self.patience);
        let mut pause = FIRST_PAUSE;
        loop {
            call.check().map_err(NoLink::Interrupted)?;
            if let Some(link) = self.living() {
                return Ok(link);
            }
            let turn = lock(&self.connecting);
            if let Some(link) = self.living() {
                return Ok(link);
            }
            let limit = call.remaining().map_or(ATTEMPT, |left| left.min(ATTEMPT));
            let reason = match self.connect(limit) {
                Ok(link) => return Ok(link),
                Err(e) => e,
            };
            drop(turn);
            // A certificate does not get better by waiting.
            if reason.kind() == io::ErrorKind::InvalidData || reason.kind() == io::ErrorKind::InvalidInput {
                let message = format!("refused: {reason}");
                return Err(NoLink::Refused(ErrorKind::PermissionDenied, message));
            }
            if call.deadline().is_none() && until.is_some_and(|until| Instant::now() >= until) {
                let message = format!("it cannot be reached: {reason}");
                return Err(NoLink::Refused(ErrorKind::Io, message));
            }
            thread::park_timeout(call.remaining().map_or(pause, |left| left.min(pause)));
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    fn connect(&self, limit: Duration) -> io::Result<Arc<Link>> {
        let deadline = Instant::now() + limit;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the address names nothing");
        let mut socket = None;
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, limit.max(Duration::from_millis(1))) {
                Ok(connected) => {
                    socket = Some(connected);
                    break;
                }
                Err(e) => last = e,
            }
        }
        let Some(socket) = socket else { return Err(last) };
        let invalid = |e| io::Error::new(io::ErrorKind::InvalidData, e);
        let tls = ClientConnection::new(self.tls.clone(), self.name.clone()).map_err(invalid)?;
        let (channel, mut reader) = Channel::open(socket, Connection::Client(tls), deadline)?;
        let (last_sent, installation) = {
            let state = lock(&self.desk.state);
            (state.last_number, state.installation.clone())
        };
        let hello = Hello {
            version: VERSION,
            client: self.client,
            // A request has its number from when it is sent, so this is the last one that was.
            last_sent,
            installation,
        };
        let encoding = |e| io::Error::new(io::ErrorKind::InvalidData, e);
        channel.send(&frame(Kind::Hello, &hello).map_err(encoding)?)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let first = reader.next(ANSWER_LIMIT, left)?.ok_or(io::ErrorKind::TimedOut)?;
        let refused = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
        match first.kind {
            Kind::Welcome => {}
            Kind::Refused => return Err(refused(wire::decode(&first.content).map_err(encoding)?)),
            _ => return Err(refused("its first frame is no welcome".to_owned())),
        }
        let welcome: Welcome = wire::decode(&first.content).map_err(encoding)?;
        self.desk.learn(welcome.facts.into());
        self.publish(welcome.boot, channel, reader)
    }

    fn publish(
        &self,
        boot: [u8; 16],
        channel: Arc<Channel>,
        reader: crate::channel::Reader,
    ) -> io::Result<Arc<Link>> {
        let link = {
            let mut state = lock(&self.desk.state);
            state.links += 1;
            state.failed = None;
            let link = Arc::new(Link::new(state.links, boot, channel));
            if let Some(earlier) = state.link.replace(link.clone())
                && earlier.boot != boot
            {
                tracing::info!(host = %self.desk.host, "the agent was restarted");
            }
            link
        };
        let (desk, reading, heartbeat) = (self.desk.clone(), link.clone(), self.heartbeat);
        let thread = thread::Builder::new().name("agent-link".to_owned());
        thread.spawn(move || reading.read(&desk, reader, heartbeat))?;
        Ok(link)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(link) = &lock(&self.desk.state).link {
            link.close();
        }
    }
}
