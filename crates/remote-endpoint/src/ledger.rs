//! What an agent remembers of requests, so that none is carried out twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use strongroom_types::Cancellation;
use zeroize::Zeroizing;

use crate::channel::{Channel, lock};

#[cfg(test)]
mod forgetting;

/// By what a client is known.
pub(crate) type ClientId = [u8; 16];
/// A frame that is shared by whoever still has to send it.
pub(crate) type SharedFrame = Arc<Zeroizing<Vec<u8>>>;

/// How long an outcome is kept for a client that does not fetch it.
const KEPT_FOR: Duration = Duration::from_secs(600);
/// How many outcomes of a client are kept.
const KEPT_OUTCOMES: usize = 1024;
/// How many bytes they may have together. The newest one is kept whatever it has.
const KEPT_BYTES: usize = 16 << 20;
/// How many clients are remembered.
const CLIENTS: usize = 64;

#[derive(Debug)]
enum State {
    Running(Cancellation),
    Done { frame: SharedFrame, at: Instant },
}

#[derive(Debug)]
struct Entry {
    fingerprint: [u8; 32],
    cancel_when_lost: bool,
    state: State,
}

/// A connection as the ledger needs it.
pub(crate) trait Line {
    /// Ends it.
    fn close(&self);
}

impl Line for Channel {
    fn close(&self) {
        Self::close(self);
    }
}

#[derive(Debug)]
struct Client<L> {
    connection: Option<Arc<L>>,
    installation: Option<String>,
    seen: Instant,
    /// Nothing is known of requests up to this number that are not among the entries: they are not carried out.
    forgotten: u64,
    entries: BTreeMap<u64, Entry>,
}

/// What is to be done with a request.
#[derive(Debug)]
pub(crate) enum Begin {
    /// It is new.
    Run(Cancellation),
    /// It is being carried out, and is answered when that is done.
    Running,
    /// It was carried out, and this is the answer.
    Answered(SharedFrame),
    /// It may have been carried out, and its outcome is not known.
    Forgotten,
    /// The number was that of another request.
    Another,
    /// So many are carried out that this one is not begun.
    Full,
}

/// The requests of all clients.
#[derive(Debug)]
pub(crate) struct Ledger<L = Channel> {
    clients: Mutex<HashMap<ClientId, Client<L>>>,
    at_once: usize,
}

impl<L> Client<L> {
    fn forget(&mut self, number: u64) {
        self.entries.remove(&number);
        self.forgotten = self.forgotten.max(number);
    }

    /// Forgets what is too old or too much.
    fn prune(&mut self, now: Instant) {
        let done = |entry: &Entry| match &entry.state {
            State::Done { frame, at } => Some((*at, frame.len())),
            State::Running(_) => None,
        };
        let mut kept: Vec<_> = self
            .entries
            .iter()
            .filter_map(|(number, entry)| done(entry).map(|(at, bytes)| (at, *number, bytes)))
            .collect();
        kept.sort_unstable();
        let mut bytes = 0_usize;
        for (position, (at, number, size)) in kept.into_iter().rev().enumerate() {
            bytes = bytes.saturating_add(size);
            let too_much = position >= KEPT_OUTCOMES || (position > 0 && bytes > KEPT_BYTES);
            if too_much || now.saturating_duration_since(at) > KEPT_FOR {
                self.forget(number);
            }
        }
    }

    fn is_idle(&self) -> bool {
        let running = |entry: &Entry| matches!(entry.state, State::Running(_));
        self.connection.is_none() && !self.entries.values().any(running)
    }
}

impl<L: Line> Ledger<L> {
    /// Of which at most so many are carried out at once.
    pub(crate) fn new(at_once: usize) -> Self {
        Self {
            clients: Mutex::default(),
            at_once,
        }
    }

    /// A client is there, by this connection; an earlier one is closed. `last_sent` is the highest number that it may have used.
    /// False when there are too many clients.
    pub(crate) fn arrive(
        &self,
        id: ClientId,
        installation: Option<String>,
        last_sent: u64,
        connection: Arc<L>,
        now: Instant,
    ) -> bool {
        let mut clients = lock(&self.clients);
        clients.retain(|_, client| {
            client.prune(now);
            // One that comes back says itself what it sent before.
            let is_gone = client.is_idle() && client.entries.is_empty();
            !is_gone || now.saturating_duration_since(client.seen) <= KEPT_FOR
        });
        if !clients.contains_key(&id) {
            if clients.len() >= CLIENTS {
                let idle = clients.iter().filter(|(_, client)| client.is_idle());
                let Some(oldest) = idle.min_by_key(|(_, client)| client.seen).map(|(id, _)| *id) else {
                    return false;
                };
                clients.remove(&oldest);
            }
            let client = Client {
                connection: None,
                installation: None,
                seen: now,
                forgotten: last_sent,
                entries: BTreeMap::new(),
            };
            clients.insert(id, client);
        }
        if let Some(client) = clients.get_mut(&id) {
            client.seen = now;
            client.installation = installation;
            if let Some(earlier) = client.connection.replace(connection) {
                earlier.close();
            }
        }
        true
    }

    /// Stops what is done for other clients of an installation, and closes their connections. True as long as something is done.
    pub(crate) fn supersede(&self, id: &ClientId, installation: &str) -> bool {
        let clients = lock(&self.clients);
        let mut is_running = false;
        for (other, client) in clients.iter() {
            if other == id || client.installation.as_deref() != Some(installation) {
                continue;
            }
            if let Some(connection) = &client.connection {
                connection.close();
            }
            for entry in client.entries.values() {
                if let State::Running(cancellation) = &entry.state {
                    cancellation.cancel();
                    is_running = true;
                }
            }
        }
        is_running
    }

    /// A connection is gone. Work that is to be stopped then is asked to stop.
    pub(crate) fn leave(&self, id: &ClientId, connection: &Arc<L>, now: Instant) {
        let mut clients = lock(&self.clients);
        let Some(client) = clients.get_mut(id) else { return };
        if !client
            .connection
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, connection))
        {
            return;
        }
        client.connection = None;
        client.seen = now;
        for entry in client.entries.values() {
            if let (true, State::Running(cancellation)) = (entry.cancel_when_lost, &entry.state) {
                cancellation.cancel();
            }
        }
    }

    /// A request arrived. The client waits for none below `settled`.
    pub(crate) fn begin(
        &self,
        id: &ClientId,
        number: u64,
        settled: u64,
        fingerprint: [u8; 32],
        cancel_when_lost: bool,
        now: Instant,
    ) -> Begin {
        let mut clients = lock(&self.clients);
        let running = clients
            .values()
            .flat_map(|client| client.entries.values())
            .filter(|entry| matches!(entry.state, State::Running(_)))
            .count();
        let Some(client) = clients.get_mut(id) else {
            return Begin::Forgotten;
        };
        client.prune(now);
        client.forgotten = client.forgotten.max(settled.saturating_sub(1));
        client
            .entries
            .retain(|known, entry| *known >= settled || matches!(entry.state, State::Running(_)));
        match client.entries.get(&number) {
            Some(entry) if entry.fingerprint != fingerprint => return Begin::Another,
            Some(entry) => {
                return match &entry.state {
                    State::Running(_) => Begin::Running,
                    State::Done { frame, .. } => Begin::Answered(frame.clone()),
                };
            }
            None if number <= client.forgotten => return Begin::Forgotten,
            None if running >= self.at_once => return Begin::Full,
            None => {}
        }
        let cancellation = Cancellation::new();
        let entry = Entry {
            fingerprint,
            cancel_when_lost,
            state: State::Running(cancellation.clone()),
        };
        client.entries.insert(number, entry);
        Begin::Run(cancellation)
    }

    /// Keeps an outcome. Answers with the connection by which the client can be told now.
    pub(crate) fn finish(
        &self,
        id: &ClientId,
        number: u64,
        frame: SharedFrame,
        now: Instant,
    ) -> Option<Arc<L>> {
        let mut clients = lock(&self.clients);
        let client = clients.get_mut(id)?;
        if let Some(entry) = client.entries.get_mut(&number) {
            entry.state = State::Done { frame, at: now };
        }
        client.prune(now);
        client.connection.clone()
    }

    /// Asks a request to stop.
    pub(crate) fn cancel(&self, id: &ClientId, number: u64) {
        let clients = lock(&self.clients);
        let entry = clients.get(id).and_then(|client| client.entries.get(&number));
        if let Some(State::Running(cancellation)) = entry.map(|entry| &entry.state) {
            cancellation.cancel();
        }
    }

    /// The connection by which a client can be told something now.
    pub(crate) fn connection(&self, id: &ClientId) -> Option<Arc<L>> {
        lock(&self.clients).get(id)?.connection.clone()
    }

    /// Asks every request to stop and closes every connection.
    pub(crate) fn stop(&self) {
        for client in lock(&self.clients).values() {
            for entry in client.entries.values() {
                if let State::Running(cancellation) = &entry.state {
                    cancellation.cancel();
                }
            }
            if let Some(connection) = &client.connection {
                connection.close();
            }
        }
    }
}
