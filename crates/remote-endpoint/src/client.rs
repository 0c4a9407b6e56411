use std::fmt;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use strongroom_endpoint_selector::{Endpoint, EndpointError, ErrorKind, HostAnswer, HostCommand};
use strongroom_types::{Call, HostFacts, HostId, InstallationId, Interrupted, PoolId};
use zeroize::Zeroizing;

use crate::frame::{Kind, REQUEST_LIMIT, RequestHead, frame};
use crate::wire::command::WireCommand;
use crate::{Identity, RemoteError};

mod link;
mod peer;

use self::link::{Event, Link};
use self::peer::{NoLink, Peer};

/// How often a caller's flag is looked at.
const TICK: Duration = Duration::from_millis(20);
/// How long a host is waited for after it was asked to stop.
const GRACE: Duration = Duration::from_secs(10);

/// A host that is reached over a network, as an [`Endpoint`].
///
/// It connects when it is first needed, and again when the connection was lost; any number of commands share one connection. A
/// command that was sent when the connection broke is sent again under its number, so that the agent answers with the outcome of
/// the first time and does nothing twice.
pub struct RemoteEndpoint {
    peer: Peer,
}

impl fmt::Debug for RemoteEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteEndpoint")
            .field("host", self.peer.host())
            .field("address", &self.peer.address())
            .finish_non_exhaustive()
    }
}

impl RemoteEndpoint {
    /// The host with this name, whose agent listens on `address` (`name:port`). Nothing is connected yet.
    ///
    /// # Errors
    /// [`RemoteError`]: the certificate is not that of a control plane, or the host has a name that no certificate has.
    pub fn new(host: HostId, address: impl Into<String>, identity: &Identity) -> Result<Self, RemoteError> {
        Peer::new(host, address.into(), identity).map(|peer| Self { peer })
    }

    /// The same, and how long an agent is looked for that does not answer, where the call has no deadline. 30 seconds else.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.peer.patience = patience;
        self
    }

    /// The same, and after so long without a word the agent is asked for one; after three of these times the connection is given up. 5
    /// seconds else.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: Duration) -> Self {
        self.peer.heartbeat = heartbeat;
        self
    }

    /// The same, and work is stopped when the connection is lost. Else it goes on, and its outcome is fetched.
    #[must_use]
    pub fn cancelled_when_lost(mut self) -> Self {
        self.peer.cancel_when_lost = true;
        self
    }

    /// Says that the host reaches the storage of this pool, beside those of which its agent knows.
    pub fn reach(&self, pool: PoolId) {
        self.peer.reach(pool);
    }

    /// Says for which installation this works, from the next connection on, and that no other process works for it any more. What the
    /// agent still does for one of those before is stopped, and has ended before the agent takes the first command: else what it makes
    /// could appear after the new one looked for it.
    pub fn act_for(&self, installation: &InstallationId) {
        self.peer.act_for(installation);
    }

    /// Why [`host`](Endpoint::host) said a moment ago that it is down.
    #[must_use]
    pub fn why_down(&self) -> Option<String> {
        self.peer.why_down()
    }

    /// What is known of the host, and for how long; nothing when it never answered.
    #[must_use]
    pub fn known(&self) -> Option<(HostFacts, Duration)> {
        self.peer.known()
    }
}

/// A request on its way.
struct Request<'c> {
    call: &'c Call,
    name: &'static str,
    command: WireCommand<'c>,
    /// Its number, once the agent may have it.
    number: Option<u64>,
    sender: Sender<Event>,
    events: Receiver<Event>,
    /// Since when the caller does not want it any more, and why.
    unwanted: Option<(Instant, Interrupted)>,
}

impl Request<'_> {
    fn frame(&self, peer: &Peer, number: u64) -> Result<Zeroizing<Vec<u8>>, postcard::Error> {
        let milliseconds = |left: Duration| u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let head = RequestHead {
            number,
            settled: peer.settled(),
            remaining: self.call.remaining().map(milliseconds),
            cancel_when_lost: peer.cancel_when_lost,
            name: self.name,
        };
        frame(Kind::Request, &(head, &self.command))
    }

    /// Waits for the outcome; nothing when the connection was lost.
    fn wait(&mut self, peer: &Peer, link: &Link, request: u64) -> Option<Result<HostAnswer, EndpointError>> {
        loop {
            match self.events.recv_timeout(TICK) {
                Ok(Event::Progress(fraction)) => self.call.report(fraction),
                Ok(Event::Outcome(outcome)) => {
                    let told = outcome.map_err(|error| error.told(self.name, peer.host()));
                    return Some(told.map(HostAnswer::from));
                }
                Ok(Event::Lost(number)) if number == link.number => return None,
                Ok(Event::Lost(_)) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
            match (self.unwanted, self.call.check()) {
                (Some((since, why)), _) if since.elapsed() > GRACE => {
                    return Some(Err(self.gave_up(peer, why)));
                }
                (None, Err(why)) => {
                    self.unwanted = Some((Instant::now(), why));
                    // The agent has the deadline itself.
                    if why == Interrupted::Cancelled {
                        link.cancel(request);
                    }
                }
                _ => {}
            }
        }
    }

    fn failed(&self, peer: &Peer, kind: ErrorKind, reason: &str) -> EndpointError {
        let outcome = if self.number.is_some() {
            "what became of the request is not known; the same command again finishes the work"
        } else {
            "nothing was done"
        };
        let message = format!("host {} at {}: {reason}; {outcome}", peer.host(), peer.address());
        EndpointError::new(kind, self.name, message)
    }

    fn gave_up(&self, peer: &Peer, why: Interrupted) -> EndpointError {
        let kind = match why {
            Interrupted::Cancelled => ErrorKind::Cancelled,
            Interrupted::Deadline => ErrorKind::Deadline,
        };
        let outcome = if self.number.is_some() {
            "what it did is not known; the same command again finishes the work"
        } else {
            "nothing was done"
        };
        EndpointError::new(
            kind,
            self.name,
            format!("host {} did not answer: {outcome}", peer.host()),
        )
    }
}

impl Endpoint for RemoteEndpoint {
    fn host(&self) -> HostFacts {
        self.peer.facts()
    }

    fn run(&self, call: &Call, command: &HostCommand<'_>) -> Result<HostAnswer, EndpointError> {
        let (peer, name) = (&self.peer, command.name());
        let Some(command) = WireCommand::of(command) else {
            let message = format!(
                "the protocol does not know the command, so host {} was not asked",
                peer.host()
            );
            return Err(EndpointError::new(ErrorKind::Unsupported, name, message));
        };
        let (sender, events) = mpsc::channel();
        let mut request = Request {
            call,
            name,
            command,
            number: None,
            sender,
            events,
            unwanted: None,
        };
        let outcome = exchange(peer, &mut request);
        if let Some(number) = request.number {
            peer.settle(number);
        }
        outcome
    }
}

/// After how long a connection that is lost is no reason for impatience.
const LASTED: Duration = Duration::from_secs(10);

/// Sends a request until there is an outcome.
fn exchange(peer: &Peer, request: &mut Request<'_>) -> Result<HostAnswer, EndpointError> {
    let mut losses = 0_u32;
    let mut first_loss = Instant::now();
    loop {
        if let Some((_, why)) = request.unwanted {
            return Err(request.gave_up(peer, why));
        }
        let link = peer.link(request.call).map_err(|e| match e {
            NoLink::Interrupted(why) => request.gave_up(peer, why),
            NoLink::Refused(kind, reason) => request.failed(peer, kind, &reason),
        })?;
        let number = match request.number {
            Some(number) => number,
            None => peer.enlist(request.sender.clone()),
        };
        request.number = Some(number);
        let frame = request
            .frame(peer, number)
            .ok()
            .filter(|frame| frame.len() <= REQUEST_LIMIT);
        let Some(frame) = frame else {
            let message = format!("the command is too long to send it to host {}", peer.host());
            return Err(EndpointError::new(
                ErrorKind::InvalidRequest,
                request.name,
                message,
            ));
        };
        let begun = Instant::now();
        if link.send(&frame).is_ok() {
            drop(frame);
            if let Some(outcome) = request.wait(peer, &link, number) {
                return outcome;
            }
        } else {
            link.close();
        }
        if losses == 0 || begun.elapsed() > LASTED {
            (losses, first_loss) = (0, Instant::now());
        } else if first_loss.elapsed() > peer.patience {
            return Err(request.failed(peer, ErrorKind::Io, "it ends every connection"));
        }
        thread::park_timeout(Duration::from_millis(10 << losses.min(7)));
        losses = losses.saturating_add(1);
    }
}
