use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rand::TryRng;
use strongroom_endpoint_selector::Endpoint;
use strongroom_types::Cancellation;

use self::unproven::Unproven;
use crate::ledger::Ledger;
use crate::{Identity, RemoteError, Role};

mod connection;
mod request;
mod unproven;

/// How many connections there are at once that have proved themselves.
const CONNECTIONS: usize = 64;
/// How many threads serve connections: those, as many that are unproven, and those that just end.
const THREADS: usize = 256;
/// How long a client may be silent.
const SILENCE: Duration = Duration::from_secs(30);
/// How many commands are carried out at once.
const COMMANDS: usize = 512;
/// How often the server looks whether it is to stop.
const TICK: Duration = Duration::from_millis(5);

/// Serves an endpoint to control planes.
///
/// Promised: who does not prove by a certificate of the authority that it is a control plane gets nothing, and no command of it is
/// read. Up to 64 connections and 512 commands are served at once, and as many connections again may be unproven; one that does not prove
/// itself within 10 seconds, or while 64 others come after it, is closed. Work goes on when its connection is lost, and its outcome is kept for ten minutes.
pub struct AgentServer {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: Arc<dyn Endpoint>,
    tls: Arc<rustls::ServerConfig>,
    ledger: Ledger,
    /// As old as this process.
    boot: [u8; 16],
    /// With which a command's fingerprint is made: it holds keys, and so must not be told by its digest.
    salt: [u8; 32],
    silence: Duration,
    unproven: Arc<Unproven>,
    threads: AtomicUsize,
    connections: AtomicUsize,
    commands: AtomicUsize,
    stop: Cancellation,
}

impl fmt::Debug for AgentServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentServer")
            .field("address", &self.address)
            .field("endpoint", &self.shared.endpoint)
            .finish_non_exhaustive()
    }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], RemoteError> {
    let mut bytes = [0; N];
    rand::rngs::SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|_| RemoteError::System("random bytes"))?;
    Ok(bytes)
}

impl AgentServer {
    /// Listens on an address. Port 0 is any free one.
    ///
    /// # Errors
    /// [`RemoteError`]: the certificate is not that of the endpoint's host, or the address cannot be listened on.
    pub fn bind(
        address: &str,
        identity: &Identity,
        endpoint: Arc<dyn Endpoint>,
    ) -> Result<Self, RemoteError> {
        let needed = Role::Agent(endpoint.host().id);
        if *identity.role() != needed {
            return Err(RemoteError::WrongRole {
                found: identity.role().to_string(),
                needed: needed.to_string(),
            });
        }
        let listen = |source| RemoteError::Listen {
            address: address.to_owned(),
            source,
        };
        let listener = TcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        Ok(Self {
            address: listener.local_addr().map_err(listen)?,
            listener,
            shared: Arc::new(Shared {
                endpoint,
                tls: Arc::new(identity.server()?),
                ledger: Ledger::new(COMMANDS),
                boot: random()?,
                salt: random()?,
                silence: SILENCE,
                unproven: Arc::default(),
                threads: AtomicUsize::new(0),
                connections: AtomicUsize::new(0),
                commands: AtomicUsize::new(0),
                stop: Cancellation::new(),
            }),
        })
    }

    /// The same, and a client that is silent for so long is given up. 30 seconds else; a client says something every 5 seconds.
    #[must_use]
    pub fn with_silence(mut self, silence: Duration) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.silence = silence;
        }
        self
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is asked to stop. Then commands that run are asked to stop as well, and this returns when they have.
    pub fn serve(&self, stop: &Cancellation) {
        while !stop.is_cancelled() {
            match self.listener.accept() {
                Ok((socket, peer)) => self.welcome(socket, peer),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => thread::park_timeout(TICK),
                Err(e) => {
                    tracing::warn!(error = %e, "cannot take a connection");
                    thread::park_timeout(TICK);
                }
            }
        }
        self.shared.stop.cancel();
        while self.shared.commands.load(Ordering::SeqCst) > 0 {
            self.shared.ledger.stop();
            thread::park_timeout(TICK);
        }
        self.shared.ledger.stop();
    }

    fn welcome(&self, socket: TcpStream, peer: SocketAddr) {
        let counted = Counted::of(self.shared.clone(), |shared| &shared.threads);
        if self.shared.threads.load(Ordering::SeqCst) > THREADS {
            tracing::warn!(%peer, "refused: {THREADS} threads serve connections already");
            return;
        }
        let place = match self.shared.unproven.enter(&socket) {
            Ok(place) => place,
            Err(e) => return tracing::warn!(%peer, error = %e, "refused"),
        };
        let thread = thread::Builder::new()
            .name("agent-connection".to_owned())
            .stack_size(512 << 10);
        let spawned = thread.spawn(move || {
            connection::serve(&counted.shared, socket, peer, place);
            drop(counted);
        });
        if let Err(e) = spawned {
            tracing::warn!(%peer, error = %e, "refused: there is no thread for it");
        }
    }
}

/// One more of something, until it is dropped.
struct Counted {
    shared: Arc<Shared>,
    what: fn(&Shared) -> &AtomicUsize,
}

impl Counted {
    fn of(shared: Arc<Shared>, what: fn(&Shared) -> &AtomicUsize) -> Self {
        what(&shared).fetch_add(1, Ordering::SeqCst);
        Self { shared, what }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        (self.what)(&self.shared).fetch_sub(1, Ordering::SeqCst);
    }
}
